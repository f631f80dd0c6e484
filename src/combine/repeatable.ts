// Work that may run several times: a function, which receives arguments such as an item or the number of an attempt.

import { invalidType } from "../base/check.ts";
import { describe } from "../base/describe.ts";
import type { Coroutine, Future } from "../core/future.ts";
import { intoFuture } from "../core/into-future.ts";

/** A function that returns work each time it is called: a `function*`, an `async` function, or another function. */
export type Repeatable<A extends readonly unknown[], T> = (
  ...args: A
) => Coroutine<T> | Future<T> | PromiseLike<T>;

/** Throws TypeError unless `work` is a function. `what` names the argument. */
export function checkRepeatable(work: unknown, what: string): void {
  if (typeof work === "function") return;
  throw invalidType(
    `${what} must be a function, because it may run several times: pass the \`function*\` or \`async\` function itself; got ${describe(work)}`,
  );
}

/** Returns a future that calls `work` with `args` at its first poll. */
export function repeat<A extends readonly unknown[], T>(
  work: Repeatable<A, T>,
  ...args: A
): Future<T> {
  return intoFuture((() => work(...args)) as () => Future<T>);
}
