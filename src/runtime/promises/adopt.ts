// The half of Host that concerns promises: it makes async functions work, and runs the futures that code awaits.
//
// An awaited future belongs to its owner, the async function that awaits it. Without an owner it is *loose*. Then
// the runtime of the poll in progress runs it, else the runtime that holds the thread, else the ambient runtime.

import { isThenable } from "../../base/thenable.ts";
import type { Context, RuntimeRef } from "../../core/context.ts";
import { Future } from "../../core/future.ts";
import { type Host, host } from "../../core/host.ts";
import { BOUND_BY_USING } from "../../core/leaf.ts";
import { AsyncFuture } from "./async-future.ts";
import { ignore, looseAwait, looseRuntime, rejecting } from "./await.ts";
import { AwaitResult, type Handler } from "./await-result.ts";
import { currentRuntimeOrNull } from "./driving.ts";
import { isEngineFunction } from "./engine-function.ts";
import { InStorage } from "./in-storage.ts";
import { drain, isTooDeep, usePromises } from "./microtasks.ts";
import { PromiseFuture } from "./promise-future.ts";
import { captureStorage, currentOwner, owners } from "./storage.ts";

/** The half of Host that concerns promises. */
export const promiseHost: Pick<
  Host,
  | "callWork"
  | "futureOf"
  | "currentAsyncContext"
  | "currentOwner"
  | "currentRuntime"
  | "runMicrotasks"
> = {
  callWork(start) {
    const owner = new AsyncFuture<unknown>(start.name);
    let isWatched = false;
    try {
      const value = owners().run(owner, start);
      if (!isThenable(value)) return value; // not an async function
      // A future is work by itself, unless something awaits it already.
      if (value instanceof Future && value.adopted === null) return value;
      owner.watch(value);
      isWatched = true;
      return owner;
    } finally {
      if (!isWatched) owner.dismiss();
    }
  },
  futureOf(promise, name) {
    return new PromiseFuture(promise, name);
  },
  currentAsyncContext: () => currentOwner()?.cx ?? null,
  currentOwner,
  currentRuntime(preferred) {
    const ref = preferred as RuntimeRef | null;
    return currentRuntimeOrNull() ?? (ref?.isOpen ? ref : host.ambientRuntime());
  },
  runMicrotasks(cx) {
    if (isTooDeep(cx as Context)) return false;
    drain();
    return true;
  },
};

/** Implements `Future.then`: runs the future for the async function that awaits it. */
export function awaitFuture(
  this: Future<unknown>,
  onFulfilled?: unknown,
  onRejected?: unknown,
): Promise<unknown> {
  const { adopted } = this;
  if (adopted !== null && adopted !== BOUND_BY_USING) {
    return adopted.promise().then(onFulfilled as Handler, onRejected as Handler);
  }
  const result = new AwaitResult();
  this.adopted = result;
  // A handler of the user runs in a microtask, like the handler of a promise.
  const isEngine = isEngineFunction(onFulfilled);
  const promise = isEngine ? null : result.promise();
  const handler = isEngine ? onFulfilled : ignore;
  const onError = isEngine ? onRejected : ignore;
  const own = this[Symbol.iterator]();
  const owner = currentOwner();
  if (owner === null) {
    if (own.runsUserCode) startLoose(own, handler, onError, result);
    else looseAwait().begin(own, handler, onError, result);
  } else if (owner.isRefusing) owner.refuse(own, handler, onError, result);
  else owner.nextAwait().begin(own.runsUserCode ? inStorage(own) : own, handler, onError, result);
  if (promise === null) return result as unknown as Promise<unknown>;
  return promise.then(onFulfilled as Handler, onRejected as Handler);
}

function inStorage(future: Future<unknown>): Future<unknown> {
  return new InStorage(future, captureStorage());
}

/** Runs `own` as a task: it has a place in `runtime.tasks()`, and its cleanup may wait. */
function startLoose(
  own: Future<unknown>,
  onFulfilled: Handler,
  onRejected: unknown,
  result: AwaitResult,
): void {
  usePromises();
  looseRuntime().start(own, {
    resolve: (value) => result.settle(value, false, onFulfilled),
    reject: (error) => result.settle(error, true, rejecting(onFulfilled, onRejected)),
  });
}
