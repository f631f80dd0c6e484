// What counts as work, and how it becomes a future.

import { type Context, swapContext } from "./context.ts";
import { CoroutineFuture, isGenerator } from "./coroutine.ts";
import { describe } from "./describe.ts";
import { type Coroutine, Future, polledAfterEnd } from "./future.ts";
import type { Poll } from "./poll.ts";

/** A future, a coroutine, or a function that returns one. Everything that takes work takes this. */
export type IntoFuture<T> = Future<T> | Coroutine<T> | (() => Coroutine<T>) | (() => Future<T>);

/** A function as work: it is called by the first poll, in the context of that poll. */
class LazyFuture<T> extends Future<T> {
  #start: (() => unknown) | null;
  #inner: Future<T> | null = null;

  constructor(start: () => unknown) {
    super();
    this.#start = start;
  }

  override poll(cx: Context): Poll<T> {
    if (this.#inner === null) {
      const start = this.#start;
      if (start === null) throw polledAfterEnd("a work function");
      this.#start = null;
      const previous = swapContext(cx);
      try {
        this.#inner = fromValue(start(), "what the work function returned") as Future<T>;
      } finally {
        swapContext(previous);
      }
    }
    return this.#inner.poll(cx);
  }

  override pollCancel(cx: Context): Poll<void> {
    this.#start = null;
    return this.#inner?.pollCancel(cx);
  }

  override drop(): void {
    this.#start = null;
    this.#inner?.drop();
  }
}

/**
 * The future of `work`. A function is not called before the first poll.
 * Throws TypeError for what is no work.
 */
export function intoFuture<T>(work: IntoFuture<T>): Future<T> {
  return (typeof work === "function" ? new LazyFuture(work) : fromValue(work, "work")) as Future<T>;
}

function fromValue(value: unknown, what: string): Future<unknown> {
  if (value instanceof Future) return value[Symbol.iterator]();
  if (isGenerator(value)) return new CoroutineFuture(value);
  throw new TypeError(
    `${what} must be a future, a coroutine, or a function that returns one (function* () { ... }); got ${describe(value)}`,
  );
}
