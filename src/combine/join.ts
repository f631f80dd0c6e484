// join and joinAll: run futures concurrently and wait for all of them.

import type { Future } from "../core/future.ts";
import { type IntoFuture, type Output, takeWork } from "../core/into-future.ts";
import { Combinator } from "./combinator.ts";
import { checkIterable, workList } from "./work-list.ts";

class JoinAll extends Combinator<number, unknown[]> {
  private readonly values: unknown[];

  constructor(work: readonly IntoFuture<unknown>[], what: string) {
    super();
    this.values = new Array(work.length);
    for (let index = 0; index < work.length; index++) {
      this.children.add(index, takeWork(work[index]!, what)); // index < length
    }
    if (work.length === 0) this.outcome = { value: [] };
  }

  protected override onValue(index: number, value: unknown): void {
    this.values[index] = value;
    if (this.children.size === 0) this.outcome = { value: this.values };
  }
}

/** The values of a tuple of work, in its order. */
export type Outputs<W extends readonly unknown[]> = { -readonly [K in keyof W]: Output<W[K]> };

/**
 * Runs all of `work` concurrently in the current task, and returns all values in the given order. `work` is
 * several pieces of work, or one iterable of work, as for `Promise.all`. If one fails, cancels the others, waits for
 * their cleanup, and throws that first error. Throws TypeError when something in it is not work.
 *
 * Dropping the join drops all of `work`, so it is cancel safe if all of `work` is.
 *
 * @example
 * const [page, user] = yield* join(loadPage(), loadUser());
 * const pages = yield* join(urls.map((url) => load(url)));
 */
export function join<const W extends readonly IntoFuture<unknown>[]>(work: W): Future<Outputs<W>>;
export function join<const W extends readonly IntoFuture<unknown>[]>(
  ...work: W
): Future<Outputs<W>>;
export function join<W extends IntoFuture<unknown>>(work: Iterable<W>): Future<Output<W>[]>;
export function join(...work: unknown[]): Future<unknown[]> {
  return new JoinAll(workList(work), "join: work");
}

/**
 * Like `join`, for an iterable of work only, which may also be a generator that yields work. A wake polls only the
 * woken future, so 10,000 pieces of work stay cheap. Throws TypeError when `work` is not iterable, is a single
 * future, or contains something that is not work.
 *
 * Dropping the join drops all of `work`, so it is cancel safe if all of `work` is.
 *
 * @example
 * const pages = yield* joinAll(urls.map((url) => load(url)));
 */
export function joinAll<W extends IntoFuture<unknown>>(work: Iterable<W>): Future<Output<W>[]> {
  checkIterable(work, "joinAll: work");
  return new JoinAll(Array.isArray(work) ? work : [...work], "joinAll: work") as unknown as Future<
    Output<W>[]
  >;
}
