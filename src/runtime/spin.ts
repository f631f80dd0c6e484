// Spin: decides whether to busy-poll epoll for a while before sleeping.
//
// Sleeping and being woken cost about as much time as one spin. So a spin that catches an event pays for
// itself, and one that catches nothing at most doubles the cost of the wait. But a runtime that gets an event
// only every few milliseconds would spin in vain each time. After several fruitless spins in a row we stop
// spinning, until an event arrives so soon that a spin would have caught it.

/** Spinning stops after this many fruitless spins in a row. */
const MAX_FRUITLESS = 8;
/** A wait this many times as long as the spin still counts as short: sleeping and waking took most of it. */
const SHORT_WAIT_FACTOR = 4;

/**
 * The most polls of epoll that fit into a millisecond: one costs at least 0.1 µs. Bounds a spin when the clock
 * stands still, as under a test's fake timers.
 */
export const MAX_POLLS_PER_MS = 10_000;

export class Spin {
  private readonly spinMs: number;
  private fruitless = 0;

  constructor(spinMicros: number) {
    this.spinMs = spinMicros / 1000;
  }

  /** How long to spin before the next sleep; 0 while spinning does not pay. */
  get durationMs(): number {
    return this.fruitless < MAX_FRUITLESS ? this.spinMs : 0;
  }

  /** Must be called when a spin has ended without an event. */
  onFruitless(): void {
    this.fruitless++;
  }

  /** Must be called when an event has ended a wait of `waitMs`, spin included. */
  onEvent(waitMs: number): void {
    if (waitMs < this.spinMs * SHORT_WAIT_FACTOR) this.fruitless = 0;
  }
}
