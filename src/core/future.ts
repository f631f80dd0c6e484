// Future: the contract. A lazy computation that its owner polls and may drop.
// Leaf futures are in leaf.ts, coroutines in coroutine.ts; what else counts as work is in into-future.ts.

import type { Context, Pollable } from "./context.ts";
import { current, currentContext } from "./current.ts";
import { host } from "./host.ts";
import { Pending, type Poll } from "./poll.ts";

/**
 * This language's async block: a generator that yields `Pending` while it waits. Inside it, `yield* future`
 * is what `future.await` is in Rust. A coroutine runs once. One that has ended or was cancelled returns
 * `undefined`, per JavaScript's rules for generators. To run the work again, call the `function*` again, or
 * pass the `function*` itself.
 *
 * The yielded type is `symbol`, not `Pending`, because TypeScript widens it to that in a `function*` without
 * annotations.
 */
export type Coroutine<T> = Generator<symbol, T, void>;

/**
 * The one object that every suspension returns through `yield*`, and the one of every completion. `yield*`
 * reads the value at once, before any other code can run. With an object per completion, a round trip over
 * a channel took a fifth longer. The last value stays alive until the next completion.
 */
export const SUSPENDED: IteratorYieldResult<symbol> = { done: false, value: Pending };
export const COMPLETED: { done: true; value: unknown } = { done: true, value: undefined };

/**
 * How unwind.ts talks to `Future.return()`. While it probes for the chain of generators, a future notes
 * itself in `by` and is not dropped. `cancelled` is a future that is already dropped.
 */
export const unwindProbe: {
  by: { note(found: object): IteratorYieldResult<symbol> } | null;
  cancelled: object | null;
} = { by: null, cancelled: null };

/**
 * A value that will exist later. Nothing happens before the first poll. After a future completed or threw
 * it must not be polled again.
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
export abstract class Future<T> implements Disposable, PromiseLike<T>, Pollable<T> {
  /** @internal Set by the first `then`: a future runs once, so all who await it share one outcome. */
  adopted: { promise(): Promise<unknown> } | null = null;

  constructor() {
    host.onFutureCreated?.(this);
  }

  /** True when polling this future runs code of the user, which must see the AsyncLocalStorage of its `await`. */
  get runsUserCode(): boolean {
    return false;
  }

  /**
   * Makes as much progress as possible. Returns the value; or `Pending`, after storing a clone of `cx.waker`
   * where the awaited event finds it. Only the waker of the latest poll needs to be called. Throws what the
   * future fails with.
   */
  abstract poll(cx: Context): Poll<T>;

  /** Ends an unfinished future and releases what it holds, now. Idempotent; does nothing after completion. */
  drop(): void {}

  /**
   * Cancels the future: an owner that can wait polls this instead of calling `drop`. Returns `Pending` while
   * cleanup is suspended. For a leaf future it is `drop`.
   */
  pollCancel(_cx: Context): Poll<void> {
    this.drop();
  }

  /**
   * Receives the value of this completed future back when nobody could receive it, because the awaiter was
   * cancelled meanwhile. A future whose value belongs to its awaiter alone (a lock's guard, a connection)
   * releases it here.
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
   * The future belongs to the async function whose code calls `then` first, if that function was given as work.
   * When the function is cancelled while it waits, the future is cancelled as well, and the promise rejects with
   * an AbortError once the cleanup is done. After the function has ended, the future continues without an owner.
   * Other code has no owner: the runtime that holds the thread runs the future, or the ambient runtime.
   */
  // biome-ignore lint/suspicious/noThenProperty: a future is a thenable, so that it can be awaited
  then<A = T, B = never>(
    onFulfilled?: ((value: T) => A | PromiseLike<A>) | null,
    // biome-ignore lint/suspicious/noExplicitAny: PromiseLike declares it so
    onRejected?: ((reason: any) => B | PromiseLike<B>) | null,
  ): Promise<A | B> {
    return host.awaitFuture(this, onFulfilled, onRejected) as Promise<A | B>;
  }

  /** Returns the future that one awaiter polls: itself, unless it may be awaited many times (JoinHandle). */
  [Symbol.iterator](): Future<T> {
    return this;
  }

  /** Polls, in the iterator protocol: `yield*` calls this. The next call reuses the object it returns. */
  next(): IteratorResult<symbol, T> {
    const value = this.poll(current.context ?? currentContext());
    if (value === Pending) return SUSPENDED;
    COMPLETED.value = value;
    return COMPLETED as IteratorReturnResult<T>;
  }

  /**
   * Drops, in the iterator protocol. Only TypeScript needs the parameter: without it, `yield*` has the type
   * `unknown`.
   */
  return(_value: T): IteratorResult<symbol, T> {
    if (unwindProbe.by !== null) return unwindProbe.by.note(this);
    if (unwindProbe.cancelled !== this) this.drop();
    // A `yield*` that is being returned from ignores the value; there is none.
    return { done: true, value: undefined as T };
  }

  /** Drops the future because of an error thrown at the `yield*` that waits for it. */
  throw(error: unknown): IteratorResult<symbol, T> {
    this.drop();
    throw error;
  }
}

/** The error of a poll after the end: a bug in the future's owner. */
export function polledAfterEnd(what: string): Error {
  return new Error(
    `${what} was polled after it had completed or been dropped; a future runs once. To await it many times, spawn it and await the handle`,
  );
}

/**
 * The error of work that was cancelled: awaiting an aborted task throws it, and so does each await that an async
 * function has pending when it is cancelled. In an async function the message names the function, and `cause` is
 * the error of the canceller, such as a TimeoutError, if there is one.
 */
export class AbortError extends Error {
  override readonly name = "AbortError";
  readonly code = "ABORT_ERR";
}
