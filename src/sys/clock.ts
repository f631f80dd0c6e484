// Clock: the time, as part of the kernel seam. Nothing outside sys/ asks the engine for it.

/**
 * The clock of a runtime: pass one as `new Runtime({ clock })`. A clock that has `advanceTo` is virtual:
 * the runtime never sleeps until a deadline. When no task is ready and no fd has an event, it calls
 * `advanceTo` with the earliest deadline, and the time jumps there.
 *
 * @example
 * class VirtualClock implements Clock {
 *   #nowMs = 0;
 *   now() { return this.#nowMs; }
 *   advanceTo(deadlineMs: number) { this.#nowMs = deadlineMs; }
 * }
 * using patient = new Runtime({ clock: new VirtualClock() });
 * patient.blockOn(sleep(3_600_000)); // an hour, which takes no time
 */
export interface Clock {
  /** Milliseconds since a fixed point, with fractions. Never goes back. */
  now(): number;
  /** Moves a virtual clock to `deadlineMs`, from which `now` continues. */
  advanceTo?(deadlineMs: number): void;
}

/** CLOCK_MONOTONIC, by `performance.now()`. */
export const systemClock: Clock = { now: () => performance.now() };
