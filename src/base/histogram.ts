// Histogram: how often a duration fell into each of a fixed set of ranges. Adding one allocates nothing.

/** The bounds are powers of two: the first is 2 ** -10 ms, about a microsecond; the last is 16 seconds. */
const FIRST_EXPONENT = -10;
const LAST_EXPONENT = 14;

/** How often durations fell into ranges, in milliseconds. */
export interface HistogramCounts {
  /** The upper bounds of the ranges: powers of two from about a microsecond to 16 seconds. */
  readonly boundsMs: readonly number[];
  /** How many durations were in each range; the last, without a bound, has those that were longer. */
  readonly counts: readonly number[];
  readonly count: number;
  readonly sumMs: number;
  readonly maxMs: number;
}

function bounds(): number[] {
  const all: number[] = [];
  for (let exponent = FIRST_EXPONENT; exponent <= LAST_EXPONENT; exponent++) {
    all.push(2 ** exponent);
  }
  return all;
}

export class Histogram {
  /** How many durations were at most the bound of the same index, and above the one before. */
  private readonly counts: number[] = new Array(LAST_EXPONENT - FIRST_EXPONENT + 2).fill(0);
  private count = 0;
  private sumMs = 0;
  private maxMs = 0;

  /** Returns a copy of the counts so far. */
  read(): HistogramCounts {
    const { counts, count, sumMs, maxMs } = this;
    return { boundsMs: bounds(), counts: [...counts], count, sumMs, maxMs };
  }

  add(ms: number): void {
    this.count++;
    this.sumMs += ms;
    if (ms > this.maxMs) this.maxMs = ms;
    // Math.log2(0) is -Infinity.
    const index = Math.ceil(Math.log2(ms)) - FIRST_EXPONENT;
    this.counts[Math.min(Math.max(index, 0), this.counts.length - 1)]!++;
  }
}
