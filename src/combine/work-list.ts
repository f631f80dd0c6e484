// What join and race accept: several pieces of work, or one iterable of work.

import { invalidType } from "../base/check.ts";
import { describe } from "../base/describe.ts";
import { isThenable } from "../base/thenable.ts";
import { Future } from "../core/future.ts";
import { isGenerator } from "../core/generator.ts";
import type { IntoFuture } from "../core/into-future.ts";

/**
 * Returns the list of work that the arguments of a combinator stand for. A single argument that is iterable is the
 * list, unless it is work itself: futures and coroutines are iterable, because `yield*` iterates them.
 */
export function workList(args: readonly unknown[]): readonly IntoFuture<unknown>[] {
  const [only] = args;
  const isList = args.length === 1 && isIterable(only) && !isWork(only);
  return (isList ? [...only] : args) as readonly IntoFuture<unknown>[];
}

function isIterable(value: unknown): value is Iterable<unknown> {
  return (
    typeof value === "object" &&
    value !== null &&
    typeof (value as Partial<Iterable<unknown>>)[Symbol.iterator] === "function"
  );
}

/** Returns true for an object that is one piece of work. */
export function isWork(value: unknown): boolean {
  return value instanceof Future || isGenerator(value) || isThenable(value);
}

/** Throws TypeError unless `items` is iterable and not a single future. `what` names the argument. */
export function checkIterable(items: unknown, what: string): asserts items is Iterable<unknown> {
  if (items instanceof Future || typeof Object(items)[Symbol.iterator] !== "function") {
    throw invalidType(
      `${what} must be an iterable of work, such as an array of futures; got ${describe(items)}`,
    );
  }
}
