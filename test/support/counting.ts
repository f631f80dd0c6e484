// A future that counts what happens to it, and that a test completes by hand.

import { type Context, Future, Pending, type Poll, type Waker } from "../../src/index.ts";

export class Counting<T> extends Future<T> {
  polls = 0;
  drops = 0;
  /** The latest poll's waker, owned. */
  waker: Waker | null = null;
  #outcome: { value: T } | { error: unknown } | null = null;

  /** Completes at the next poll, which this asks for. */
  complete(value: T): void {
    this.#outcome = { value };
    this.wake();
  }

  fail(error: unknown): void {
    this.#outcome = { error };
    this.wake();
  }

  /** Wakes, and changes nothing else. */
  wake(): void {
    this.waker?.wakeByRef();
  }

  override poll(cx: Context): Poll<T> {
    this.polls++;
    const outcome = this.#outcome;
    if (outcome !== null) {
      this.#forget();
      if ("error" in outcome) throw outcome.error;
      return outcome.value;
    }
    this.#forget();
    this.waker = cx.waker.clone();
    return Pending;
  }

  override drop(): void {
    this.drops++;
    this.#forget();
  }

  #forget(): void {
    this.waker?.drop();
    this.waker = null;
  }
}
