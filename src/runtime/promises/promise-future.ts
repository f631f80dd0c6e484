// A promise as a future.

import type { Context, RuntimeRef } from "../../core/context.ts";
import { Leaf } from "../../core/leaf.ts";
import { type Outcome, Pending, type Poll } from "../../core/poll.ts";
import { WaitQueue } from "../../core/wait-queue.ts";
import { drain, isTooDeep, usePromises } from "./microtasks.ts";

/** The phrase by which `describe()` names a foreign promise without a name. */
export const foreignPromise = "a promise that this runtime did not make";

/** The outcome of a promise, and the futures that wait for it. */
class Settlement extends WaitQueue {
  outcome: Outcome<unknown> | null = null;
  /** The microtasks have run since its creation: a promise that was settled then has an outcome here. */
  isCurrent = false;

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

function settlementOf(promise: Promise<unknown>): Settlement {
  const known = settlements.get(promise);
  if (known !== undefined) return known;
  const settlement = new Settlement(promise);
  settlements.set(promise, settlement);
  return settlement;
}

/**
 * A promise as a future. A dropped one no longer waits; the promise itself cannot be cancelled. From the creation of the
 * future on, a rejection counts as handled, as one does that was given to `Promise.all` or `Promise.race`: the first poll
 * may be too late, and an unhandled rejection ends the process.
 */
export class PromiseFuture<T> extends Leaf<T> {
  private readonly promise: PromiseLike<T>;
  private readonly label: string;
  /** null before the first poll of a thenable that is no Promise: calling its `then` may start the work. */
  private settlement: Settlement | null;
  /** The runtime that counts the promise as foreign while this future waits for it. */
  private runtime: RuntimeRef | null = null;

  constructor(promise: PromiseLike<T>, name?: string) {
    super();
    usePromises();
    this.promise = promise;
    this.label = name === undefined ? foreignPromise : `promise "${name}"`;
    this.settlement = promise instanceof Promise ? settlementOf(promise) : null;
  }

  protected override attempt(cx: Context): Poll<T> {
    this.settlement ??= new Settlement(this.promise);
    const { settlement } = this;
    if (!settlement.isCurrent) {
      if (isTooDeep(cx)) return Pending;
      settlement.isCurrent = true;
      drain();
    }
    const { outcome } = settlement;
    if (outcome === null) {
      if (this.isEnded) return Pending; // the drained microtasks dropped it; Leaf throws
      settlement.wait(this, cx.target);
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
    return this.label;
  }

  protected override release(): void {
    this.settlement?.leave(this);
    if (this.runtime !== null) this.runtime.foreignPromises--;
    this.runtime = null;
  }
}
