// A promise as a future.

import type { Context, RuntimeRef } from "../../core/context.ts";
import { Leaf } from "../../core/leaf.ts";
import { type Outcome, Pending, type Poll } from "../../core/poll.ts";
import { WaitQueue } from "../../core/wait-queue.ts";
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

/** A promise as a future. A dropped one no longer waits; the promise itself cannot be cancelled. */
export class PromiseFuture<T> extends Leaf<T> {
  readonly #promise: PromiseLike<T>;
  /** null before the first poll. */
  #settlement: Settlement | null = null;
  /** The runtime that counts the promise as foreign while this future waits for it. */
  #runtime: RuntimeRef | null = null;

  constructor(promise: PromiseLike<T>) {
    super();
    usePromises();
    this.#promise = promise;
  }

  protected override attempt(cx: Context): Poll<T> {
    this.#settlement ??= settlementOf(this.#promise);
    const { outcome } = this.#settlement;
    if (outcome === null) {
      if (this.isEnded) return Pending; // the drained microtasks dropped it; Leaf throws
      this.#settlement.wait(this, cx.target);
      if (this.#runtime === null) cx.runtime.countForeignPromise(1);
      this.#runtime ??= cx.runtime;
      return Pending;
    }
    if ("error" in outcome) throw outcome.error;
    return outcome.value as T;
  }

  override describe(): string {
    return foreignPromise;
  }

  protected override release(): void {
    this.#settlement?.leave(this);
    this.#runtime?.countForeignPromise(-1);
    this.#runtime = null;
  }
}
