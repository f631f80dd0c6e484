// The eventfd behind a waker: made with its task (eager) or when first asked for (lazy), closed by
// its last owner. A write to it, by anyone, wakes its target.
//
// It is registered edge-triggered and never read: each write is an edge. Only when the counter is
// full does a write fail; it is then drained, and written again.

import type { WakeFd, WakerHandle } from "../../core/wake-target.ts";
import type { Reactor } from "../../reactor/reactor.ts";
import type { EventSink } from "../../reactor/sink.ts";
import { EPOLLET, EPOLLIN } from "../../sys/epoll.ts";
import { check } from "../../sys/errno.ts";
import { signalEventfd } from "../../sys/sys.ts";
import { canBeWritten, type SharedWakers } from "./waker-handle.ts";

export class EventfdWaker implements WakeFd, EventSink {
  readonly fd: number;
  /** Starts with the count of the target that made it. */
  #count = 1;
  readonly #reactor: Reactor;
  readonly #slot: number;
  readonly #onWritten: () => void;
  readonly #shared: SharedWakers;
  /** The count that is shared with other threads, of which ours is one; null before the first handle. */
  #words: Int32Array | null = null;
  #isExposed = false;
  /** A write of ours has not come back as an event yet. */
  #isWritten = false;

  constructor(reactor: Reactor, shared: SharedWakers, onWritten: () => void) {
    this.#reactor = reactor;
    this.#shared = shared;
    this.#onWritten = onWritten;
    this.fd = check(reactor.sys.eventfd(), "eventfd");
    this.#slot = check(reactor.registerOpened(this, this.fd, EPOLLIN | EPOLLET), "epoll_ctl");
  }

  /** Wakes by a write, as any other thread or process would. */
  write(): void {
    if (this.#count === 0) return;
    this.#isWritten = true;
    signalEventfd(this.#reactor.sys, this.fd);
    this.#reactor.onWakersChange?.();
  }

  retain(): void {
    this.#count++;
  }

  expose(): void {
    this.#isExposed = true;
    this.#reactor.onWakersChange?.();
  }

  toHandle(): WakerHandle {
    this.#words ??= this.#shared.add(this.fd);
    const handle = this.#shared.handle(this.fd, this.#words);
    this.#reactor.onWakersChange?.();
    return handle;
  }

  release(): void {
    if (this.#count === 0) return; // the runtime was disposed, and closed it
    this.#count--;
    if (this.#count === 0) {
      this.#reactor.deregister(this.#slot, this.fd);
      // Held elsewhere, it is closed there; its number stays taken until then.
      if (this.#words === null || this.#shared.release(this.#words)) {
        this.#reactor.sys.close(this.fd);
      }
      this.#reactor.onWakersChange?.();
    }
  }

  onEvents(): void {
    this.#isWritten = false;
    this.#onWritten();
  }

  /** Anyone may write to an exposed one; other threads to one they hold. */
  canWake(): boolean {
    if (this.#count === 0) return false;
    return (
      this.#isWritten || this.#isExposed || (this.#words !== null && canBeWritten(this.#words))
    );
  }

  onReactorClosed(): void {
    if (this.#count === 0) return;
    this.#count = 0;
    if (this.#words === null) this.#reactor.sys.close(this.fd); // else SharedWakers closes it
  }
}
