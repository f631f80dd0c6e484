// Future: the contract. A lazy computation that its owner polls, and may drop.
// Coroutines are in coroutine.ts; what else counts as work is in into-future.ts.

import { adoption } from "./adoption.ts";
import { type Context, current, currentContext } from "./context.ts";
import { Pending, type Poll } from "./poll.ts";

/**
 * This language's async block: a generator that yields `Pending` while it waits. `yield* future` in
 * it is what `future.await` is in Rust. It is used once: one that has ended, or was cancelled, gives
 * `undefined`, as JavaScript has it. To try again, call the `function*` again, or pass that.
 *
 * The yielded type is `symbol`, not `Pending`: that is what TypeScript widens it to in a `function*`
 * without annotations.
 */
export type Coroutine<T> = Generator<symbol, T, void>;

/**
 * The one object that every suspension returns through `yield*`; and the one of every completion. `yield*`
 * reads its value at once, and no code of anyone's runs before: there and back over a channel took a fifth
 * longer with an object for each. It keeps the last value alive until the next.
 */
export const SUSPENDED: IteratorYieldResult<symbol> = { done: false, value: Pending };
export const COMPLETED: { done: true; value: unknown } = { done: true, value: undefined };

/**
 * What unwind.ts has to say to `return()`: while it looks for the chain of generators, the future
 * tells `by` of itself, and is not dropped; `cancelled` has been dropped already.
 */
export const probe: {
  by: { note(found: object): IteratorYieldResult<symbol> } | null;
  cancelled: object | null;
} = { by: null, cancelled: null };

/** In debug mode, who is told of each future that is made. */
export const made: { hook: ((future: Future<unknown>) => void) | null } = { hook: null };

/**
 * A value that will be there later. Nothing happens before the first poll; after it completed, or
 * threw, it must not be polled again.
 *
 * To write one, extend this and implement `poll`; and `drop`, if it holds anything.
 *
 * @example
 * const answer = runtime.blockOn(function* () {
 *   yield* sleep(10);
 *   return 42;
 * });
 */
export abstract class Future<T> implements Disposable, PromiseLike<T> {
  /** Set by the first `then`: a future is performed once, and all who await it get its promise. */
  declare private adopted?: Promise<T>;

  /** @internal Whether it has been awaited by promise. */
  get isAdopted(): boolean {
    return this.adopted !== undefined;
  }

  constructor() {
    made.hook?.(this);
  }

  /** Whether it performs work that it was given: code that sees the AsyncLocalStorage of its `await`. */
  get runsWork(): boolean {
    return false;
  }

  /**
   * Goes on as far as it can. Returns the value, or `Pending` after having kept `cx.waker` (a clone)
   * where the event it waits for will find it. Only the waker of the latest poll needs to be called.
   * Throws what the future fails with.
   */
  abstract poll(cx: Context): Poll<T>;

  /**
   * Ends a future that has not finished: releases what it holds, now. Idempotent; does nothing after
   * completion.
   */
  drop(): void {}

  /**
   * What an owner that can wait drives to end this future: `Pending` while its cleanup is suspended.
   * For a leaf future it is `drop`.
   */
  pollCancel(_cx: Context): Poll<void> {
    this.drop();
  }

  /**
   * Takes back the value of a completed future that could not be passed on: its awaiter was cancelled
   * meanwhile. One whose value is a resource made for its awaiter alone (a lock's guard, a connection)
   * releases it.
   */
  reclaim(_value: T): void {}

  /** Drops the future; cleanup that suspends is handed to the runtime, which drives it to its end. */
  [Symbol.dispose](): void {
    this.drop();
  }

  /**
   * What `await future` calls: performs the future for the async function that awaits it, and drops it
   * when that is cancelled. May be called many times. Promises/A+.
   */
  // biome-ignore lint/suspicious/noThenProperty: a future is a thenable, so that it can be awaited
  then<A = T, B = never>(
    onFulfilled?: ((value: T) => A | PromiseLike<A>) | null,
    // biome-ignore lint/suspicious/noExplicitAny: as PromiseLike has it
    onRejected?: ((reason: any) => B | PromiseLike<B>) | null,
  ): Promise<A | B> {
    this.adopted ??= adoption.by!.toPromise(this) as Promise<T>; // set by runtime/
    return this.adopted.then(onFulfilled, onRejected);
  }

  /** The future that one awaiter polls: itself, unless it may be awaited many times (JoinHandle). */
  [Symbol.iterator](): Future<T> {
    return this;
  }

  /** A poll, in the iterator protocol: what `yield*` calls. What it returns is used again by the next. */
  next(): IteratorResult<symbol, T> {
    const value = this.poll(current.context ?? currentContext());
    if (value === Pending) return SUSPENDED;
    COMPLETED.value = value;
    return COMPLETED as IteratorReturnResult<T>;
  }

  /**
   * A drop, in the iterator protocol. The parameter is for TypeScript alone: without it, `yield*` has
   * the type `unknown`.
   */
  return(_value: T): IteratorResult<symbol, T> {
    if (probe.by !== null) return probe.by.note(this);
    if (probe.cancelled !== this) this.drop();
    // A `yield*` that is being returned from ignores the value: there is none.
    return { done: true, value: undefined as T };
  }

  /** An error thrown at the `yield*` that waits for this: the future is dropped. */
  throw(error: unknown): IteratorResult<symbol, T> {
    this.drop();
    throw error;
  }
}

/** The error of a poll after completion: a bug in the future's owner. */
export function polledAfterEnd(what: string): Error {
  return new Error(
    `${what} was polled after it had completed or been dropped; a future is used once. To await it many times, spawn it, and await the handle`,
  );
}

/** What awaiting an aborted task throws. */
export class AbortError extends Error {
  override readonly name = "AbortError";
  readonly code = "ABORT_ERR";
}
