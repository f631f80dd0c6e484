// Deadlines: the clock of a poll, and how much time the work that runs has left.

import { checkMilliseconds, invalidType, outOfRange } from "../base/check.ts";
import { describe } from "../base/describe.ts";
import type { Context } from "../core/context.ts";
import { currentContextOrNull } from "../core/current.ts";
import { reactorOf } from "../reactor/reactor.ts";
import { type Clock, random, wallNow } from "../sys/clock.ts";

/** Returns the clock of the runtime that polls. */
export function clockOf(cx: Context): Clock {
  return reactorOf(cx).clock;
}

/** Returns a random number >= 0 and < 1 from the runtime that polls. */
export function randomOf(cx: Context): number {
  return random(clockOf(cx));
}

/** Returns a wall-clock time in milliseconds since 1970 as a time on `clock`, which may be negative. */
export function fromWallTime(clock: Clock, wallMs: number): number {
  return clock.now() + wallMs - wallNow(clock);
}

/** 31 years. The clock of a runtime begins near 0, so a greater number is a time since 1970. */
const WALL_CLOCK_MS = 1e12;

/** Throws unless `at` is a point in time: a Date, or a number on the clock of a runtime. `what` names the argument. */
export function checkTime(at: unknown, what: string): asserts at is number | Date {
  if (at instanceof Date) {
    if (Number.isNaN(at.getTime())) throw outOfRange(`${what} must be a valid Date`);
  } else if (typeof at !== "number") {
    throw invalidType(`${what} must be a number or a Date; got ${describe(at)}`);
  } else {
    checkMilliseconds(at, what);
    if (at < WALL_CLOCK_MS || at === Number.POSITIVE_INFINITY) return;
    throw outOfRange(
      `${what} must be a time on the clock of the runtime, which now() returns; got ${at}. A number of milliseconds since 1970 belongs to another clock: pass it as a Date`,
    );
  }
}

/**
 * Returns how many milliseconds the running work has until the nearest `timeout`, `deadline` or `orUndefined` around
 * it cancels it: 0 once that time has passed, Infinity if there is none. Pass it on to a server that you call, or skip
 * a step for which no time is left.
 *
 * A task of a `scope` counts as inside the scope, and so does a task that is awaited through `abortOnDrop`. Other
 * spawned tasks and the work inside a `shield` do not: no deadline around them cancels them.
 *
 * @example
 * yield* timeout(1000, function* () {
 *   yield* sleep(10);
 *   console.log(timeRemaining() <= 990); // true
 * });
 * console.log(timeRemaining()); // Infinity
 */
export function timeRemaining(): number {
  const running = currentContextOrNull();
  if (running === null) return Number.POSITIVE_INFINITY;
  const nowMs = clockOf(running).now();
  let remainingMs = Number.POSITIVE_INFINITY;
  // Another runtime has another clock.
  for (let cx: Context | null = running; cx?.runtime === running.runtime; cx = cx.parent) {
    if (cx.deadline === null) continue;
    const { deadlineMs } = cx.deadline;
    remainingMs = Math.min(remainingMs, deadlineMs <= 0 ? -deadlineMs : deadlineMs - nowMs);
  }
  return Math.max(0, remainingMs);
}
