// Interval: ticks at a fixed period.
//
// Invariants: ticks are due at whole periods from the interval's creation, so a late tick does not delay the next.
// Exactly one tick reports each period. A tick reports on completion, so a dropped tick has reported no period.

import { outOfRange } from "../base/check.ts";
import { describe } from "../base/describe.ts";
import { inspectableParts } from "../base/inspect.ts";
import { iterateValues } from "../core/async-iteration.ts";
import type { Context } from "../core/context.ts";
import type { Future } from "../core/future.ts";
import { Leaf } from "../core/leaf.ts";
import { Pending, type Poll } from "../core/poll.ts";
import { currentClock } from "../reactor/reactor.ts";
import type { Clock } from "../sys/clock.ts";
import { Sleep } from "./sleep.ts";

/** A nanosecond. The count of such periods stays a safe integer for 104 days. */
const SHORTEST_MS = 1e-6;

/**
 * Ticks at whole periods from its creation: a late tick does not delay the next. Create it with `interval(ms)`. An
 * interval that is created during a poll follows the clock of the polling runtime; any other follows
 * `performance.now()`.
 *
 * @example
 * const everySecond = interval(1000);
 * for (;;) {
 *   const missed = (yield* everySecond.tick()) - 1;
 *   console.log("tick", missed);
 * }
 *
 * @example
 * for await (const periods of interval(1000)) console.log(periods);
 */
export class Interval implements AsyncIterable<number> {
  static {
    inspectableParts(Interval, (it) => `every ${it.periodMs} ms`);
  }

  /** The period in milliseconds. */
  readonly periodMs: number;
  readonly #clock: Clock = currentClock();
  readonly #startMs: number = this.#clock.now();
  /** How many periods completed ticks have reported. */
  #reported = 0;

  /** The same as `interval(periodMs)`. */
  constructor(periodMs: number) {
    if (!(Number.isFinite(periodMs) && periodMs >= SHORTEST_MS)) {
      throw outOfRange(
        `interval: periodMs must be a finite number >= 0.000001 (a nanosecond); got ${describe(periodMs)}`,
      );
    }
    this.periodMs = periodMs;
  }

  /**
   * Waits until a period has passed that no tick has reported. Returns how many have passed: 1, or more if the
   * tick is late. The first tick is due one period after the interval's creation. Several tasks may
   * tick at once; each period goes to one of them. Cancel safe: a dropped tick reports no period.
   */
  tick(): Future<number> {
    return new Tick(this);
  }

  /** Iterates over the values of `tick()` indefinitely: leave the loop to stop. */
  [Symbol.asyncIterator](): AsyncIterator<number> {
    return iterateValues(() => this.tick());
  }

  /** @internal Returns how many periods have passed that no tick has reported, and marks them as reported. */
  consumeElapsed(): number {
    const nowMs = this.#clock.now();
    let total = Math.floor((nowMs - this.#startMs) / this.periodMs);
    // The quotient may be rounded down. A clock that stands at the end of a period must have passed it.
    if (this.#endMs(total + 1) <= nowMs) total++;
    const elapsed = total - this.#reported;
    if (elapsed > 0) this.#reported = total;
    return elapsed;
  }

  /** When the next tick is due, in milliseconds of the interval's clock: compare it with `now()`. */
  get nextMs(): number {
    return this.#endMs(this.#reported + 1);
  }

  /** When period `count` (from 1) ends. */
  #endMs(count: number): number {
    return this.#startMs + count * this.periodMs;
  }
}

class Tick extends Leaf<number> {
  readonly #interval: Interval;
  #sleep: Sleep | null = null;

  constructor(interval: Interval) {
    super();
    this.#interval = interval;
  }

  protected override attempt(cx: Context): Poll<number> {
    for (;;) {
      const elapsed = this.#interval.consumeElapsed();
      if (elapsed > 0) return elapsed;
      // Another tick may have reported the period that this tick slept for. Then sleep until the next period.
      this.#sleep ??= new Sleep(this.#interval.nextMs);
      if (this.#sleep.poll(cx) === Pending) return Pending;
      this.#sleep = null;
    }
  }

  override describe(): string {
    return `a tick${this.#sleep?.left ?? ""}`;
  }

  get timerLeftMs(): number {
    return this.#sleep?.timerLeftMs ?? Number.POSITIVE_INFINITY;
  }

  protected override release(): void {
    this.#sleep?.drop();
    this.#sleep = null;
  }
}

/**
 * Creates an interval that ticks every `periodMs` milliseconds from now on. The period may be a fraction. Throws
 * RangeError unless `periodMs` is a finite number of at least 0.000001 (a nanosecond).
 *
 * @example
 * const ticks = interval(10);
 * const periods = yield* ticks.tick(); // after 10 ms: 1
 */
export function interval(periodMs: number): Interval {
  return new Interval(periodMs);
}
