// A promise as a future.

import type { Context, RuntimeRef } from "../../core/context.ts";
import { polledAfterEnd } from "../../core/future.ts";
import { type Outcome, Pending, type Poll } from "../../core/poll.ts";
import { WaitQueue } from "../../core/wait-queue.ts";
import { ENDED, Waiting } from "../../core/waiting.ts";
import { drain, usePromises } from "./microtasks.ts";

/** What a task waits for that waits for one, in words. */
export const foreignPromise = "a promise that this runtime did not make";

/** What a promise has come to, and who waits for that. */
class Settlement extends WaitQueue {
  outcome: Outcome<unknown> | null = null;

  constructor(promise: PromiseLike<unknown>) {
    super();
    Promise.resolve(promise).then(
      (value) => this.#settle({ value }),
      (error: unknown) => this.#settle({ error }),
    );
  }

  #settle(outcome: Outcome<unknown>): void {
    this.outcome = outcome;
    this.wakeAll();
  }
}

/**
 * A promise keeps what was given to its `then` until it settles: a loop that selects on one that says when
 * to stop would leave something behind each time round. So all who wait for a promise share one reaction.
 */
const settlements: WeakMap<object, Settlement> = new WeakMap();

function settlementOf(promise: PromiseLike<unknown>): Settlement {
  const known = settlements.get(promise);
  if (known !== undefined) return known;
  const settlement = new Settlement(promise);
  drain(); // it may be settled already
  // Of another thenable each awaiter calls `then`, as `await` does: that may be what does the work.
  const isShared = settlement.outcome === null && promise instanceof Promise;
  if (isShared) settlements.set(promise, settlement);
  return settlement;
}

/** A promise as a future. Dropped, the promise goes on: it cannot be cancelled. */
export class PromiseFuture<T> extends Waiting<T> {
  readonly #promise: PromiseLike<T>;
  /** null before the first poll. */
  #settlement: Settlement | null = null;
  /** The runtime that counts it as foreign, while it is waited for. */
  #runtime: RuntimeRef | null = null;

  constructor(promise: PromiseLike<T>) {
    super();
    usePromises();
    this.#promise = promise;
  }

  override poll(cx: Context): Poll<T> {
    if (this.isEnded) throw polledAfterEnd("the future of a promise");
    if (cx.isExhausted()) return Pending;
    this.#settlement ??= settlementOf(this.#promise);
    const { outcome } = this.#settlement;
    if (outcome === null) {
      // What was drained is anyone's, and may have dropped it: nobody is left to wake its owner.
      if (this.isEnded) throw polledAfterEnd("the future of a promise");
      this.#settlement.wait(this, cx.target);
      if (this.#runtime === null) cx.runtime.foreignPromises++;
      this.#runtime ??= cx.runtime;
      cx.waitsOn = this;
      return Pending;
    }
    this.drop();
    cx.runtime.budget--;
    if ("error" in outcome) throw outcome.error;
    return outcome.value as T;
  }

  override drop(): void {
    this.life = ENDED;
    this.#settlement?.leave(this);
    if (this.#runtime !== null) this.#runtime.foreignPromises--;
    this.#runtime = null;
  }

  override waitsOn(): string {
    return foreignPromise;
  }
}
