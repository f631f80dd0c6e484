// allSettled: runs futures concurrently, and waits for the outcome of each.

import type { Future } from "../core/future.ts";
import { type IntoFuture, type Output, takeWork } from "../core/into-future.ts";
import { Combinator } from "./combinator.ts";
import { workList } from "./work-list.ts";

type Settled = PromiseSettledResult<unknown>;

class AllSettled extends Combinator<number, Settled[]> {
  private readonly results: Settled[];

  constructor(work: readonly IntoFuture<unknown>[]) {
    super();
    this.results = new Array(work.length);
    for (const [index, one] of work.entries())
      this.children.add(index, takeWork(one, "allSettled: work"));
    if (work.length === 0) this.outcome = { value: [] };
  }

  protected override onValue(index: number, value: unknown): void {
    this.settle(index, { status: "fulfilled", value });
  }

  override onChildError(index: number, reason: unknown): void {
    this.settle(index, { status: "rejected", reason });
  }

  private settle(index: number, result: Settled): void {
    this.results[index] = result;
    if (this.children.size === 0) this.outcome = { value: this.results };
  }
}

/**
 * Runs all of `work` concurrently in the current task, and returns the outcome of each in the given order, as
 * `Promise.allSettled` does: `{ status: "fulfilled", value }` or `{ status: "rejected", reason }`. `work` is several
 * pieces of work, or one iterable of work. Never throws a failure of the work. Throws TypeError at once when
 * something in `work` is not work.
 *
 * Dropping the future drops all of `work`, so it is cancel safe if all of `work` is.
 *
 * @example
 * for (const result of yield* allSettled(loadPage(), loadUser())) {
 *   if (result.status === "rejected") console.log(result.reason);
 * }
 */
export function allSettled<const W extends readonly IntoFuture<unknown>[]>(
  work: W,
): Future<{ -readonly [K in keyof W]: PromiseSettledResult<Output<W[K]>> }>;
export function allSettled<const W extends readonly IntoFuture<unknown>[]>(
  ...work: W
): Future<{ -readonly [K in keyof W]: PromiseSettledResult<Output<W[K]>> }>;
export function allSettled<W extends IntoFuture<unknown>>(
  work: Iterable<W>,
): Future<PromiseSettledResult<Output<W>>[]>;
export function allSettled(...work: unknown[]): Future<unknown> {
  return new AllSettled(workList(work));
}
