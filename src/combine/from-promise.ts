// Promises in coroutines.

import { describe } from "../base/describe.ts";
import { isThenable } from "../base/thenable.ts";
import type { Future } from "../core/future.ts";
import { intoFuture } from "../core/into-future.ts";

/**
 * A promise as a future: what `await promise` is in an async function, `yield* fromPromise(promise)`
 * is in a coroutine. Dropped, it is no longer waited for; the promise itself goes on, as promises do
 * (docs/cancellation.md shows how to end a `fetch`). Throws TypeError for what is no promise.
 *
 * @example
 * const response = yield* fromPromise(fetch("http://127.0.0.1:3000/"));
 */
export function fromPromise<T>(promise: PromiseLike<T>): Future<T> {
  if (!isThenable(promise)) {
    throw new TypeError(`fromPromise: promise must be a promise; got ${describe(promise)}`);
  }
  return intoFuture(promise);
}
