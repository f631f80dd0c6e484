// Spin: whether to go on looking at epoll for a while before sleeping.
//
// To sleep and to be woken costs about as much as a spin does. So one that catches an event has paid for
// itself, and who loses one now and then pays at most twice what the better choice would. But one who is
// asked every few milliseconds would lose them all: after some in a row nobody spins, until an event
// comes so soon that a spin would have been better.

/** Spins that may be lost in a row. */
const PATIENCE = 8;
/** A wait so many times as long as the spin was short: to sleep and to be woken took most of it. */
const SHORT = 4;

export class Spin {
  readonly ms: number;
  #lost = 0;

  constructor(micros: number) {
    this.ms = micros / 1000;
  }

  /** How long to look now; 0 if it is not worth it. */
  get nowMs(): number {
    return this.#lost < PATIENCE ? this.ms : 0;
  }

  /** One has ended without an event. */
  missed(): void {
    this.#lost++;
  }

  /** An event came after a wait of `waitMs`, spin included. */
  heard(waitMs: number): void {
    if (waitMs < this.ms * SHORT) this.#lost = 0;
  }
}
