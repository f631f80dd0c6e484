// Timers: all deadlines of a runtime behind one timerfd.
//
// The timerfd is made and registered by the first timer. It is set only when the earliest deadline came
// *closer*: a cancelled timer leaves it armed, which costs an early wake-up later instead of a syscall now.

import { EPOLLET, EPOLLIN } from "../sys/epoll.ts";
import { check } from "../sys/errno.ts";
import type { EventSink, Reactor } from "./reactor.ts";
import { type Timer, Wheel } from "./wheel.ts";

export class Timers implements EventSink {
  readonly #wheel = new Wheel();
  readonly #reactor: Reactor;
  /** -1 before the first timer, and while the process is out of fds. */
  #fd = -1;
  #slot = -1;
  /** When the timerfd will fire; Infinity when it is not armed. */
  #armedMs = Number.POSITIVE_INFINITY;
  /** The timerfd fired, or stands in for one: look at the clock. */
  #isDue = false;

  constructor(reactor: Reactor) {
    this.#reactor = reactor;
  }

  get size(): number {
    return this.#wheel.size;
  }

  insert(timer: Timer, nowMs: number): void {
    this.#wheel.insert(timer, nowMs);
  }

  /** Takes a timer out, if it is in. */
  remove(timer: Timer): void {
    this.#wheel.remove(timer);
  }

  /** Arms the timerfd if need be; returns the timeout for epoll_wait. */
  prepare(canSleep: boolean): number {
    const deadlineMs = this.#wheel.nextMs;
    if (deadlineMs < this.#armedMs) {
      const delayMs = deadlineMs - performance.now();
      if (delayMs <= 0) {
        this.#isDue = true;
        return 0;
      }
      if (!this.#open()) {
        // Out of fds: epoll_wait's own timeout keeps time until a timerfd can be had.
        this.#isDue = true;
        return canSleep ? Math.min(Math.ceil(delayMs), 0x7fffffff) : 0;
      }
      check(this.#reactor.sys.timerfdSet(this.#fd, delayMs), "timerfd_settime");
      this.#armedMs = deadlineMs;
    }
    return canSleep ? -1 : 0;
  }

  /** Wakes all whose deadline has passed; never one whose has not. */
  expire(): void {
    if (!this.#isDue) return;
    this.#isDue = false;
    const nowMs = performance.now();
    if (this.#wheel.nextMs > nowMs) return;
    for (const timer of this.#wheel.advance(nowMs)) {
      const { target } = timer;
      timer.target = null;
      target?.wake();
    }
  }

  onEvents(): void {
    this.#armedMs = Number.POSITIVE_INFINITY;
    this.#isDue = true;
  }

  onReactorClosed(): void {}

  canWake(): boolean {
    return this.size > 0;
  }

  close(): void {
    if (this.#fd < 0) return;
    this.#reactor.deregister(this.#slot, this.#fd);
    this.#reactor.sys.close(this.#fd);
    this.#fd = -1;
  }

  #open(): boolean {
    if (this.#fd >= 0) return true;
    const fd = this.#reactor.sys.timerfdCreate();
    if (fd < 0) return false;
    // Never read: a set timer counts from zero again, and each expiry is an edge.
    const slot = this.#reactor.registerOpened(this, fd, EPOLLIN | EPOLLET);
    if (slot < 0) return false;
    this.#fd = fd;
    this.#slot = slot;
    return true;
  }
}
