// Turn: a future that waits in a queue until an attempt succeeds. The attempt decides, each time it is
// polled; the queue only says when to try again.

import type { Context } from "./context.ts";
import { Future, polledAfterEnd } from "./future.ts";
import { Pending, type Poll } from "./poll.ts";
import type { Waiter, WaitQueue } from "./wait-queue.ts";
import type { WakeTarget } from "./waker.ts";

/** `what` is what it waits on, in words. */
export class Turn<T> extends Future<T> implements Waiter {
  target: WakeTarget | null = null;
  before: Waiter | null = null;
  after: Waiter | null = null;
  list: object | null = null;
  readonly #queue: WaitQueue;
  readonly #what: () => string;
  readonly #attempt: () => Poll<T>;
  /** It has completed, failed or been dropped. */
  isEnded = false;

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
      isOver = false;
      this.#queue.wait(this, cx.target);
      cx.waitsOn = this;
      return Pending;
    } finally {
      if (isOver) {
        this.drop();
        cx.runtime.budget--; // also when it throws: a loop may catch that
      }
    }
  }

  waitsOn(): string {
    return this.#what();
  }

  override drop(): void {
    this.isEnded = true;
    this.#queue.leave(this);
  }
}
