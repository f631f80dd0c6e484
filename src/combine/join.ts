// join and joinAll: run futures concurrently and wait for all of them.

import { describe } from "../base/describe.ts";
import { Future } from "../core/future.ts";
import { type IntoFuture, intoFuture, type Output } from "../core/into-future.ts";
import { Combinator } from "./combinator.ts";

class JoinAll extends Combinator<number, unknown[]> {
  private readonly values: unknown[];

  constructor(work: readonly IntoFuture<unknown>[]) {
    super();
    this.values = new Array(work.length);
    for (let index = 0; index < work.length; index++) {
      this.children.add(index, intoFuture(work[index]!)); // index < length
    }
    if (work.length === 0) this.outcome = { value: [] };
  }

  protected override onValue(index: number, value: unknown): void {
    this.values[index] = value;
    if (this.children.size === 0) this.outcome = { value: this.values };
  }
}

/**
 * Runs all of `work` concurrently in the current task, and returns all values in the given order. If one
 * fails, cancels the others, waits for their cleanup, and throws that first error. Throws TypeError when an
 * argument is not work.
 *
 * Dropping the join drops all of `work`, so it is cancel safe if all of `work` is.
 *
 * @example
 * const [page, user] = yield* join(loadPage(), loadUser());
 */
export function join<const W extends readonly IntoFuture<unknown>[]>(
  ...work: W
): Future<{ -readonly [K in keyof W]: Output<W[K]> }> {
  return new JoinAll(work) as unknown as Future<never>;
}

/**
 * Like `join`, for an iterable of work. A wake polls only the woken future, so 10,000 pieces of work stay cheap.
 * Throws TypeError when `work` is not iterable, is a single future, or contains something that is not work.
 *
 * Dropping the join drops all of `work`, so it is cancel safe if all of `work` is.
 *
 * @example
 * const pages = yield* joinAll(urls.map((url) => load(url)));
 */
export function joinAll<W extends IntoFuture<unknown>>(work: Iterable<W>): Future<Output<W>[]> {
  // `yield*` iterates futures, so a future is iterable.
  if (work instanceof Future || typeof Object(work)[Symbol.iterator] !== "function") {
    throw new TypeError(
      `joinAll: work must be an iterable of work, such as an array of futures; got ${describe(work)}`,
    );
  }
  return new JoinAll(Array.isArray(work) ? work : [...work]) as unknown as Future<Output<W>[]>;
}
