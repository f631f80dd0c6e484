// OneAtATime: the waits on one receiver. A second one at once would split its messages by chance: it is
// an error, and it is the second that gets it, also when the first was woken and has not been polled yet.

import { Pending, type Poll } from "../core/poll.ts";
import { Turn } from "../core/turn.ts";
import type { WaitQueue } from "../core/wait-queue.ts";

export class OneAtATime {
  /** The latest that was Pending. */
  #waiting: Turn<unknown> | null = null;

  turn<R>(queue: WaitQueue, what: () => string, attempt: () => Poll<R>): Turn<R> {
    const turn: Turn<R> = new Turn(queue, what, () => {
      if (this.#waiting !== null && this.#waiting !== turn && !this.#waiting.isEnded) {
        throw new Error(`${what()}: another task waits on this receiver already`);
      }
      const value = attempt();
      this.#waiting = value === Pending ? turn : null;
      return value;
    });
    return turn;
  }
}
