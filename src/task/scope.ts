// scope: tasks that end before the code that started them goes on.

import { describe } from "../base/describe.ts";
import { Combinator } from "../combine/combinator.ts";
import type { Context } from "../core/context.ts";
import type { Future } from "../core/future.ts";
import { type IntoFuture, intoFuture } from "../core/into-future.ts";
import { Pending, type Poll } from "../core/poll.ts";
import { JoinHandle, OwnedTask } from "../runtime/join-handle.ts";
import type { SpawnOptions } from "../runtime/options.ts";
import { Runtime } from "../runtime/runtime.ts";
import type { Task } from "../runtime/task.ts";

/** What the body of a scope is given. */
export interface Scope {
  /** Spawns a task that ends with the scope; from anywhere. Throws once the scope is over, or is being cancelled. */
  spawn<T>(work: IntoFuture<T>, options?: SpawnOptions): JoinHandle<T>;
}

/** A task of a scope. Its failure is the scope's, also if it comes before the first poll. */
class ScopedTask extends OwnedTask<unknown> {
  constructor(task: Task<unknown>) {
    super(task);
    this.claim();
  }

  override drop(): void {
    if (this.task.isEnded) this.task.takeOutcome(); // the scope tells of its failure
    super.drop();
  }
}

/** Whose child it is: the body's is null. */
type Key = Task<unknown> | null;

class ScopeFuture<T> extends Combinator<Key, T> implements Scope {
  /** That of its first poll. */
  #runtime: Runtime | null = null;
  #isCancelling = false;
  #body: { value: T } | null = null;
  /** In the order in which they happened. */
  readonly #errors: unknown[] = [];

  constructor(body: (scope: Scope) => unknown) {
    super();
    this.children.add(
      null,
      intoFuture((() => {
        this.#runtime = Runtime.current();
        const work = body(this);
        return typeof work === "function" ? intoFuture(work as () => Future<T>) : work;
      }) as () => Future<T>),
    );
  }

  spawn<U>(work: IntoFuture<U>, options?: SpawnOptions): JoinHandle<U> {
    if (this.isEnded) throw new Error("scope.spawn: this scope has ended");
    if (this.#isCancelling) throw new Error("scope.spawn: this scope is being cancelled");
    const task = this.#runtime!.startTask(work, options); // set: the body was called
    this.children.add(task, new ScopedTask(task));
    return new JoinHandle(task);
  }

  protected override onValue(key: Key, value: unknown): void {
    if (key === null) this.#body = { value: value as T };
    this.#endWithLast();
  }

  override onChildError(key: Key, error: unknown): void {
    if (key !== null && key.failure === null) {
      this.#endWithLast();
      return;
    }
    this.#isCancelling = true;
    this.#errors.push(error);
    const errors = this.#errors;
    // Read when the others' cleanup is over: they may fail, too.
    this.outcome = {
      get error(): unknown {
        return combined(errors.splice(0)); // thrown, they are reported no more
      },
    };
  }

  #endWithLast(): void {
    if (this.children.size === 0 && this.#body !== null) this.outcome = this.#body;
  }

  readonly #noteFailure = (key: Key): void => {
    const failure = key?.failure ?? null;
    if (failure !== null) this.#errors.push(failure.error);
  };

  protected override get onChildCancelled(): (key: Key) => void {
    return this.#noteFailure;
  }

  override pollCancel(cx: Context): Poll<void> {
    this.#isCancelling = true;
    if (super.pollCancel(cx) === Pending) return Pending;
    this.#reportErrors();
  }

  override drop(): void {
    try {
      super.drop();
    } finally {
      this.#reportErrors();
    }
  }

  /** It was cancelled: there is nobody to throw at. */
  #reportErrors(): void {
    for (const error of new Set(this.#errors.splice(0))) {
      this.#runtime?.report(error, "a task of a scope that was cancelled");
    }
  }
}

/** One error is itself; a body that awaited its task's failure makes no second one. */
function combined(errors: readonly unknown[]): unknown {
  const distinct = [...new Set(errors)];
  if (distinct.length === 1) return distinct[0];
  return new AggregateError(distinct, `${distinct.length} tasks of a scope failed`);
}

/**
 * Gives what `body` returns, when it and all tasks it spawned in the scope have ended. The first
 * failure cancels the rest, and is thrown when their cleanup is over: that error, or an AggregateError
 * if others failed meanwhile; so what one task may fail with, and the others survive, that task catches. A
 * task that was aborted by its handle is no failure. Dropped, it cancels all that is in it. Throws TypeError
 * for a `body` that is no function.
 *
 * @example
 * yield* scope(function* (s) {
 *   s.spawn(() => serve(listener));
 *   s.spawn(() => report(statistics));
 * }); // here neither runs any more
 */
export function scope<T>(body: (scope: Scope) => IntoFuture<T>): Future<T> {
  if (typeof body !== "function") {
    throw new TypeError(
      `scope: body must be a function, which is given the scope to spawn in; got ${describe(body)}`,
    );
  }
  return new ScopeFuture<T>(body);
}
