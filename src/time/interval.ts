// Interval: a clock that ticks.

import { describe } from "../base/describe.ts";
import type { Context } from "../core/context.ts";
import type { Future } from "../core/future.ts";
import { Leaf } from "../core/leaf.ts";
import { Pending, type Poll } from "../core/poll.ts";
import { currentClock } from "../reactor/reactor.ts";
import type { Clock } from "../sys/clock.ts";
import { sleepUntil } from "./sleep.ts";

/**
 * Ticks at whole periods from its making: a late tick does not make the next one late.
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
  readonly periodMs: number;
  readonly #clock: Clock = currentClock();
  readonly #startMs: number = this.#clock.now();
  /** Periods that ticks have told of. */
  #told = 0;

  /** Not for users: `interval(ms)`. */
  constructor(periodMs: number) {
    this.periodMs = periodMs;
  }

  /**
   * How many periods have passed since the last tick: 1, or more if the ticks were not waited for in
   * time. The first comes after one period. Cancel safe: a dropped tick takes no period away.
   */
  tick(): Future<number> {
    return new Tick(this);
  }

  [Symbol.asyncIterator](): AsyncIterator<number> {
    return { next: () => this.tick().then((value) => ({ done: false, value })) };
  }

  /** @internal For a tick: the periods that nobody was told of, which now count as told. */
  consumeElapsed(): number {
    const passed = Math.floor((this.#clock.now() - this.#startMs) / this.periodMs) - this.#told;
    if (passed > 0) this.#told += passed;
    return passed;
  }

  /** When the next tick is due, on `performance.now()`'s clock. */
  get nextMs(): number {
    return this.#startMs + (this.#told + 1) * this.periodMs;
  }
}

class Tick extends Leaf<number> {
  readonly #interval: Interval;
  #sleep: Future<void> | null = null;

  constructor(interval: Interval) {
    super();
    this.#interval = interval;
  }

  protected override attempt(cx: Context): Poll<number> {
    for (;;) {
      const elapsed = this.#interval.consumeElapsed();
      if (elapsed > 0) return elapsed;
      // Another tick may have consumed the period this one waited for: wait for the next.
      this.#sleep ??= sleepUntil(this.#interval.nextMs);
      if (this.#sleep.poll(cx) === Pending) return Pending;
      this.#sleep = null;
    }
  }

  override describe(): string {
    return `a tick at ${this.#interval.nextMs}`;
  }

  protected override release(): void {
    this.#sleep?.drop();
    this.#sleep = null;
  }
}

/** A nanosecond. With shorter ones the count of periods would overflow. */
const SHORTEST_MS = 1e-6;

/**
 * Ticks every `periodMs` milliseconds (fractions count), from now on. Throws RangeError unless it is
 * a finite number, and at least a nanosecond.
 *
 * @example
 * const ticks = interval(10);
 * yield* ticks.tick();
 */
export function interval(periodMs: number): Interval {
  if (!(Number.isFinite(periodMs) && periodMs >= SHORTEST_MS)) {
    throw new RangeError(
      `interval: periodMs must be a finite number, 0.000001 (a nanosecond) or more; got ${describe(periodMs)}`,
    );
  }
  return new Interval(periodMs);
}
