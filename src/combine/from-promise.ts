// fromPromise: awaits a promise in a coroutine.

import { describe } from "../base/describe.ts";
import { isThenable } from "../base/thenable.ts";
import type { Future } from "../core/future.ts";
import { intoFuture } from "../core/into-future.ts";

/**
 * Returns a future of `promise`: `yield* fromPromise(promise)` in a coroutine is what `await promise` is in an async
 * function. Awaiting it returns the promise's value or throws its rejection. Throws TypeError at once when
 * `promise` is not a promise or other thenable.
 *
 * Cancel safe. Dropping the future does not cancel the promise, which is already running. To end a `fetch`,
 * see docs/cancellation.md.
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
