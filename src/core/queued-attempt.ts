// QueuedAttempt: a future that waits in a queue until an attempt succeeds. It is attempted at each poll; the
// queue only says when to poll again.

import type { Context } from "./context.ts";
import { polledAfterEnd } from "./future.ts";
import { Pending, type Poll } from "./poll.ts";
import type { WaitQueue } from "./wait-queue.ts";
import { ENDED, Waiting } from "./waiting.ts";

/** `what` is what it waits on, in words. Both functions may serve many waits. */
export class QueuedAttempt<T> extends Waiting<T> {
  readonly #queue: WaitQueue;
  readonly #what: () => string;
  readonly #attempt: () => Poll<T>;

  constructor(queue: WaitQueue, what: () => string, attempt: () => Poll<T>) {
    super();
    this.#queue = queue;
    this.#what = what;
    this.#attempt = attempt;
  }

  override poll(cx: Context): Poll<T> {
    if (this.isEnded) throw polledAfterEnd(`the wait for ${this.#what()}`);
    if (cx.isExhausted()) return Pending;
    let isOver = true;
    try {
      const value = this.#attempt();
      if (value !== Pending) return value;
      // The attempt may be a user's predicate, which has dropped it: nobody is left to wake its owner.
      if (this.isEnded) throw polledAfterEnd(`the wait for ${this.#what()}`);
      this.#queue.wait(this, cx.target);
      cx.waitsOn = this;
      isOver = false;
      return Pending;
    } finally {
      if (isOver) {
        this.drop();
        cx.runtime.budget--; // also when it throws: a loop may catch that
      }
    }
  }

  override waitsOn(): string {
    return this.#what();
  }

  override drop(): void {
    this.life = ENDED;
    this.#queue.leave(this);
  }
}

/** One whose value is its awaiter's alone: `takeBack` gets it if that one was cancelled meanwhile. */
export class ReclaimableAttempt<T> extends QueuedAttempt<T> {
  readonly #takeBack: (value: T) => void;

  constructor(
    queue: WaitQueue,
    what: () => string,
    attempt: () => Poll<T>,
    takeBack: (value: T) => void,
  ) {
    super(queue, what, attempt);
    this.#takeBack = takeBack;
  }

  override reclaim(value: T): void {
    this.#takeBack(value);
  }
}
