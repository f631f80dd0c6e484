// lazy, shared and singleFlight: one run of work for many callers.
//
// The run is a task, so it survives the caller that started it. Invariants:
// - A run that somebody waits for is not cancelled, whoever else gives up.
// - When the last caller gives up, the run is cancelled, and that caller's canceller waits for the cleanup (unless the
//   run is kept). A later caller starts a new run; it does not join one that is being cancelled, or one that has ended.
//   The end is that of the task: work that is aborted before its first poll runs no code that could note it.
// - Each caller receives the failure of its run, and it is never unhandled while a caller waits.

import { checkMilliseconds, checkObject, invalidType } from "../base/check.ts";
import { describe } from "../base/describe.ts";
import { checkRepeatable, type Repeatable, repeat } from "../combine/repeatable.ts";
import type { Context } from "../core/context.ts";
import { AbortError, type Coroutine, Future, polledAfterEnd } from "../core/future.ts";
import { type IntoFuture, intoFuture, toFuture } from "../core/into-future.ts";
import { Pending, type Poll } from "../core/poll.ts";
import { Join } from "../runtime/join-handle.ts";
import { Runtime } from "../runtime/runtime.ts";
import type { Task } from "../runtime/task.ts";
import { now } from "../time/sleep.ts";

/** One run, and how many callers wait for it. */
class Run<T> {
  readonly task: Task<T>;
  private readonly isKept: boolean;
  /** Called when the last caller has left, also after the end, unless the run is kept. */
  private readonly onUnused: () => void;
  private callers = 0;

  /** `label` ends with the name of the work function, which may be empty. */
  constructor(work: Future<T>, label: string, isKept: boolean, onUnused: () => void) {
    this.task = Runtime.currentOrAmbient().startTask(work, { name: label.trimEnd() });
    this.isKept = isKept;
    this.onUnused = onUnused;
  }

  join(): Join<T> {
    this.callers++;
    const join = new Join(this.task);
    join.claim();
    return join;
  }

  /** Counts a caller that has received the outcome or given up. Returns true if the run is now being cancelled. */
  leave(): boolean {
    if (--this.callers > 0 || this.isKept) return false;
    this.onUnused();
    if (this.task.isEnded) return false;
    this.task.abort();
    return true;
  }
}

/** Finds or starts the run of a caller, or returns a value that is there already. Called at the first poll. */
type Source<T> = () => Run<T> | { readonly value: T };

/** The future of one caller. */
class Call<T> extends Future<T> {
  /** null once it was called, and after the end. */
  private source: Source<T> | null;
  private run: Run<T> | null = null;
  private join: Join<T> | null = null;
  /** The run is being cancelled, because this caller was the last one. */
  private isCancelling = false;

  constructor(source: Source<T>) {
    super();
    this.source = source;
  }

  override get runsUserCode(): boolean {
    return true; // the run inherits the AsyncLocalStorage of the caller that starts it
  }

  override poll(cx: Context): Poll<T> {
    if (this.join === null) {
      const { source } = this;
      if (source === null) throw polledAfterEnd("a call of shared work");
      this.source = null;
      const found = source();
      if ("value" in found) {
        cx.charge(); // a loop that awaits only such values could starve other tasks
        return found.value;
      }
      this.run = found;
      this.join = found.join();
    }
    let value: Poll<T> | null = null;
    try {
      value = this.join.poll(cx);
      return value;
    } finally {
      if (value !== Pending) this.end();
    }
  }

  override pollCancel(cx: Context): Poll<void> {
    const { join, run } = this;
    this.source = null;
    if (join === null || run === null) return;
    if (!this.isCancelling && !run.leave()) this.run = null;
    else {
      this.isCancelling = true;
      if (!run.task.isEnded && join.poll(cx) === Pending) return Pending;
      this.run = null; // it has left already
    }
    this.end();
  }

  override drop(): void {
    this.source = null;
    if (this.isCancelling) this.run = null; // it has left already
    this.end();
  }

  private end(): void {
    const { run, join } = this;
    this.run = this.join = null;
    run?.leave();
    join?.drop();
  }
}

/** The options of {@link lazy}. */
export interface LazyOptions {
  /** How long a value is valid, in milliseconds on the runtime's clock. Then the next call runs `init` again. Default: Infinity. */
  readonly ttlMs?: number;
  /** Let a run continue when no caller waits for it any more. Default false: it is cancelled. */
  readonly keep?: boolean;
}

/** What {@link lazy} returns: a function that returns a future of the value. It is also work itself. */
export interface Lazy<T> {
  (): Future<T>;
  /** Forgets the value: the next call runs `init` again. Callers that wait now still receive the earlier value. */
  reset(): void;
}

/** The state behind a Lazy. */
class LazyValue<T> {
  private readonly init: Repeatable<[], T>;
  private readonly ttlMs: number;
  private readonly isKept: boolean;
  private run: Run<T> | null = null;
  private current: { readonly value: T; readonly expiresMs: number } | null = null;

  constructor(init: Repeatable<[], T>, ttlMs: number, isKept: boolean) {
    this.init = init;
    this.ttlMs = ttlMs;
    this.isKept = isKept;
  }

  readonly find: Source<T> = () => {
    const { current } = this;
    if (
      current !== null &&
      (current.expiresMs === Number.POSITIVE_INFINITY || now() < current.expiresMs)
    ) {
      return current;
    }
    this.current = null;
    if (this.run === null || this.run.task.isEnded) {
      const run: Run<T> = new Run(
        intoFuture(() => this.start(() => run)),
        `lazy ${this.init.name}`,
        this.isKept,
        () => {
          if (this.run === run) this.run = null;
        },
      );
      this.run = run;
    }
    return this.run;
  };

  /** `self` returns the run, which does not exist yet when this is called. */
  private *start(self: () => Run<T>): Coroutine<T> {
    const value = yield* repeat(this.init);
    if (this.run === self()) this.current = { value, expiresMs: now() + this.ttlMs };
    return value;
  }

  reset(): void {
    this.run = this.current = null;
  }
}

/**
 * Returns a function that creates a value on its first call and returns the same value to all callers: a connection, a
 * configuration, a token. It replaces `cache ??= connect()`, whose promise fails for everyone when the request that
 * created it is cancelled.
 *
 * - All callers share one run of `init`, a task of its own. A caller that is cancelled does not affect the others.
 * - When no caller is left, the run is cancelled, unless `keep` is true. The next call starts another.
 * - A failure is thrown to those who wait. The next call tries again.
 * - After `ttlMs` the next call creates a new value. `reset()` forgets the value.
 *
 * Throws TypeError at once when `init` is not a function or an option is bad, RangeError for a bad `ttlMs`. Awaiting a
 * call throws what `init` throws. Not reentrant: an `init` that awaits its own value waits for itself.
 *
 * A call is cancel safe: dropping it stops waiting. If it was the last one, a canceller waits for the cleanup of
 * `init`.
 *
 * @example
 * const page = lazy(loadPage, { ttlMs: 60_000 });
 * const [first, second] = yield* join(page(), page()); // loaded once
 * console.log(first === second); // true
 */
export function lazy<T>(init: Repeatable<[], T>, options: LazyOptions = {}): Lazy<T> {
  checkRepeatable(init, "lazy: init");
  checkObject(options, "lazy: options");
  const { ttlMs = Number.POSITIVE_INFINITY, keep = false } = options;
  checkMilliseconds(ttlMs, "lazy: options.ttlMs");
  if (typeof keep !== "boolean") {
    throw invalidType(`lazy: options.keep must be a boolean; got ${describe(keep)}`);
  }
  const state = new LazyValue(init, ttlMs, keep);
  return Object.assign(() => new Call(state.find), { reset: () => state.reset() });
}

class Shared<T> extends Future<T> {
  /** The work; null once it was used, unless it is a function, which may run again. */
  #work: IntoFuture<T> | null;
  #run: Run<T> | null = null;
  /** The call of code that polls this future itself. Each `yield*` and `await` has a Call of its own. */
  #polledCall: Call<T> | null = null;

  constructor(work: IntoFuture<T>) {
    super();
    this.#work = work;
  }

  readonly #find: Source<T> = () => {
    this.#run ??= this.#start();
    return this.#run;
  };

  #start(): Run<T> {
    const work = this.#work;
    if (work === null) {
      throw new AbortError(
        "this shared work was cancelled, because nobody waited for it any more; pass a function, which can run again, or spawn the work",
      );
    }
    if (typeof work !== "function") this.#work = null;
    const run: Run<T> = new Run(intoFuture(work), "shared", false, () => {
      if (!run.task.isEnded) this.#run = null;
    });
    return run;
  }

  override get isHandle(): boolean {
    return true;
  }

  override poll(cx: Context): Poll<T> {
    const call = this.#polledCall ?? new Call(this.#find);
    this.#polledCall = null; // before the poll, which may throw: the next poll then starts a new call
    const value = call.poll(cx);
    if (value === Pending) this.#polledCall = call;
    return value;
  }

  override pollCancel(cx: Context): Poll<void> {
    return this.#polledCall?.pollCancel(cx);
  }

  override drop(): void {
    this.#polledCall?.drop();
    this.#polledCall = null;
  }

  override [Symbol.iterator](): Future<T> {
    return new Call(this.#find);
  }

  /** Each await is a call of its own, so cancelling one leaves the others alone. */
  // biome-ignore lint/suspicious/noThenProperty: a future is a thenable
  override then<A = T, B = never>(
    onFulfilled?: ((value: T) => A | PromiseLike<A>) | null,
    // biome-ignore lint/suspicious/noExplicitAny: PromiseLike declares it so
    onRejected?: ((reason: any) => B | PromiseLike<B>) | null,
  ): Promise<A | B> {
    return new Call(this.#find).then(onFulfilled, onRejected);
  }
}

/**
 * Returns a future of `work` that any number of callers may await, in any way and at any time. The first await starts
 * the work in a task of its own; all receive the same value or error. When no caller is left before the end, the work
 * is cancelled. The next await then runs a function again; for other work it throws an AbortError. Throws TypeError at
 * once when `work` is not work.
 *
 * `spawn` also returns something to await many times, but starts at once, and continues when nobody waits.
 *
 * @example
 * const page = shared(loadPage);
 * const [first, second] = yield* join(page, page);
 * console.log(first === second); // true
 */
export function shared<T>(work: IntoFuture<T>): Future<T> {
  return new Shared(typeof work === "function" ? work : toFuture(work, "shared: work"));
}

/**
 * Returns a function `(key, work)` that runs `work` once for all concurrent calls with the same key, and returns its
 * value to all of them. A call after the end runs the work again: nothing is cached. A caller that is cancelled does
 * not affect the others; when the last one is cancelled, so is the run. The function throws TypeError when `work` is
 * not a function. Awaiting a call throws what the work throws.
 *
 * @example
 * const once = singleFlight<string, Page>();
 * const [first, second] = yield* join(
 *   once("a", () => load("a")),
 *   once("a", () => load("a")), // waits for the call above
 * );
 * console.log(first === second); // true
 */
export function singleFlight<K, T>(): (key: K, work: Repeatable<[], T>) => Future<T> {
  const runs = new Map<K, Run<T>>();
  return (key, work) => {
    checkRepeatable(work, "singleFlight: work");
    return new Call(() => {
      const known = runs.get(key);
      if (known !== undefined && !known.task.isEnded) return known;
      const run: Run<T> = new Run(repeat(work), `single flight ${work.name}`, false, () => {
        if (runs.get(key) === run) runs.delete(key);
      });
      runs.set(key, run);
      return run;
    });
  };
}
