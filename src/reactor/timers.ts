// Timers: all deadlines of a runtime behind one timerfd.
//
// The first timer opens and registers the timerfd. We arm it again only when the earliest deadline moves *closer*: a
// cancelled timer leaves the timerfd armed, which costs an early wake-up later instead of a syscall now. A virtual
// clock uses no timerfd: the reactor advances it to the earliest deadline when nothing else can happen.

import { outOfRange } from "../base/check.ts";
import { describe } from "../base/describe.ts";
import { EPOLLET, EPOLLIN } from "../sys/epoll.ts";
import { check } from "../sys/errno.ts";
import type { EventSink, Registry } from "./sink.ts";
import { type Timer, Wheel } from "./wheel.ts";

export class Timers implements EventSink {
  private readonly wheel = new Wheel();
  private readonly reactor: Registry;
  /** -1 before the first timer, and while the process is out of fds. */
  private fd = -1;
  private slot = -1;
  /** When the timerfd fires; Infinity when it is not armed. */
  private armedMs = Number.POSITIVE_INFINITY;
  /** `expire` must check the clock: the timerfd fired, or something else may have reached a deadline. */
  private isDue = false;

  /** True while another thread works for this runtime: real time passes, so a virtual clock must not jump. */
  isClockHeld: () => boolean = () => false;

  constructor(reactor: Registry) {
    this.reactor = reactor;
  }

  get size(): number {
    return this.wheel.size;
  }

  /** Returns how many milliseconds are left until `deadlineMs`, 0 once it has passed. */
  msUntil(deadlineMs: number): number {
    return Math.max(0, deadlineMs - this.reactor.clock.now());
  }

  /** Inserts a timer. `nowMs` is the time on the runtime's clock. */
  insert(timer: Timer, nowMs: number): void {
    this.wheel.insert(timer, nowMs);
  }

  /** Removes a timer if it is present. */
  remove(timer: Timer): void {
    this.wheel.remove(timer);
  }

  /**
   * Arms the timerfd if needed. Returns the timeout for epoll_wait in milliseconds; -1 is no timeout. Throws SysError
   * if the timerfd cannot be armed.
   */
  prepare(canSleep: boolean): number {
    const deadlineMs = this.wheel.nextMs;
    if (deadlineMs < this.armedMs) {
      const { clock } = this.reactor;
      const delayMs = deadlineMs - clock.now();
      if (delayMs <= 0) {
        this.isDue = true;
        return 0;
      }
      if (clock.advanceTo !== undefined && deadlineMs !== Number.POSITIVE_INFINITY) {
        return canSleep && this.isClockHeld() ? -1 : 0; // see `jump`
      }
      if (!this.open()) {
        // Out of fds: the timeout of epoll_wait keeps time until a timerfd can be opened.
        this.isDue = true;
        return canSleep ? Math.min(Math.ceil(delayMs), 0x7fffffff) : 0;
      }
      check(this.reactor.sys.timerfdSet(this.fd, delayMs), "timerfd_settime");
      this.armedMs = deadlineMs;
    }
    return canSleep ? -1 : 0;
  }

  /**
   * Moves a virtual clock to the earliest deadline. Called when no task is ready and no fd has an event.
   * Returns true if the clock moved; false also while another thread works for this runtime. Throws RangeError
   * if the clock did not reach the deadline: the runtime would never get there.
   */
  jump(): boolean {
    const { clock } = this.reactor;
    const deadlineMs = this.wheel.nextMs;
    if (clock.advanceTo === undefined || deadlineMs === Number.POSITIVE_INFINITY) return false;
    if (this.isClockHeld()) return false;
    if (deadlineMs > clock.now()) {
      clock.advanceTo(deadlineMs);
      const nowMs = clock.now();
      if (!(nowMs >= deadlineMs)) {
        throw outOfRange(
          `clock.advanceTo(${deadlineMs}) must move now() to at least ${deadlineMs}; now() returns ${describe(nowMs)}`,
        );
      }
    }
    this.isDue = true;
    return true;
  }

  /** Wakes the target of every timer whose deadline has passed, earliest deadline first. */
  expire(): void {
    if (!this.isDue) return;
    this.isDue = false;
    const nowMs = this.reactor.clock.now();
    if (this.wheel.nextMs > nowMs) return;
    for (const timer of this.wheel.advance(nowMs)) {
      const { target } = timer;
      timer.target = null;
      target?.wake();
    }
  }

  /** The timerfd fired. */
  onEvents(): void {
    this.armedMs = Number.POSITIVE_INFINITY;
    this.isDue = true;
  }

  onReactorClosed(): void {}

  canWake(): boolean {
    return this.size > 0;
  }

  close(): void {
    if (this.fd < 0) return;
    this.reactor.deregister(this.slot, this.fd);
    this.reactor.sys.close(this.fd);
    this.fd = -1;
  }

  /** Opens the timerfd. Returns false without a free fd. */
  private open(): boolean {
    if (this.fd >= 0) return true;
    const fd = this.reactor.sys.timerfdCreate();
    if (fd < 0) return false;
    // We never read the timerfd: arming it resets its count of expiries, and each expiry is an edge.
    const slot = this.reactor.registerOpened(this, fd, EPOLLIN | EPOLLET);
    if (slot < 0) return false;
    this.fd = fd;
    this.slot = slot;
    return true;
  }
}
