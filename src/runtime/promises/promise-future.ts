// A promise as a future.

import type { Context, RuntimeRef } from "../../core/context.ts";
import { Leaf } from "../../core/leaf.ts";
import { type Outcome, Pending, type Poll } from "../../core/poll.ts";
import { WaitQueue } from "../../core/wait-queue.ts";
import { drain, usePromises } from "./microtasks.ts";

/** The phrase by which `describe()` names a foreign promise. */
export const foreignPromise = "a promise that this runtime did not make";

/** The outcome of a promise, and the futures that wait for it. */
class Settlement extends WaitQueue {
  outcome: Outcome<unknown> | null = null;

  constructor(promise: PromiseLike<unknown>) {
    super();
    Promise.resolve(promise).then(
      (value) => this.settle({ value }),
      (error: unknown) => this.settle({ error }),
    );
  }

  private settle(outcome: Outcome<unknown>): void {
    this.outcome = outcome;
    this.wakeAll();
  }
}

/**
 * All futures of one promise share one reaction. A promise keeps each reaction until it settles, so a loop that
 * selects on a promise and another future would otherwise leak a reaction in each iteration.
 */
const settlements: WeakMap<object, Settlement> = new WeakMap();

function settlementOf(promise: PromiseLike<unknown>): Settlement {
  const known = settlements.get(promise);
  if (known !== undefined) return known;
  const settlement = new Settlement(promise);
  drain(); // it may be settled already
  // Each awaiter of another thenable calls `then`, as `await` does: that call may start the work.
  const isShared = settlement.outcome === null && promise instanceof Promise;
  if (isShared) settlements.set(promise, settlement);
  return settlement;
}

/** A promise as a future. A dropped one no longer waits; the promise itself cannot be cancelled. */
export class PromiseFuture<T> extends Leaf<T> {
  private readonly promise: PromiseLike<T>;
  /** null before the first poll. */
  private settlement: Settlement | null = null;
  /** The runtime that counts the promise as foreign while this future waits for it. */
  private runtime: RuntimeRef | null = null;

  constructor(promise: PromiseLike<T>) {
    super();
    usePromises();
    this.promise = promise;
  }

  protected override attempt(cx: Context): Poll<T> {
    this.settlement ??= settlementOf(this.promise);
    const { outcome } = this.settlement;
    if (outcome === null) {
      if (this.isEnded) return Pending; // the drained microtasks dropped it; Leaf throws
      this.settlement.wait(this, cx.target);
      if (this.runtime === null) {
        this.runtime = cx.runtime;
        this.runtime.foreignPromises++;
      }
      return Pending;
    }
    if ("error" in outcome) throw outcome.error;
    return outcome.value as T;
  }

  override describe(): string {
    return foreignPromise;
  }

  protected override release(): void {
    this.settlement?.leave(this);
    if (this.runtime !== null) this.runtime.foreignPromises--;
    this.runtime = null;
  }
}
