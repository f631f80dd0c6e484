// fromPromise: a promise as a future, and one that dropping the future aborts.

import { checkObject, checkString, invalidType } from "../base/check.ts";
import { describe } from "../base/describe.ts";
import { isThenable } from "../base/thenable.ts";
import type { Context } from "../core/context.ts";
import { current, wakeOwner } from "../core/current.ts";
import { Future, isAbortError, polledAfterEnd } from "../core/future.ts";
import { host } from "../core/host.ts";
import { intoFuture } from "../core/into-future.ts";
import { Pending, type Poll } from "../core/poll.ts";
import { cancelReasonOr } from "./abort-signal.ts";

/** The options of {@link fromPromise}. */
export interface FromPromiseOptions {
  /**
   * When the future is cancelled, wait until the promise has settled before the cancellation counts as done. Default
   * false.
   */
  readonly waitForSettled?: boolean;
  /** Names the promise in `runtime.tasks()` and in a TimeoutError: `promise "job 7"`. */
  readonly name?: string;
}

type Start<T> = (signal: AbortSignal) => PromiseLike<T>;

class AbortablePromise<T> extends Future<T> {
  /** null once it was called, after the end, and for a promise that was given. */
  private start: Start<T> | null = null;
  private readonly waitsForSettled: boolean;
  private readonly name: string | undefined;
  private controller: AbortController | null = null;
  /** The wait for the promise; null before the call of `start`, and after the end. */
  private wait: Future<T> | null = null;
  /** The context of the latest poll. Its owner waits for the end. */
  private cx: Context | null = null;

  constructor(source: Start<T> | Promise<T>, waitsForSettled: boolean, name?: string) {
    super();
    if (typeof source === "function") this.start = source;
    else this.wait = host.futureOf(source, name) as Future<T>; // now: it handles a rejection
    this.waitsForSettled = waitsForSettled;
    this.name = name;
  }

  override get runsUserCode(): boolean {
    return true;
  }

  override poll(cx: Context): Poll<T> {
    this.cx = cx;
    let hasEnded = true;
    try {
      this.wait ??= this.begin(cx);
      const value = this.wait.poll(cx);
      hasEnded = value !== Pending;
      return value;
    } finally {
      if (hasEnded) this.end();
    }
  }

  private begin(cx: Context): Future<T> {
    const { start } = this;
    if (start === null) throw polledAfterEnd("a promise");
    this.start = null;
    this.controller = new AbortController();
    const previous = current.context;
    current.context = cx;
    try {
      const promise = start(this.controller.signal);
      if (!isThenable(promise)) throw notPromise("what the function returned", promise);
      return host.futureOf(promise, this.name) as Future<T>;
    } finally {
      current.context = previous;
    }
  }

  override pollCancel(cx: Context): Poll<void> {
    const { wait } = this;
    this.abort();
    if (wait !== null && this.waitsForSettled && this.settle(cx, wait) === Pending) {
      this.cx = cx;
      return Pending;
    }
    wait?.drop();
    this.end();
  }

  override drop(): void {
    const { wait, cx } = this;
    this.abort();
    if (wait === null || cx === null || !this.waitsForSettled) {
      wait?.drop();
      this.end();
      return;
    }
    this.wait = null; // for its owner it has ended
    cx.runtime.finishCleanup((cleanup) => this.settle(cleanup, wait));
    wakeOwner(cx);
  }

  private abort(): void {
    this.start = null;
    const { controller } = this;
    if (controller === null || controller.signal.aborted) return;
    controller.abort(cancelReasonOr("the wait for a promise was cancelled"));
  }

  /** Waits for the aborted promise and ignores its value. */
  private settle(cx: Context, wait: Future<T>): Poll<void> {
    const reason: unknown = this.controller?.signal.reason;
    try {
      if (wait.poll(cx) === Pending) return Pending;
    } catch (error) {
      if (error !== reason && !isAbortError(error)) throw error; // the owner reports it
    }
  }

  private end(): void {
    this.start = this.wait = this.controller = this.cx = null;
  }
}

function notPromise(what: string, value: unknown): TypeError {
  return invalidType(`fromPromise: ${what} must be a promise; got ${describe(value)}`);
}

/**
 * Returns a future of a promise: `yield* fromPromise(promise)` in a coroutine is what `await promise` is in an async
 * function. Awaiting it returns the promise's value or throws its rejection.
 *
 * Pass a function, and the first poll calls it with an AbortSignal. Dropping the future then aborts the signal, with
 * the error of the canceller or an AbortError as the reason, so a `fetch` ends with the work that waits for it. A
 * canceller does not wait for the promise to settle, unless `waitForSettled` is true. Cleanup then takes as long as
 * the promise does, and the runtime reports a rejection that is not an AbortError. (`blockOn` holds the thread, so a
 * promise of Bun's own loop does not settle in it.)
 *
 * Throws TypeError when `promise` is neither a promise, another thenable, nor a function, or an option is bad. Awaiting
 * the future throws TypeError when the function returns no promise, and throws what the function throws.
 *
 * Cancel safe for a promise, which continues: dropping the future only stops waiting. For a function, as safe as the
 * operation that it aborts.
 *
 * @example
 * const page = yield* fromPromise((signal) => fetch("http://127.0.0.1:3000/", { signal }));
 *
 * @example
 * console.log(yield* fromPromise(Promise.resolve("a value"), { name: "the value" }));
 */
export function fromPromise<T>(
  promise: PromiseLike<T> | ((signal: AbortSignal) => PromiseLike<T>),
  options: FromPromiseOptions = {},
): Future<T> {
  checkObject(options, "fromPromise: options");
  const { waitForSettled = false, name } = options;
  if (name !== undefined) checkString(name, "fromPromise: options.name");
  if (typeof promise === "function") return new AbortablePromise(promise, waitForSettled, name);
  if (!isThenable(promise)) throw notPromise("promise", promise);
  if (waitForSettled)
    return new AbortablePromise(promise instanceof Promise ? promise : () => promise, true, name);
  if (promise instanceof Future) return intoFuture(promise);
  return host.futureOf(promise, name) as Future<T>;
}
