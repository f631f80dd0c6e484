// EventfdWaker: the eventfd behind a waker. A write to the eventfd, by any thread or process, wakes the waker's target.
//
// In eager mode it opens with its task, in lazy mode on first use. Its last owner closes it. It is registered
// edge-triggered, and we never read it: each write is an edge. A write fails only if the counter is full; then we
// drain the counter and write again.

import type { WakeFd, WakerHandle } from "../../core/wake-target.ts";
import type { Reactor } from "../../reactor/reactor.ts";
import type { EventSink } from "../../reactor/sink.ts";
import { EPOLLET, EPOLLIN } from "../../sys/epoll.ts";
import { check } from "../../sys/errno.ts";
import { signalEventfd } from "../../sys/sys.ts";
import { canBeWritten, type SharedWakers } from "./waker-handle.ts";

export class EventfdWaker implements WakeFd, EventSink {
  readonly fd: number;
  /** The owners on this thread; the target that opened it is the first. 0 once this side is closed. */
  private count = 1;
  private readonly reactor: Reactor;
  private readonly slot: number;
  private readonly onWritten: () => void;
  private readonly wakers: SharedWakers;
  /**
   * Memory shared with other threads; null before the first handle. It has a count of its own, in which this thread
   * is one owner, whatever `count` is.
   */
  private shared: Int32Array | null = null;
  /** User code has read the fd number. From then on anyone may write to the eventfd. */
  private isExposed = false;
  /** We wrote to the eventfd, and epoll has not reported the event yet. */
  private isWritten = false;

  constructor(reactor: Reactor, wakers: SharedWakers, onWritten: () => void) {
    this.reactor = reactor;
    this.wakers = wakers;
    this.onWritten = onWritten;
    this.fd = check(reactor.sys.eventfd(), "eventfd");
    this.slot = check(reactor.registerOpened(this, this.fd, EPOLLIN | EPOLLET), "epoll_ctl");
  }

  /** Wakes the target with a write, as another thread or process would. */
  write(): void {
    if (this.count === 0) return;
    this.isWritten = true;
    signalEventfd(this.reactor.sys, this.fd);
    this.reactor.onWakersChange?.();
  }

  retain(): void {
    this.count++;
  }

  expose(): void {
    this.isExposed = true;
    this.reactor.onWakersChange?.();
  }

  toHandle(): WakerHandle {
    this.shared ??= this.wakers.add(this.fd);
    const handle = this.wakers.handle(this.fd, this.shared);
    this.reactor.onWakersChange?.();
    return handle;
  }

  release(): void {
    if (this.count === 0) return; // disposing the runtime has closed it
    this.count--;
    if (this.count > 0) return;
    this.reactor.deregister(this.slot, this.fd);
    // If another thread holds a waker, that thread closes the eventfd. Until then the kernel does not reuse its number.
    if (this.shared === null || this.wakers.release(this.shared)) {
      this.reactor.sys.close(this.fd);
    }
    this.reactor.onWakersChange?.();
  }

  onEvents(): void {
    this.isWritten = false;
    this.onWritten();
  }

  /** Anyone may write to an exposed fd, and a thread that holds a waker to the waker's fd. */
  canWake(): boolean {
    if (this.count === 0) return false;
    if (this.isWritten || this.isExposed) return true;
    return this.shared !== null && canBeWritten(this.shared);
  }

  onReactorClosed(): void {
    if (this.count === 0) return;
    this.count = 0;
    if (this.shared === null) this.reactor.sys.close(this.fd); // otherwise SharedWakers closes it
  }
}
