// scope: tasks that end before the code that started them continues (structured concurrency).

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

/** Spawns tasks that end with the scope. The body of a scope receives it. */
export interface Scope {
  /**
   * Spawns a task that ends with the scope. May be called from anywhere, also outside a poll. Throws Error once
   * the scope has ended or is being cancelled, TypeError when `work` is not work or an option is bad.
   */
  spawn<T>(work: IntoFuture<T>, options?: SpawnOptions): JoinHandle<T>;
}

/** The scope's wait for one of its tasks. It claims the task's failure at once, not only from its first poll. */
class ScopedTask extends OwnedTask<unknown> {
  constructor(task: Task<unknown>) {
    super(task);
    this.claim();
  }

  override drop(): void {
    if (this.task.isEnded) this.task.takeOutcome(); // the scope reports its failure
    super.drop();
  }
}

/** The task that a child waits for; null for the body. */
type Key = Task<unknown> | null;

class ScopeFuture<T> extends Combinator<Key, T> implements Scope {
  /** The runtime of the first poll; null before it. */
  #runtime: Runtime | null = null;
  #isCancelling = false;
  /** What the body returned; null until then. */
  #body: { value: T } | null = null;
  /** The failures, in the order in which they happened. */
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
    if (this.isEnded) {
      throw new Error(
        "scope.spawn: this scope has ended; for a task that outlives a scope, call spawn()",
      );
    }
    if (this.#isCancelling) {
      throw new Error(
        "scope.spawn: this scope is being cancelled; await what its cleanup needs in the cleanup itself",
      );
    }
    const task = this.#runtime!.startTask(work, options); // set: the body has been called
    this.children.add(task, new ScopedTask(task));
    return new JoinHandle(task);
  }

  protected override onValue(key: Key, value: unknown): void {
    if (key === null) this.#body = { value: value as T };
    this.#endWithLast();
  }

  override onChildError(key: Key, error: unknown): void {
    if (key !== null && key.failure === null) {
      this.#endWithLast(); // the task was aborted by its handle, which is not a failure
      return;
    }
    this.#isCancelling = true;
    this.#errors.push(error);
    const errors = this.#errors;
    // A getter, because it is read after the others' cleanup: they may fail as well.
    this.outcome = {
      get error(): unknown {
        return combined(errors.splice(0)); // emptied: errors that are thrown are not reported as well
      },
    };
  }

  protected override get cancelReason(): unknown {
    return this.#errors[0];
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

  /** Reports the failures of a cancelled scope, which has no awaiter to throw them at. */
  #reportErrors(): void {
    for (const error of new Set(this.#errors.splice(0))) {
      this.#runtime?.report(error, "a task of a cancelled scope");
    }
  }
}

/** Returns a single error itself. A body that rethrows the error of its task does not count twice. */
function combined(errors: readonly unknown[]): unknown {
  const distinct = [...new Set(errors)];
  if (distinct.length === 1) return distinct[0];
  return new AggregateError(distinct, `${distinct.length} tasks of a scope failed`);
}

/**
 * Runs `body`, and completes when the body and all tasks that were spawned in the scope have ended. Returns what
 * the body returns.
 *
 * When the body or a task fails, the scope cancels the others, waits for their cleanup, and throws that error.
 * If others fail meanwhile, it throws an AggregateError of all. A task whose failure should leave the others
 * running catches its own errors. A task that was aborted by its handle has not failed. Throws TypeError at once
 * when `body` is not a function.
 *
 * Dropping the scope cancels everything in it, so it is cancel safe if the body and the tasks are. A canceller
 * that can wait waits for their cleanup. Failures during a cancellation are reported.
 *
 * @example
 * yield* scope(function* (s) {
 *   s.spawn(() => serve(listener));
 *   s.spawn(() => report(statistics));
 * });
 * console.log("both tasks have ended");
 */
export function scope<T>(body: (scope: Scope) => IntoFuture<T>): Future<T> {
  if (typeof body !== "function") {
    throw new TypeError(
      `scope: body must be a function that receives the scope (function* (s) { ... }); got ${describe(body)}`,
    );
  }
  return new ScopeFuture<T>(body);
}
