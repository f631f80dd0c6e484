// A future that counts its polls and drops, and that a test completes by hand.

import { type Context, Future, Pending, type Poll, type Waker } from "../../src/index.ts";

export class Counting<T> extends Future<T> {
  polls = 0;
  drops = 0;
  /** A clone of the latest poll's waker, which this future owns. */
  waker: Waker | null = null;
  #outcome: { value: T } | { error: unknown } | null = null;

  /** Makes the next poll return `value`, and wakes. */
  complete(value: T): void {
    this.#outcome = { value };
    this.wake();
  }

  /** Makes the next poll throw `error`, and wakes. */
  fail(error: unknown): void {
    this.#outcome = { error };
    this.wake();
  }

  /** Wakes the task of the latest poll. */
  wake(): void {
    this.waker?.wakeByRef();
  }

  override poll(cx: Context): Poll<T> {
    this.polls++;
    const outcome = this.#outcome;
    if (outcome !== null) {
      this.#dropWaker();
      if ("error" in outcome) throw outcome.error;
      return outcome.value;
    }
    this.#dropWaker();
    this.waker = cx.waker.clone();
    return Pending;
  }

  override drop(): void {
    this.drops++;
    this.#dropWaker();
  }

  #dropWaker(): void {
    this.waker?.drop();
    this.waker = null;
  }
}
