// How promises take part: what is done with a work function that may be, or call, an async one, and with
// what is awaited. A future that is awaited belongs to the async function that awaits it, its owner; where
// there is none it is a task of its own.

import { isThenable } from "../../base/thenable.ts";
import type { RuntimeRef } from "../../core/context.ts";
import { currentContextOrNull } from "../../core/current.ts";
import { Future } from "../../core/future.ts";
import { isGenerator } from "../../core/generator.ts";
import { type Host, host } from "../../core/host.ts";
import { intoFuture } from "../../core/into-future.ts";
import { AsyncFuture } from "./async-future.ts";
import { usePromises } from "./microtasks.ts";
import { PromiseFuture } from "./promise-future.ts";
import { currentOwner, owners } from "./storage.ts";

/**
 * The runtime whose blockOn is on the stack, innermost: only it can perform what is awaited meanwhile.
 * Not one in a guest turn: the microtasks that such a turn drains may be anyone's.
 */
let driving: RuntimeRef | null = null;

export function swapDriving(next: RuntimeRef | null): RuntimeRef | null {
  const previous = driving;
  driving = next;
  return previous;
}

/** The half of Host that concerns promises. */
export const promiseHost: Pick<
  Host,
  "callWork" | "futureOf" | "promiseOf" | "currentAsyncContext"
> = {
  callWork(start) {
    const owner = new AsyncFuture<unknown>();
    let isWatched = false;
    try {
      const value = owners().run(owner, start);
      const isFuture = value instanceof Future;
      let promise: PromiseLike<unknown> | null = null;
      if (!isFuture && isThenable(value)) promise = value;
      // Not an async function. But what it awaited must run, alongside the work it returned.
      else if (owner.hasAdopted && (isFuture || isGenerator(value))) {
        promise = owners().run(owner, () => intoFuture(value).then());
      }
      if (promise === null) return value;
      owner.watch(promise);
      isWatched = true;
      return owner;
    } finally {
      if (!isWatched) owner.dismiss();
    }
  },
  futureOf(promise) {
    return new PromiseFuture(promise);
  },
  promiseOf(future) {
    usePromises();
    const own = (future as Future<unknown>)[Symbol.iterator]();
    const owner = currentOwner();
    if (owner !== null) return owner.adopt(own);
    const runtime =
      currentContextOrNull()?.runtime ?? driving ?? (host.ambientRuntime() as RuntimeRef);
    return new Promise((resolve, reject) => runtime.start(own, { resolve, reject }));
  },
  currentAsyncContext: () => currentOwner()?.cx ?? null,
};
