// ClockThrottle: decides after how many polls to read the clock.
//
// Reading the clock costs as much as a yield. While polls are short, we read it exponentially less often. Once they
// are long, we read it after each poll.

/** Polls that take less than this on average count as short. */
const SHORT_MS = 0.02;
/** While polls are short, each step has this many times the polls of the step before. */
const FACTOR = 8;

export class ClockThrottle {
  /** After how many polls to read the clock; the caller then calls `onRead`. */
  step = 0;
  private readonly firstStep: number;
  private readonly maxStep: number;
  /** The time of the last read. 0 before the first read of a turn, so on the system clock that step is not short. */
  private readMs = 0;

  /** The first read comes after `firstStep` polls, and later ones at least every `maxStep` polls. */
  constructor(firstStep: number, maxStep: number) {
    this.firstStep = firstStep;
    this.maxStep = maxStep;
  }

  /** Must be called when a turn begins. */
  reset(): this {
    this.step = this.firstStep;
    this.readMs = 0;
    return this;
  }

  /** Chooses when to read again, from how long the polls since the last read took. */
  onRead(nowMs: number): void {
    const wereShort = nowMs - this.readMs < this.step * SHORT_MS;
    this.step = wereShort ? Math.min(this.step * FACTOR, this.maxStep) : 1;
    this.readMs = nowMs;
  }
}
