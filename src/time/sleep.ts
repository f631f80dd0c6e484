// Sleeps: futures that complete at a deadline on the runtime's clock.

import { checkMilliseconds } from "../base/check.ts";
import type { Context } from "../core/context.ts";
import type { Future } from "../core/future.ts";
import { Leaf } from "../core/leaf.ts";
import { Pending, type Poll } from "../core/poll.ts";
import { currentClock, reactorOf } from "../reactor/reactor.ts";
import type { Timers } from "../reactor/timers.ts";
import { checkTime, fromWallTime } from "./deadline.ts";

/**
 * A sleep is its own timer node: a Timer. (Not declared, because the published declarations leave out the fields of a
 * Waiter.) With one more field, the engine allocates 112 bytes for it instead of 80.
 */
export class Sleep extends Leaf<void> {
  /**
   * The deadline. A relative sleep stores minus its duration until its first attempt, so a number <= 0 means that it
   * has not begun.
   */
  deadlineMs: number;
  /** The timers of the runtime that polled last; null before the first attempt and after the end. */
  #timers: Timers | null = null;

  constructor(deadlineMs: number) {
    super();
    this.deadlineMs = deadlineMs;
  }

  protected override attempt(cx: Context): Poll<void> {
    const { timers, clock } = reactorOf(cx);
    const hasBegun = this.#timers !== null;
    // The timers removed this sleep and cleared its target: the deadline has passed, so skip the clock.
    const isDue = hasBegun && this.target === null;
    const nowMs = isDue ? this.deadlineMs : clock.now();
    if (this.deadlineMs <= 0) this.deadlineMs = nowMs - this.deadlineMs;
    if (hasBegun && nowMs >= this.deadlineMs) return;
    if (this.#timers !== timers) this.#timers?.remove(this);
    this.#timers = timers;
    this.target = cx.target;
    if (this.list === null && this.deadlineMs !== Number.POSITIVE_INFINITY) {
      timers.insert(this, nowMs);
    }
    return Pending;
  }

  override describe(): string {
    return `sleep${this.left}`;
  }

  /** How much time is left, for descriptions: `, 37 ms left`. */
  get left(): string {
    const { deadlineMs } = this;
    if (Math.abs(deadlineMs) === Number.POSITIVE_INFINITY) return ", without end";
    if (this.#timers === null) return deadlineMs > 0 ? "" : ` of ${-deadlineMs} ms`;
    return `, ${this.timerLeftMs} ms left`;
  }

  /** How much time is left, in milliseconds; Infinity unless the sleep has begun. */
  get timerLeftMs(): number {
    return Math.ceil(this.#timers?.msUntil(this.deadlineMs) ?? Number.POSITIVE_INFINITY);
  }

  protected override release(): void {
    this.#timers?.remove(this);
    this.#timers = null;
  }
}

/**
 * Completes `ms` milliseconds after its first poll, never early. Fractions count down to a nanosecond. 0 completes
 * at the next turn, after the runtime has polled epoll; Infinity never completes. Throws RangeError unless `ms` is
 * a number >= 0. Cancel safe: a dropped sleep removes its timer. See CLOCK_MONOTONIC in clock_gettime(2).
 *
 * @example
 * yield* sleep(1.5);
 */
export function sleep(ms: number): Future<void> {
  checkMilliseconds(ms, "sleep: ms");
  return new Sleep(-ms);
}

/**
 * Completes at a point in time, never early: `at` is a time in milliseconds on the clock of the runtime, which `now()`
 * reads, or a Date. A Date is converted once, by this call. A time in the past completes at the next turn; Infinity never
 * completes. Throws RangeError when `at` is negative, NaN, an invalid Date, or a number of `Date.now()`, which belongs to
 * another clock; TypeError when it is neither a number nor a Date. Cancel safe: a dropped sleep removes its timer.
 *
 * @example
 * yield* sleepUntil(now() + 1.5);
 * yield* sleepUntil(new Date(Date.now() + 2));
 */
export function sleepUntil(at: number | Date): Future<void> {
  checkTime(at, "sleepUntil: at");
  if (typeof at === "number") return new Sleep(at);
  return new Sleep(Math.max(0, fromWallTime(currentClock(), at.getTime())));
}

/**
 * Returns the time in milliseconds on the clock of the runtime that polls. Outside a poll, returns
 * `performance.now()`.
 *
 * @example
 * const startMs = now();
 * yield* sleep(5);
 * console.log(now() - startMs >= 5); // true
 */
export function now(): number {
  return currentClock().now();
}
