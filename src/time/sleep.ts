// Futures of the clock.

import { checkMilliseconds } from "../base/check.ts";
import { describe } from "../base/describe.ts";
import type { Context } from "../core/context.ts";
import { type Future, polledAfterEnd } from "../core/future.ts";
import { Pending, type Poll } from "../core/poll.ts";
import { ENDED, LIVE, Waiting } from "../core/waiting.ts";
import { reactorOf } from "../reactor/reactor.ts";
import type { Timers } from "../reactor/timers.ts";
import type { Timer } from "../reactor/wheel.ts";

/** (Eight fields: one more, and the engine takes 112 bytes for it instead of 80.) */
class Sleep extends Waiting<void> implements Timer {
  /** Until the first poll, that of a relative sleep is its length, negative. */
  deadlineMs = 0;
  /** Where it has begun; null before the first poll, and after the end. */
  #timers: Timers | null = null;

  /** The latest, which may be used again: if one task sleeps in a loop, say. */
  static #latest: Sleep | null = null;

  static of(deadlineMs: number): Sleep {
    if (Sleep.#latest?.useAgain()) return Sleep.#latest.until(deadlineMs);
    const one = new Sleep().until(deadlineMs);
    Sleep.#latest = one.kept;
    return one;
  }

  until(deadlineMs: number): this {
    this.deadlineMs = deadlineMs;
    return this;
  }

  override poll(cx: Context): Poll<void> {
    if (this.isEnded) throw polledAfterEnd("a sleep");
    this.life = LIVE;
    const hasBegun = this.#timers !== null;
    // Begun, and waiting for nothing: the deadline has passed, whatever the clock says.
    const nowMs = hasBegun && this.target === null ? this.deadlineMs : performance.now();
    if (this.deadlineMs <= 0) this.deadlineMs = nowMs - this.deadlineMs;
    if (nowMs >= this.deadlineMs && hasBegun) {
      if (cx.isExhausted()) return Pending;
      this.drop();
      cx.runtime.budget--;
      return;
    }
    const { timers } = reactorOf(cx);
    if (this.#timers !== timers) this.#timers?.remove(this);
    this.#timers = timers;
    cx.waitsOn = this;
    this.target = cx.target;
    if (this.list === null && this.deadlineMs !== Number.POSITIVE_INFINITY) {
      timers.insert(this, nowMs);
    }
    return Pending;
  }

  override waitsOn(): string {
    return `sleep until ${this.deadlineMs}`;
  }

  override drop(): void {
    if (this.life !== LIVE) return;
    this.life = ENDED;
    this.#timers?.remove(this);
    this.#timers = null;
    this.target = null;
  }
}

/**
 * Completes `milliseconds` after its first poll; never early. Fractions count, to the nanosecond; 0
 * completes at the next turn, when sockets have been looked at; Infinity never. Throws RangeError if
 * negative or NaN. Cancel safe.
 * See timerfd_create(2), CLOCK_MONOTONIC.
 *
 * @example
 * yield* sleep(1.5);
 */
export function sleep(milliseconds: number): Future<void> {
  checkMilliseconds(milliseconds, "sleep: milliseconds");
  return Sleep.of(-milliseconds);
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
  return Sleep.of(deadlineMs);
}
