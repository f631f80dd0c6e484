// EventfdWaker: the eventfd behind a waker. A write to it, by any thread or process, wakes its target.
//
// In eager mode it opens with its task, in lazy mode on first use. Its last owner closes it. It is registered
// edge-triggered, and we never read it: each write is an edge. Only a full counter rejects a write; then we drain
// the counter and write again.

import type { WakeFd, WakerHandle } from "../../core/wake-target.ts";
import type { Reactor } from "../../reactor/reactor.ts";
import type { EventSink } from "../../reactor/sink.ts";
import { EPOLLET, EPOLLIN } from "../../sys/epoll.ts";
import { check } from "../../sys/errno.ts";
import { signalEventfd } from "../../sys/sys.ts";
import { canBeWritten, type SharedWakers } from "./waker-handle.ts";

export class EventfdWaker implements WakeFd, EventSink {
  readonly fd: number;
  /** Starts with the count of the target that opened it. 0 once this side is closed. */
  #count = 1;
  readonly #reactor: Reactor;
  readonly #slot: number;
  readonly #onWritten: () => void;
  readonly #wakers: SharedWakers;
  /** Memory shared with other threads. All of `#count` is one count in it. null before the first handle. */
  #shared: Int32Array | null = null;
  #isExposed = false;
  /** We wrote to it, and the event has not come back yet. */
  #isWritten = false;

  constructor(reactor: Reactor, wakers: SharedWakers, onWritten: () => void) {
    this.#reactor = reactor;
    this.#wakers = wakers;
    this.#onWritten = onWritten;
    this.fd = check(reactor.sys.eventfd(), "eventfd");
    this.#slot = check(reactor.registerOpened(this, this.fd, EPOLLIN | EPOLLET), "epoll_ctl");
  }

  /** Wakes the target with a write, as another thread or process would. */
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
    this.#shared ??= this.#wakers.add(this.fd);
    const handle = this.#wakers.handle(this.fd, this.#shared);
    this.#reactor.onWakersChange?.();
    return handle;
  }

  release(): void {
    if (this.#count === 0) return; // the runtime was disposed and closed it
    this.#count--;
    if (this.#count > 0) return;
    this.#reactor.deregister(this.#slot, this.fd);
    // If another thread holds it, that thread closes it; its number stays taken until then.
    if (this.#shared === null || this.#wakers.release(this.#shared)) {
      this.#reactor.sys.close(this.fd);
    }
    this.#reactor.onWakersChange?.();
  }

  onEvents(): void {
    this.#isWritten = false;
    this.#onWritten();
  }

  /** Anyone may write to an exposed fd, and other threads to one they hold. */
  canWake(): boolean {
    if (this.#count === 0) return false;
    if (this.#isWritten || this.#isExposed) return true;
    return this.#shared !== null && canBeWritten(this.#shared);
  }

  onReactorClosed(): void {
    if (this.#count === 0) return;
    this.#count = 0;
    if (this.#shared === null) this.#reactor.sys.close(this.fd); // otherwise SharedWakers closes it
  }
}
