// What counts as work, and how it becomes a future.

import { describe } from "../base/describe.ts";
import { adoption, isThenable } from "./adoption.ts";
import { type Context, current } from "./context.ts";
import { CoroutineFuture } from "./coroutine.ts";
import { type Coroutine, Future, polledAfterEnd } from "./future.ts";
import { isGenerator } from "./generator.ts";
import type { Poll } from "./poll.ts";

/**
 * A future, a coroutine, a promise, or a function that returns one: a `function*`, an `async`
 * function. Everything that takes work takes this. A promise is under way already, and goes on when its
 * future is dropped; of an `async` function that is given itself, the work ends.
 */
export type IntoFuture<T> =
  | Future<T>
  | Coroutine<T>
  | PromiseLike<T>
  | (() => Coroutine<T>)
  | (() => Future<T>)
  | (() => PromiseLike<T>);

/** What a piece of work gives. */
export type Output<W> = W extends () => infer R ? Result<R> : Result<W>;
type Result<W> =
  W extends Future<infer T>
    ? T
    : W extends Generator<unknown, infer T, never>
      ? T
      : W extends PromiseLike<infer T>
        ? T
        : never;

const GeneratorFunctionPrototype: object = Object.getPrototypeOf(function* () {});

/** A function, but a `function*`, as work: it is called by the first poll, in the context of that poll. */
class LazyFuture<T> extends Future<T> {
  #start: (() => unknown) | null;
  #inner: Future<T> | null = null;

  constructor(start: () => unknown) {
    super();
    this.#start = start;
  }

  override get runsWork(): boolean {
    return true;
  }

  override poll(cx: Context): Poll<T> {
    if (this.#inner === null) {
      const start = this.#start;
      if (start === null) throw polledAfterEnd("a work function");
      this.#start = null;
      const previous = current.context;
      current.context = cx;
      try {
        // It may be, or call, an async function.
        const value = adoption.by === null ? start() : adoption.by.call(start);
        this.#inner = fromValue(value, "what the work function returned") as Future<T>;
      } finally {
        current.context = previous;
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

  override reclaim(value: T): void {
    this.#inner?.reclaim(value);
  }
}

/**
 * The future of `work`. A function is not called before the first poll.
 * Throws TypeError for what is no work.
 *
 * @example
 * const page = intoFuture(async () => load("a page")); // nothing is loaded yet
 * console.log(yield* page);
 */
export function intoFuture<T>(work: IntoFuture<T>): Future<T> {
  if (typeof work !== "function") return fromValue(work, "work") as Future<T>;
  // To call a `function*` runs nothing of it.
  const isCoroutine = Object.getPrototypeOf(work) === GeneratorFunctionPrototype;
  return isCoroutine ? new CoroutineFuture(work() as Coroutine<T>) : new LazyFuture<T>(work);
}

function fromValue(value: unknown, what: string): Future<unknown> {
  if (value instanceof Future) return value[Symbol.iterator]();
  if (isGenerator(value)) return new CoroutineFuture(value);
  if (isThenable(value) && adoption.by !== null) return adoption.by.ofPromise(value);
  // Promise.all takes an array: who comes from there passes one.
  const hint = Array.isArray(value) ? ": spread it (race(...work)), or use joinAll(work)" : "";
  throw new TypeError(
    `${what} must be a future, a coroutine, a promise, or a function that returns one (function* () { ... }); got ${describe(value)}${hint}`,
  );
}
