// Clock: how the library reads the time and draws random numbers, as part of the kernel seam. No other file of src/
// calls `performance.now()`, `Date.now()` or `Math.random()`.

/**
 * The clock of a runtime: pass one as `new Runtime({ clock })`, or `"virtual"` for one that only jumps. A clock that has `advanceTo` is virtual:
 * the runtime never sleeps until a deadline. When no task is ready and no fd has an event, it calls
 * `advanceTo` with the earliest deadline, and the time jumps there. It does not jump while a `spawnBlocking` call
 * runs. It does jump past promises that only Bun's own loop settles (`fetch`, `Bun.sleep`): those take real time.
 *
 * @example
 * class VirtualClock implements Clock {
 *   #nowMs = 0;
 *   now() { return this.#nowMs; }
 *   advanceTo(deadlineMs: number) { this.#nowMs = deadlineMs; }
 * }
 * using patient = new Runtime({ clock: new VirtualClock() });
 * patient.blockOn(sleep(3_600_000)); // returns at once; its clock is an hour ahead
 */
export interface Clock {
  /** Returns milliseconds since a fixed point in time; may have a fraction. Never goes back. */
  now(): number;
  /** Moves a virtual clock forward to `deadlineMs`; `now` then returns at least that. */
  advanceTo?(deadlineMs: number): void;
  /** Returns the wall-clock time in milliseconds since 1970, for a deadline that is a Date. Default: `Date.now()`. */
  wallNow?(): number;
  /** Returns a random number >= 0 and < 1, for jitter. Default: `Math.random()`. */
  random?(): number;
}

/** Returns the clock of `new Runtime({ clock: "virtual" })`: it starts at 0, and moves only when it is advanced. */
export function virtualClock(): Clock {
  let nowMs = 0;
  return {
    now: () => nowMs,
    advanceTo(deadlineMs) {
      nowMs = deadlineMs;
    },
  };
}

/** The system's monotonic clock: `performance.now()`. Default of `new Runtime()`. */
export const systemClock: Clock = { now: () => performance.now() };

/** Returns the wall-clock time of `clock`. */
export function wallNow(clock: Clock): number {
  return clock.wallNow?.() ?? Date.now();
}

/** Returns a random number >= 0 and < 1 from `clock`. */
export function random(clock: Clock): number {
  return clock.random?.() ?? Math.random();
}
