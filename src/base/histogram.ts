// Histogram: how often a duration fell into each of a fixed set of ranges. Adding one allocates nothing.

/** The bounds are powers of two: the first is 2 ** -10 ms, about a microsecond; the last is 16 seconds. */
const FIRST_EXPONENT = -10;
const LAST_EXPONENT = 14;

/** The upper bounds of the buckets in milliseconds, without the last bucket, which has none. */
export function histogramBounds(): number[] {
  const bounds: number[] = [];
  for (let exponent = FIRST_EXPONENT; exponent <= LAST_EXPONENT; exponent++) {
    bounds.push(2 ** exponent);
  }
  return bounds;
}

export class Histogram {
  /** How many durations were at most the bound of the same index, and above the one before. */
  readonly counts: number[] = new Array(LAST_EXPONENT - FIRST_EXPONENT + 2).fill(0);
  count = 0;
  sumMs = 0;
  maxMs = 0;

  add(ms: number): void {
    this.count++;
    this.sumMs += ms;
    if (ms > this.maxMs) this.maxMs = ms;
    // Math.log2(0) is -Infinity.
    const index = Math.ceil(Math.log2(ms)) - FIRST_EXPONENT;
    this.counts[Math.min(Math.max(index, 0), this.counts.length - 1)]!++;
  }
}
