// A promise as a future.

import type { Context, RuntimeRef } from "../core/context.ts";
import { Future, polledAfterEnd } from "../core/future.ts";
import { type Outcome, Pending, type Poll } from "../core/poll.ts";
import type { WakeTarget } from "../core/waker.ts";
import { drain, usePromises } from "./microtasks.ts";

/** What a task waits for that waits for one, in words. */
export const foreignPromise = "a promise that this runtime did not make";

/** A promise as a future. Dropped, the promise goes on: it cannot be cancelled. */
export class PromiseFuture<T> extends Future<T> {
  #promise: PromiseLike<T> | null;
  #outcome: Outcome<T> | null = null;
  #target: WakeTarget | null = null;
  /** The runtime that counts it as foreign, while it is waited for. */
  #runtime: RuntimeRef | null = null;
  #isEnded = false;

  constructor(promise: PromiseLike<T>) {
    super();
    usePromises();
    this.#promise = promise;
  }

  override poll(cx: Context): Poll<T> {
    if (this.#isEnded) throw polledAfterEnd("the future of a promise");
    if (cx.isExhausted()) return Pending;
    this.#target = cx.target;
    if (this.#promise !== null) {
      Promise.resolve(this.#promise).then(
        (value) => this.#settle({ value }),
        (error: unknown) => this.#settle({ error }),
      );
      this.#promise = null;
      this.#runtime = cx.runtime;
      cx.runtime.foreignPromises++;
      drain(); // it may be settled already
    }
    const outcome = this.#outcome as Outcome<T> | null;
    if (outcome === null) {
      cx.waitsOn = this;
      return Pending;
    }
    this.drop();
    cx.runtime.budget--;
    if ("error" in outcome) throw outcome.error;
    return outcome.value;
  }

  #settle(outcome: Outcome<T>): void {
    this.#outcome = outcome;
    this.#forget();
    this.#target?.wake();
  }

  #forget(): void {
    if (this.#runtime !== null) this.#runtime.foreignPromises--;
    this.#runtime = null;
  }

  override drop(): void {
    this.#isEnded = true;
    this.#target = null;
    this.#forget();
  }

  waitsOn(): string {
    return foreignPromise;
  }
}
