// intoFuture: what counts as work, and how work becomes a future.

import { invalidType } from "../base/check.ts";
import { withCode } from "../base/coded-error.ts";
import { describe } from "../base/describe.ts";
import { isThenable } from "../base/thenable.ts";
import type { Context } from "./context.ts";
import { CoroutineFuture } from "./coroutine.ts";
import { current } from "./current.ts";
import { type Coroutine, Future, polledAfterEnd } from "./future.ts";
import { isGenerator } from "./generator.ts";
import { host } from "./host.ts";
import { BOUND_BY_USING } from "./leaf.ts";
import type { Poll } from "./poll.ts";

/**
 * Work: a future, a coroutine, a promise, or a function that returns one, such as a `function*` or an `async`
 * function. Every parameter named `work` accepts it. The work behind a promise is already running, and dropping its
 * future does not stop it. A rejection of a promise that was given as work counts as handled. An `async` function can
 * be cancelled: the future that it awaits ends, and its `await` throws.
 */
export type IntoFuture<T> =
  | Future<T>
  | Coroutine<T>
  | PromiseLike<T>
  | (() => Coroutine<T> | Future<T> | PromiseLike<T>);

/** The type of the value that a piece of work produces. */
export type Output<W> = W extends () => infer R
  ? Output<R>
  : W extends Future<infer T>
    ? T
    : W extends Generator<unknown, infer T, never>
      ? T
      : W extends PromiseLike<infer T>
        ? T
        : never;

/** The mark of a generator that was given as work. (A WeakSet instead costs 50 ns per generator; this costs 6.) */
const TAKEN: unique symbol = Symbol("guillotine.TAKEN");

const GeneratorFunctionPrototype: object = Object.getPrototypeOf(function* () {});

/** The `start` of a LazyFuture that was dropped. */
const DROPPED = (): void => {};

/** Runs a work function that is not a `function*`. The first poll calls it, in the context of that poll. */
class LazyFuture<T> extends Future<T> {
  /** null once it was called; DROPPED once this was dropped. */
  private start: (() => unknown) | null;
  private inner: Future<T> | null = null;

  constructor(start: () => unknown) {
    super();
    this.start = start;
  }

  override get runsUserCode(): boolean {
    return true;
  }

  override get showsStack(): boolean {
    return this.inner?.showsStack ?? false; // it must not begin now
  }

  override poll(cx: Context): Poll<T> {
    if (this.inner === null) {
      const start = this.start;
      if (start === null || start === DROPPED) throw polledAfterEnd("a work function");
      this.start = null;
      const previous = current.context;
      current.context = cx;
      try {
        const value = host.callWork(start);
        const inner = fromValue(value, "what the work function returned") as Future<T>;
        if (inner === value) takeFuture(inner);
        this.inner = inner;
        if ((this.start as unknown) === DROPPED) {
          // The work function has dropped this future: nobody else knows what it returned.
          inner.drop();
          throw polledAfterEnd("a work function");
        }
      } finally {
        current.context = previous;
      }
    }
    return this.inner.poll(cx);
  }

  override pollCancel(cx: Context): Poll<void> {
    this.start = DROPPED;
    return this.inner?.pollCancel(cx);
  }

  override drop(): void {
    this.start = DROPPED;
    this.inner?.drop();
  }

  override reclaim(value: T): void {
    this.inner?.reclaim(value);
  }
}

/**
 * Returns the future of `work`. A function is not called before the first poll. Throws TypeError when `work`
 * is not work, and `ERR_COROUTINE_TAKEN` when it is a generator that was given as work before. The first poll throws
 * them when the function returns such a value.
 *
 * @example
 * const page = intoFuture(async () => load("a page")); // nothing is loaded yet
 * console.log(yield* page);
 */
export function intoFuture<T>(work: IntoFuture<T>): Future<T> {
  return toFuture(work, "intoFuture: work");
}

/** Does what `intoFuture` does. `what` names the argument in errors. */
export function toFuture<T>(work: IntoFuture<T>, what: string): Future<T> {
  const generator = takeGenerator(work);
  return generator === null ? fromOther(work, what) : new CoroutineFuture(generator);
}

/** Returns the future of work that is no coroutine. */
function fromOther<T>(work: IntoFuture<T>, what: string): Future<T> {
  return typeof work === "function"
    ? new LazyFuture<T>(work)
    : (fromValue(work, what) as Future<T>);
}

/**
 * Returns the generator of `work`, marked as given; null if it is other work. Throws TypeError `ERR_COROUTINE_TAKEN` if
 * it was given before.
 */
function takeGenerator<T>(work: IntoFuture<T>): Coroutine<T> | null {
  if (typeof work !== "function") return isGenerator(work) ? (take(work) as Coroutine<T>) : null;
  // Calling a `function*` runs none of its code.
  const isCoroutine = Object.getPrototypeOf(work) === GeneratorFunctionPrototype;
  return isCoroutine ? (work() as Coroutine<T>) : null;
}

/**
 * Like `intoFuture`, for an owner that polls the future until it ends. Throws TypeError `ERR_FUTURE_TAKEN` if `work` is
 * a future with an owner: two owners would take each other's wakes, and one of them would wait indefinitely. `what` names
 * the argument in errors.
 */
export function takeWork<T>(work: IntoFuture<T>, what: string): Future<T> {
  const taken = takeTaskWork(work, what);
  return taken instanceof Future ? taken : new CoroutineFuture(taken);
}

/** Like `takeWork`, for the function `name`, whose purpose is to cancel its work: debug mode warns of a promise. */
export function takeCancellable<T>(work: IntoFuture<T>, name: string): Future<T> {
  const future = takeWork(work, `${name}: work`);
  warnOfPromise(work, name);
  return future;
}

/** In debug mode, warns that the function `name` was given a promise, whose work it cannot cancel. */
export function warnOfPromise(work: IntoFuture<unknown>, name: string): void {
  if (host.onPromiseGiven !== null && isThenable(work) && !(work instanceof Future))
    host.onPromiseGiven(name);
}

/** Like `takeWork`, for a task, which resumes a coroutine itself. */
export function takeTaskWork<T>(work: IntoFuture<T>, what: string): Future<T> | Coroutine<T> {
  const generator = takeGenerator(work);
  if (generator !== null) return generator;
  const future = fromOther(work, what);
  if (future === work) takeFuture(future); // what `fromOther` has just created has no other owner
  return future;
}

/** The `adopted` of a future that an owner polls. */
const TAKEN_BY_OWNER: { promise(): Promise<unknown> } = {
  promise: () => Promise.reject(futureTaken("this future")),
};

function takeFuture(future: Future<unknown>): void {
  const { adopted } = future;
  if (adopted !== null && adopted !== BOUND_BY_USING) throw futureTaken(future.inspectLine());
  future.adopted = TAKEN_BY_OWNER;
}

function futureTaken(what: string): TypeError {
  return withCode(
    new TypeError(
      `${what} was given as work or awaited before, and a future runs once: create another one, or spawn it and give the handle, which any number of owners may await`,
    ),
    "ERR_FUTURE_TAKEN",
  );
}

function fromValue(value: unknown, what: string): Future<unknown> {
  if (value instanceof Future) return value[Symbol.iterator]();
  if (isGenerator(value)) return new CoroutineFuture(take(value));
  if (isThenable(value)) return host.futureOf(value) as Future<unknown>;
  const hint = Array.isArray(value)
    ? ": to run an array of work, use join(work) or race(work)"
    : "";
  throw invalidType(
    `${what} must be a future, a coroutine, a promise, or a function that returns one (function* () { ... }); got ${describe(value)}${hint}`,
  );
}

/** Marks a generator as given, because it runs once. Throws TypeError if it was given before. */
function take(generator: Coroutine<unknown> & { [TAKEN]?: true }): Coroutine<unknown> {
  if (generator[TAKEN] === true) {
    throw withCode(
      new TypeError(
        "this coroutine was given as work before, and a coroutine runs once: pass the `function*` itself, call it again for another coroutine, or spawn it and await the handle",
      ),
      "ERR_COROUTINE_TAKEN",
    );
  }
  generator[TAKEN] = true;
  return generator;
}
