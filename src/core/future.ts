// Future: the contract. A lazy computation that its owner polls and may drop.
// leaf.ts has the leaf futures, coroutine.ts the coroutines. into-future.ts defines what else counts as work.

import { codedError } from "../base/coded-error.ts";
import { inspectable } from "../base/inspect.ts";
import { type Context, stackProbe, type TaskRef } from "./context.ts";
import { current, currentContext } from "./current.ts";
import { host, missing } from "./host.ts";
import { Pending, type Poll } from "./poll.ts";

/**
 * A generator that yields `Pending` while it waits: the counterpart of Rust's `async` block. Inside it,
 * `yield* future` is what `future.await` is in Rust. A coroutine runs once. `yield*` of a coroutine that has
 * ended or was cancelled returns `undefined`, per JavaScript's rules for generators. To run the work again,
 * call the `function*` again, or pass the `function*` itself.
 *
 * The yielded type is `symbol`, not `Pending`, because TypeScript widens `Pending` to `symbol` in a `function*`
 * without annotations.
 */
export interface Coroutine<T> extends Generator<symbol, T, void> {
  /**
   * Never present: it makes mistakes visible before the program runs. `await coroutine()` would return the generator
   * without running it, so TypeScript refuses it: an object with a `then` that cannot be called is not awaitable. A
   * linter that knows thenables reports a call without its `yield*`.
   */
  readonly then?: (
    this: never,
    onFulfilled: (value: T) => void,
    onRejected: (reason: unknown) => void,
  ) => never;
}

/**
 * The results that `next()` returns: one shared object for all suspensions, one for all completions. Sharing is
 * safe because `yield*` reads the value before any other code can run. With an object per completion, a round
 * trip over a channel took a fifth longer. The last value stays alive until the next completion.
 */
export const SUSPENDED: IteratorYieldResult<symbol> = { done: false, value: Pending };
export const COMPLETED: { done: true; value: unknown } = { done: true, value: undefined };

/**
 * How unwind.ts changes what `Future.return()` does.
 */
export const unwindProbe: {
  /** Set while unwind.ts probes for the chain of generators: `return()` reports to it and does not drop. */
  prober: { onFound(found: object): IteratorYieldResult<symbol> } | null;
  /** The future that unwind.ts has already cancelled: `return()` does not drop it again. */
  cancelled: object | null;
} = { prober: null, cancelled: null };

/**
 * A lazy computation: nothing happens before the first poll. A future runs once. A poll after it completed, threw
 * or was dropped throws Error.
 *
 * To write a leaf future, extend `Leaf`. To write one that polls other futures, extend this class, implement
 * `poll`, and `drop` if it holds anything.
 *
 * @example
 * const answer = runtime.blockOn(function* () {
 *   yield* sleep(10);
 *   return 42;
 * });
 */
export abstract class Future<T> implements Disposable, PromiseLike<T> {
  static {
    inspectable<Future<unknown>>(Future, (future) => future.inspectLine());
  }

  /** @internal Set by the first `then`: a future runs once, so all awaiters share one outcome. */
  declare adopted: { promise(): Promise<unknown> } | null;

  constructor() {
    this.adopted = null; // not by an initializer, which is one more call, too deep for the JIT to inline
    host.onFutureCreated?.(this);
  }

  /** @internal True when each `yield*` and `await` polls a future of its own, and this one is only a handle. */
  get isHandle(): boolean {
    return false;
  }

  /** True when polling this future runs user code, which must see the AsyncLocalStorage context of its `await`. */
  get runsUserCode(): boolean {
    return false;
  }

  /** @internal In debug mode, called some time after the task `_task` has created or reused this future. */
  noteUser(_task: TaskRef): void {}

  /** @internal True when polling it without coop budget only resumes code that awaits: `stackProbe` looks into it. */
  get showsStack(): boolean {
    return false;
  }

  /**
   * Makes as much progress as possible. Returns the value; or `Pending`, after storing a clone of `cx.waker`
   * where the awaited event finds it. The event needs to wake only the waker of the latest poll. Throws the error
   * that the future fails with.
   */
  abstract poll(cx: Context): Poll<T>;

  /** Ends an unfinished future and releases what it holds, now. Idempotent; does nothing after completion. */
  drop(): void {}

  /**
   * Cancels the future and waits for its cleanup: an owner that can wait polls this instead of calling `drop`.
   * Returns `Pending` while the cleanup is suspended. The default calls `drop`, which is right for a leaf.
   */
  pollCancel(_cx: Context): Poll<void> {
    this.drop();
  }

  /**
   * Called with the value of this completed future when that value never reached its awaiter, because the
   * awaiter was cancelled. A future whose value belongs to its awaiter alone (a lock's guard, a connection)
   * releases the value here.
   */
  reclaim(_value: T): void {}

  /** Drops the future. Cleanup that suspends continues as a task of the runtime. */
  [Symbol.dispose](): void {
    this.drop();
  }

  /**
   * Runs the future and passes on its outcome: `await future` calls this. The first call starts the future; all calls
   * share the outcome. See Promises/A+.
   *
   * The future belongs to the async function that calls `then` first, if that function was given as work.
   * When the function is cancelled while it waits, the future is cancelled as well, and the promise rejects with
   * an AbortError once the cleanup is done. After the function has ended, the future continues without an owner.
   * A future that other code awaits has no owner: the runtime that holds the thread runs it, or else the ambient one.
   */
  // biome-ignore lint/suspicious/noThenProperty: a future is a thenable, so that it can be awaited
  then<A = T, B = never>(
    // biome-ignore lint/correctness/noUnusedFunctionParameters: for the declaration
    onFulfilled?: ((value: T) => A | PromiseLike<A>) | null,
    // biome-ignore lint/correctness/noUnusedFunctionParameters: for the declaration
    // biome-ignore lint/suspicious/noExplicitAny: PromiseLike declares it so
    onRejected?: ((reason: any) => B | PromiseLike<B>) | null,
  ): Promise<A | B> {
    return missing(); // runtime/promises/adopt.ts installs the implementation
  }

  /**
   * Runs the future, and calls `onRejected` if it fails. Returns a promise, as `catch` of a promise does.
   *
   * @example
   * const reply = await ask("?").catch(() => "no answer");
   */
  catch<B = never>(
    // biome-ignore lint/suspicious/noExplicitAny: Promise declares it so
    onRejected?: ((reason: any) => B | PromiseLike<B>) | null,
  ): Promise<T | B> {
    return this.then(undefined, onRejected);
  }

  /**
   * Runs the future, and calls `onFinally` when it has ended. Returns a promise of its outcome, as `finally` of a
   * promise does.
   */
  finally(onFinally?: (() => void) | null): Promise<T> {
    return this.then().finally(onFinally);
  }

  /** @internal How `console.log` shows the future. A leaf says what it waits for: `Future (sleep of 10 ms)`. */
  inspectLine(): string {
    return `Future (${this.constructor.name})`;
  }

  /** Returns the future that one awaiter polls: this future. A JoinHandle returns a new one for each awaiter. */
  [Symbol.iterator](): Future<T> {
    return this;
  }

  /**
   * Polls once, for `yield*`. All futures return the same two objects, so read the result at once. Throws the
   * error of `poll`, and Error where no runtime is polling.
   *
   * A future that ends without having charged an operation to the coop budget is charged one here, so that a loop
   * over work that is ready at once cannot starve other tasks. Await (runtime/promises) does the same for `await`.
   */
  next(): IteratorResult<symbol, T> {
    const cx = current.context ?? currentContext();
    const { runtime } = cx;
    const { budget } = runtime;
    if (cx.isExhausted() && (stackProbe.onSuspend === null || !this.showsStack)) return SUSPENDED;
    let value: Poll<T>;
    try {
      value = this.poll(cx);
    } catch (error) {
      if (runtime.budget === budget) cx.charge(); // a loop may catch the error
      throw error;
    }
    if (value === Pending) return SUSPENDED;
    if (runtime.budget === budget) cx.charge();
    COMPLETED.value = value;
    return COMPLETED as IteratorReturnResult<T>;
  }

  /**
   * Drops the future: `yield*` calls this when its generator is returned from. The parameter is unused; without
   * it, TypeScript types `yield*` as `unknown`.
   */
  return(_value: T): IteratorResult<symbol, T> {
    if (unwindProbe.prober !== null) return unwindProbe.prober.onFound(this);
    if (unwindProbe.cancelled !== this) this.drop();
    // There is no value; a `yield*` that is being returned from ignores it.
    return { done: true, value: undefined as T };
  }

  /** Drops the future and rethrows: `yield*` calls this when an error is thrown into its generator. */
  throw(error: unknown): IteratorResult<symbol, T> {
    this.drop();
    throw error;
  }
}

/** The prototypes with a `then` of their own. */
const hoisted: Future<unknown>[] = [Future.prototype];

/**
 * Gives `prototype` a `then` of its own. The engine looks `then` up at each `await`, without a cache: each prototype that
 * it passes on the way takes it 25 instructions. For the leaves that loops await.
 */
export function hoistThen(prototype: Future<unknown>): void {
  hoisted.push(prototype);
  defineThen(prototype, Future.prototype.then);
}

/** Makes `then` the `then` of all futures. (A `then` that called it would take another 40 instructions per `await`.) */
export function installThen(then: Future<unknown>["then"]): void {
  for (const prototype of hoisted) defineThen(prototype, then);
}

function defineThen(prototype: Future<unknown>, then: Future<unknown>["then"]): void {
  // biome-ignore lint/suspicious/noThenProperty: a future is a thenable
  Object.defineProperty(prototype, "then", { configurable: true, writable: true, value: then });
}

/** Returns the error of a poll after the future's end, which is a bug of the future's owner. */
export function polledAfterEnd(what: string): Error {
  return codedError(
    "ERR_POLLED_AFTER_END",
    `${what} was polled after it had completed or been dropped; a future runs once. To await it many times, spawn it and await the handle`,
  );
}

/**
 * The error of work that was cancelled. Awaiting a task that was aborted without a reason throws it. So does each
 * await that an async function has pending when it is cancelled. In an async function the message names the function,
 * and `cause` is the error of the canceller, such as a TimeoutError, if there is one.
 */
export class AbortError extends Error {
  override readonly name = "AbortError";
  readonly code = "ABORT_ERR";
}

/**
 * Returns true for an error with which cancelled work ends: an AbortError of this library, of the web, or of Node; or
 * several of them in one error, as `Promise.any` and `await using` throw them.
 */
export function isAbortError(error: unknown): boolean {
  if (error instanceof SuppressedError)
    return isAbortError(error.error) && isAbortError(error.suppressed);
  if (error instanceof AggregateError)
    return error.errors.length > 0 && error.errors.every(isAbortError);
  return error instanceof Error && error.name === "AbortError";
}
