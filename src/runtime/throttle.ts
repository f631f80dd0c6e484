// ClockThrottle: reads the clock seldom while polls are short.
//
// Reading the clock costs as much as a yield does. While polls are short, we read it exponentially less often;
// after a long poll we read it after each.

/** Polls this short count as short. */
const SHORT_MS = 0.02;
const FACTOR = 8;

export class ClockThrottle {
  readonly #firstStep: number;
  readonly #maxStep: number;
  #step = 0;
  #left = 0;
  #readMs = 0;

  /** The first read comes after `firstStep` polls, and later ones at least every `maxStep` polls. */
  constructor(firstStep: number, maxStep: number) {
    this.#firstStep = firstStep;
    this.#maxStep = maxStep;
  }

  /** Must be called when a turn begins. */
  reset(): this {
    this.#step = this.#left = this.#firstStep;
    this.#readMs = 0;
    return this;
  }

  /** Counts one poll. Returns true when the clock should be read now; the caller then calls `onRead`. */
  isDue(): boolean {
    return --this.#left === 0;
  }

  /** Chooses when to read again, from how long the polls since the last read took. */
  onRead(nowMs: number): void {
    const wereShort = nowMs - this.#readMs < this.#step * SHORT_MS;
    this.#step = wereShort ? Math.min(this.#step * FACTOR, this.#maxStep) : 1;
    this.#left = this.#step;
    this.#readMs = nowMs;
  }
}
