// scope: tasks that end before the code that started them continues (structured concurrency).

import { describe } from "../base/describe.ts";
import type { Children } from "../combine/children.ts";
import { Combinator } from "../combine/combinator.ts";
import type { Context } from "../core/context.ts";
import type { Future } from "../core/future.ts";
import { type IntoFuture, intoFuture } from "../core/into-future.ts";
import { Pending, type Poll } from "../core/poll.ts";
import { JoinHandle, OwnedTask } from "../runtime/join-handle.ts";
import type { SpawnOptions } from "../runtime/options.ts";
import { Runtime } from "../runtime/runtime.ts";
import type { Task } from "../runtime/task.ts";

/** What the body of a `scope` receives: it spawns tasks that end before the scope does. */
export interface Scope {
  /**
   * Spawns a task in the runtime of the scope. The scope completes only after the task has ended. May be called
   * outside a poll, too. Throws Error once the scope has ended or is being cancelled, TypeError when `work` is not
   * work or an option is bad.
   */
  spawn<T>(work: IntoFuture<T>, options?: SpawnOptions): JoinHandle<T>;
}

/** The scope's wait for one of its tasks. Claims the task's failure at once, so that it never reaches onUncaught. */
class ScopedTask extends OwnedTask<unknown> {
  private readonly siblings: Children<Key>;

  constructor(task: Task<unknown>, siblings: Children<Key>) {
    super(task);
    this.siblings = siblings;
    this.claim();
  }

  /** The context of the scope: known before the first poll of this wait. */
  override get ownerContext(): Context | null {
    return this.siblings.parent;
  }

  override drop(): void {
    if (this.task.isEnded) this.task.takeOutcome(); // claims its failure, which the scope reports
    super.drop();
  }
}

/** The task that a child waits for; null for the body. */
type Key = Task<unknown> | null;

class ScopeFuture<T> extends Combinator<Key, T> implements Scope {
  /** The runtime of the first poll; null before that poll. */
  private runtime: Runtime | null = null;
  private isCancelling = false;
  /** What the body returned; null while it runs. */
  private body: { value: T } | null = null;
  /** The failures, in the order in which they happened. */
  private readonly errors: unknown[] = [];

  constructor(body: (scope: Scope) => unknown) {
    super();
    this.children.add(
      null,
      intoFuture((() => {
        this.runtime = Runtime.current();
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
    if (this.isCancelling) {
      throw new Error(
        "scope.spawn: this scope is being cancelled; await what its cleanup needs in the cleanup itself",
      );
    }
    const task = this.runtime!.startTask(work, options); // set: the body has been called
    this.children.add(task, new ScopedTask(task, this.children));
    return new JoinHandle(task);
  }

  protected override onValue(key: Key, value: unknown): void {
    if (key === null) this.body = { value: value as T };
    this.completeIfAllEnded();
  }

  override onChildError(key: Key, error: unknown): void {
    if (key !== null && key.failure === null) {
      this.completeIfAllEnded(); // aborted through its handle, which is not a failure
      return;
    }
    this.isCancelling = true;
    this.errors.push(error);
    const errors = this.errors;
    // A getter, because the combinator reads it after the cleanup of the others, which may fail as well.
    this.outcome = {
      get error(): unknown {
        return combine(errors.splice(0)); // emptied, so that thrown errors are not also reported
      },
    };
  }

  protected override get cancelReason(): unknown {
    return this.errors[0];
  }

  /** Makes the body's value the outcome once the body and all tasks have ended. */
  private completeIfAllEnded(): void {
    if (this.children.size === 0 && this.body !== null) this.outcome = this.body;
  }

  private readonly recordFailure = (key: Key): void => {
    const failure = key?.failure ?? null;
    if (failure !== null) this.errors.push(failure.error);
  };

  protected override get onChildCancelled(): (key: Key) => void {
    return this.recordFailure;
  }

  override pollCancel(cx: Context): Poll<void> {
    this.isCancelling = true;
    if (super.pollCancel(cx) === Pending) return Pending;
    this.reportErrors();
  }

  override drop(): void {
    try {
      super.drop();
    } finally {
      this.reportErrors();
    }
  }

  /** Reports the failures of a cancelled scope, which has no awaiter to throw them at. */
  private reportErrors(): void {
    for (const error of new Set(this.errors.splice(0))) {
      this.runtime?.report(error, "a task of a cancelled scope");
    }
  }
}

/** Returns a single error as it is, several as an AggregateError. An error that the body rethrows counts once. */
function combine(errors: readonly unknown[]): unknown {
  const distinct = [...new Set(errors)];
  if (distinct.length === 1) return distinct[0];
  return new AggregateError(distinct, `${distinct.length} tasks of a scope failed`);
}

/**
 * Runs `body`, and completes when the body and all tasks of the scope have ended. Returns the value of the body.
 *
 * When the body or a task fails, the scope cancels the others, waits for their cleanup, and throws that error.
 * If others fail meanwhile, it throws an AggregateError of all errors. If a failure should not cancel the others,
 * catch it in the task. A task that was aborted through its handle has not failed. Throws TypeError at once
 * when `body` is not a function.
 *
 * Dropping the scope cancels the body and the tasks, so it is cancel safe if they are. A canceller that can wait
 * waits for their cleanup. When the scope itself is cancelled, the runtime prints failures with `console.error`.
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
