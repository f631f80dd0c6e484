// Clock: the time, as part of the kernel seam. No file outside sys/ reads the time from the engine.

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
 * patient.blockOn(sleep(3_600_000)); // an hour on its clock, at once
 */
export interface Clock {
  /** Milliseconds since a fixed point, with fractions. Never goes back. */
  now(): number;
  /** Moves a virtual clock to `deadlineMs`, from which `now` continues. */
  advanceTo?(deadlineMs: number): void;
}

/** The system's monotonic clock: `performance.now()`. Default of `new Runtime()`. */
export const systemClock: Clock = { now: () => performance.now() };
