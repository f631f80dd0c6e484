// OneAtATime: the waits on one receiver. A second one at once would split its messages by chance: it is
// an error, and it is the second that gets it, also when the first was woken and has not been polled yet.

import { Pending, type Poll } from "../core/poll.ts";
import type { Attempting } from "../core/queued-attempt.ts";

export class OneAtATime {
  #waiting: Attempting | null = null;

  /** An attempt of `wait`; throws if another one waits. */
  attempt<R>(wait: Attempting, attempt: () => Poll<R>): Poll<R> {
    if (this.#waiting !== null && this.#waiting !== wait && !this.#waiting.isEnded) {
      throw new Error(`${wait.waitsOn()}: another task waits on this receiver already`);
    }
    const value = attempt();
    this.#waiting = value === Pending ? wait : null;
    return value;
  }
}
