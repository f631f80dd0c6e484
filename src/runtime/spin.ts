// Spin: whether to go on looking at epoll for a while before sleeping.
//
// To sleep and to be woken costs about as much as a spin does. So one that catches an event has paid for
// itself, and who misses now and then pays at most twice what the better choice would. But one who is
// asked every few milliseconds would miss each time: after some in a row nobody spins, until an event
// comes so soon that a spin would have been better.

/** So many in a row may end without an event. */
const PATIENCE = 8;
/** A wait so many times as long as the spin was short: to sleep and to be woken took most of it. */
const SHORT = 4;

/** A look takes a tenth of a microsecond at least. A test's fake timers make the clock stand still. */
export const LOOKS_PER_MS = 10_000;

export class Spin {
  readonly #ms: number;
  #missed = 0;

  constructor(micros: number) {
    this.#ms = micros / 1000;
  }

  /** How long to look now; 0 if it is not worth it. */
  get nowMs(): number {
    return this.#missed < PATIENCE ? this.#ms : 0;
  }

  /** One has ended without an event; nothing if none was made. */
  missed(): void {
    this.#missed++;
  }

  /** A wait has ended after `waitMs`, spin included. */
  heard(waitMs: number): void {
    if (waitMs < this.#ms * SHORT) this.#missed = 0;
  }
}
