// join: several futures at once, all of them.

import { describe } from "../base/describe.ts";
import { Future } from "../core/future.ts";
import { type IntoFuture, intoFuture, type Output } from "../core/into-future.ts";
import { Combinator } from "./combinator.ts";

class JoinAll extends Combinator<number, unknown[]> {
  readonly #values: unknown[];

  constructor(work: readonly IntoFuture<unknown>[]) {
    super();
    this.#values = new Array(work.length);
    for (let index = 0; index < work.length; index++) {
      this.children.add(index, intoFuture(work[index]!)); // index < length
    }
    if (work.length === 0) this.outcome = { value: [] };
  }

  protected override onValue(index: number, value: unknown): void {
    this.#values[index] = value;
    if (this.children.size === 0) this.outcome = { value: this.#values };
  }
}

/**
 * Performs all of `work` side by side, in this task; gives their values in order. The first failure
 * drops the rest, and is thrown when their cleanup is over. Dropped, it drops all.
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
 * `join` of as many as `work` has. A wake of one polls that one only: 10,000 cost 10,000 polls.
 * Throws TypeError for what is no iterable, or a future by itself.
 *
 * @example
 * const pages = yield* joinAll(urls.map((url) => load(url)));
 */
export function joinAll<W extends IntoFuture<unknown>>(work: Iterable<W>): Future<Output<W>[]> {
  // A future is iterable, too: that is how `yield*` polls it.
  if (work instanceof Future || typeof Object(work)[Symbol.iterator] !== "function") {
    throw new TypeError(
      `joinAll: work must be an iterable, an array say, of what counts as work; got ${describe(work)}`,
    );
  }
  return new JoinAll(Array.isArray(work) ? work : [...work]) as unknown as Future<Output<W>[]>;
}
