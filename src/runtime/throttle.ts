// ClockThrottle: decides after how many polls to read the clock.
//
// Reading the clock costs as much as a yield. While polls are short, we read it exponentially less often. Once they
// are long, we read it after each poll.

/** Polls that take less than this on average count as short. */
const SHORT_MS = 0.02;
/** While polls are short, each step has this many times the polls of the step before. */
const FACTOR = 8;

export class ClockThrottle {
  private readonly firstStep: number;
  private readonly maxStep: number;
  /** The number of polls from the last read to the next. */
  private step = 0;
  /** How many of them are left. */
  private left = 0;
  /** The time of the last read. 0 before the first read of a turn, so on the system clock that step is not short. */
  private readMs = 0;

  /** The first read comes after `firstStep` polls, and later ones at least every `maxStep` polls. */
  constructor(firstStep: number, maxStep: number) {
    this.firstStep = firstStep;
    this.maxStep = maxStep;
  }

  /** Must be called when a turn begins. */
  reset(): this {
    this.step = this.left = this.firstStep;
    this.readMs = 0;
    return this;
  }

  /** Counts one poll. Returns true when the clock should be read now; the caller then calls `onRead`. */
  isDue(): boolean {
    return --this.left === 0;
  }

  /** Chooses when to read again, from how long the polls since the last read took. */
  onRead(nowMs: number): void {
    const wereShort = nowMs - this.readMs < this.step * SHORT_MS;
    this.step = wereShort ? Math.min(this.step * FACTOR, this.maxStep) : 1;
    this.left = this.step;
    this.readMs = nowMs;
  }
}
