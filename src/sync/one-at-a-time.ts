// OneAtATime: the waits on one receiver. A second one at once would split its messages by chance: it is
// an error, and it is the second that gets it, also when the first was woken and has not been polled yet.

import { Pending, type Poll } from "../core/poll.ts";
import type { Attempting } from "../core/turn.ts";

export class OneAtATime {
  #waiting: Attempting | null = null;

  /** An attempt of `turn`; throws if another one waits. */
  attempt<R>(turn: Attempting, attempt: () => Poll<R>): Poll<R> {
    if (this.#waiting !== null && this.#waiting !== turn && !this.#waiting.isEnded) {
      throw new Error(`${turn.waitsOn()}: another task waits on this receiver already`);
    }
    const value = attempt();
    this.#waiting = value === Pending ? turn : null;
    return value;
  }
}
