// Futures of the clock.

import type { Context } from "./core/context.ts";
import { describe } from "./core/describe.ts";
import { Future, polledAfterEnd } from "./core/future.ts";
import { Pending, type Poll } from "./core/poll.ts";
import type { WakeTarget } from "./core/waker.ts";
import { reactorOf } from "./reactor/reactor.ts";
import type { Timers } from "./reactor/timers.ts";
import type { Timer } from "./reactor/wheel.ts";

class Sleep extends Future<void> implements Timer {
  /** Until the first poll, that of a relative sleep is its length. */
  deadlineMs: number;
  target: WakeTarget | null = null;
  before: Timer | null = null;
  after: Timer | null = null;
  list: object | null = null;
  #isRelative: boolean;
  #isEnded = false;
  /** Where it is pending; null before the first poll. */
  #timers: Timers | null = null;

  constructor(milliseconds: number, isRelative: boolean) {
    super();
    this.deadlineMs = milliseconds;
    this.#isRelative = isRelative;
  }

  override poll(cx: Context): Poll<void> {
    if (this.#isEnded) throw polledAfterEnd("a sleep");
    const nowMs = performance.now();
    if (this.#isRelative) {
      this.deadlineMs += nowMs;
      this.#isRelative = false;
    }
    if (nowMs >= this.deadlineMs && this.#timers !== null) {
      if (cx.isExhausted()) return Pending;
      this.drop();
      cx.runtime.budget--;
      return;
    }
    const { timers } = reactorOf(cx);
    if (this.#timers !== timers) this.#timers?.remove(this);
    this.#timers = timers;
    cx.waitsOn = this;
    if (nowMs >= this.deadlineMs)
      cx.target.wake(); // over at the next turn, never in this one
    else {
      this.target = cx.target;
      if (this.list === null && this.deadlineMs !== Number.POSITIVE_INFINITY) {
        timers.insert(this, nowMs);
      }
    }
    return Pending;
  }

  waitsOn(): string {
    return `sleep until ${this.deadlineMs}`;
  }

  override drop(): void {
    this.#isEnded = true;
    this.#timers?.remove(this);
  }
}

/**
 * Completes `milliseconds` after its first poll; never early. Fractions count, to the nanosecond; 0
 * completes at the next turn, Infinity never. Throws RangeError if negative or NaN. Cancel safe.
 * See timerfd_create(2), CLOCK_MONOTONIC.
 *
 * @example
 * yield* sleep(1.5);
 */
export function sleep(milliseconds: number): Future<void> {
  if (typeof milliseconds !== "number" || !(milliseconds >= 0)) {
    throw new RangeError(
      `sleep: milliseconds must be a number, 0 or more; got ${describe(milliseconds)}`,
    );
  }
  return new Sleep(milliseconds, true);
}

/**
 * Completes when `performance.now()` has reached `deadlineMs`; never early. A deadline that has
 * passed completes at the next turn. Throws RangeError if negative or NaN. Cancel safe.
 *
 * @example
 * yield* sleepUntil(performance.now() + 1.5);
 */
export function sleepUntil(deadlineMs: number): Future<void> {
  if (typeof deadlineMs !== "number" || !(deadlineMs >= 0)) {
    throw new RangeError(
      `sleepUntil: deadlineMs must be a number on performance.now()'s clock, 0 or more; got ${describe(deadlineMs)}`,
    );
  }
  return new Sleep(deadlineMs, false);
}
