// scope: tasks that end before the code that started them continues (structured concurrency).

import { checkObject, invalidType } from "../base/check.ts";
import { codedError, withCode } from "../base/coded-error.ts";
import { describe } from "../base/describe.ts";
import { counted } from "../base/inspect.ts";
import { isThenable } from "../base/thenable.ts";
import type { Children } from "../combine/children.ts";
import { Combinator } from "../combine/combinator.ts";
import type { Context } from "../core/context.ts";
import { AbortError, type Future } from "../core/future.ts";
import { isGenerator } from "../core/generator.ts";
import { type IntoFuture, intoFuture } from "../core/into-future.ts";
import { Pending, type Poll } from "../core/poll.ts";
import { QueuedAttempt } from "../core/queued-attempt.ts";
import { WaitQueue } from "../core/wait-queue.ts";
import { JoinHandle, OwnedTask } from "../runtime/join-handle.ts";
import type { SpawnOptions } from "../runtime/options.ts";
import { Runtime } from "../runtime/runtime.ts";
import type { Task } from "../runtime/task.ts";
import { Limit } from "./limit.ts";

/** The options of {@link scope}. */
export interface ScopeOptions {
  /**
   * What the failure of a task does. `"cancel"` (default): it cancels the body and the other tasks, and the scope
   * throws it. `"report"`: the runtime prints it, and the others continue, which suits the connections of a server. A
   * function: the scope calls it with the error and the name of the task, and the others continue. If it returns work,
   * such as a coroutine or the promise of an async function, that runs, and the scope does not wait for it. An error that
   * the function or its work throws cancels the scope. A failure of the body always cancels the scope.
   */
  readonly onFailure?: "cancel" | "report" | ((error: unknown, name: string) => unknown);
  /** How many tasks may run at once: an integer >= 1, or Infinity. The others wait. Default: Infinity. */
  readonly limit?: number;
}

/** What the body of a `scope` receives: it spawns tasks that end before the scope does. */
export interface Scope {
  /** The number of tasks that the scope waits for. */
  readonly size: number;
  /**
   * Spawns a task in the runtime of the scope. The scope completes only after the task has ended. With `limit`, the
   * task may first wait for a place. May be called outside a poll, too. Throws Error once the scope has ended, is
   * closed or is being cancelled, TypeError when `work` is not work or an option is bad.
   */
  spawn<T>(work: IntoFuture<T>, options?: SpawnOptions): JoinHandle<T>;
  /** Waits until a task that is spawned now would start at once: backpressure for `limit`. Cancel safe. */
  ready(): Future<void>;
  /**
   * Cancels the body and all tasks. The scope then throws `reason`, an AbortError by default, once their cleanup is
   * done. Does nothing once the scope has ended or is being cancelled.
   */
  cancel(reason?: unknown): void;
  /**
   * Refuses spawns from now on, and returns a future that completes when no task is left. Cancel safe: the scope stays
   * closed.
   */
  close(): Future<void>;
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

interface Failure {
  readonly error: unknown;
  /** The number of the task; 0 for the body, which began first. */
  readonly id: number;
}

class ScopeFuture<T> extends Combinator<Key, T> implements Scope {
  private readonly onFailure: NonNullable<ScopeOptions["onFailure"]>;
  private readonly limit: Limit;
  /** The runtime of the first poll; null before that poll. */
  private runtime: Runtime | null = null;
  private isCancelling = false;
  private isClosed = false;
  /** What the body returned; null while it runs. */
  private body: { value: T } | null = null;
  /** The failures that the scope throws. The first one is the reason of the cancellation. */
  private readonly failures: Failure[] = [];
  /** `cancel` was called: the first of `failures` is its reason, which no task failed with. */
  private hasReason = false;
  /** Those who wait until no task is left. */
  private readonly closers = new WaitQueue();
  size = 0;

  constructor(body: (scope: Scope) => unknown, options: ScopeOptions) {
    super();
    const { onFailure = "cancel", limit = Number.POSITIVE_INFINITY } = options;
    this.onFailure = onFailure;
    this.limit = new Limit(limit, "scope: options.limit", "a scope");
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
      throw codedError(
        "ERR_SCOPE_ENDED",
        "scope.spawn: this scope has ended; for a task that outlives a scope, call spawn()",
      );
    }
    if (this.isCancelling) {
      throw codedError(
        "ERR_SCOPE_ENDED",
        "scope.spawn: this scope is being cancelled; await what its cleanup needs in the cleanup itself",
      );
    }
    if (this.isClosed)
      throw codedError("ERR_SCOPE_ENDED", "scope.spawn: close() was called on this scope");
    const task = this.limit.start(this.runtime!, work, options); // set: the body has been called
    this.size++;
    this.children.add(task, new ScopedTask(task, this.children));
    return JoinHandle.create(task);
  }

  override inspectLine(): string {
    return `Scope { ${counted(this.size, "task")} }`;
  }

  ready(): Future<void> {
    return this.limit.ready();
  }

  cancel(reason: unknown = new AbortError("the scope was cancelled")): void {
    if (this.isEnded || this.isCancelling) return;
    this.hasReason = true;
    this.fail(null, reason);
    this.children.parent?.target.wake();
  }

  close(): Future<void> {
    this.isClosed = true;
    return new QueuedAttempt(
      this.closers,
      () => "the tasks of a scope",
      () => (this.size === 0 ? undefined : Pending),
    );
  }

  override onChildValue(key: Key, value: unknown, future: Future<unknown>): void {
    // The value of a task belongs to those who await its handle, so the scope does not count as its receiver.
    if (key !== null) key.leave(future as ScopedTask);
    super.onChildValue(key, value, future);
  }

  protected override onValue(key: Key, value: unknown): void {
    if (key === null) this.body = { value: value as T };
    else this.onTaskEnded();
    this.completeIfAllEnded();
  }

  override onChildError(key: Key, error: unknown): void {
    if (key === null) this.fail(null, error);
    else {
      this.onTaskEnded();
      // A task that was aborted through its handle has not failed.
      if (key.failure !== null) this.onTaskFailure(key, error);
    }
    this.completeIfAllEnded();
  }

  private onTaskFailure(key: Task<unknown>, error: unknown): void {
    const { onFailure } = this;
    if (onFailure === "cancel") this.fail(key, error);
    else if (onFailure === "report") key.runtime.report(error, `task ${key.name} of a scope`);
    else {
      try {
        const work: unknown = onFailure(error, key.name);
        const answer = isGenerator(work) ? intoFuture(work) : work;
        if (isThenable(answer)) answer.then(null, (thrown) => this.failLater(key, thrown));
      } catch (thrown) {
        this.fail(key, thrown);
      }
    }
  }

  /** Does what `fail` does, when no child is being polled. */
  private failLater(key: Task<unknown>, error: unknown): void {
    if (this.isEnded) key.runtime.report(error, "onFailure of a scope that has ended");
    else {
      this.fail(key, error);
      this.children.parent?.target.wake();
    }
  }

  private onTaskEnded(): void {
    if (--this.size === 0) this.closers.wakeAll();
  }

  /** Records a failure, and makes it the outcome. */
  private fail(key: Key, error: unknown): void {
    this.isCancelling = true;
    const { failures } = this;
    failures.push({ error, id: key?.id ?? 0 });
    // A getter, because the combinator reads it after the cleanup of the others, which may fail as well.
    this.outcome ??= {
      get error(): unknown {
        return combine(failures.splice(0)); // emptied, so that thrown errors are not also reported
      },
    };
  }

  protected override get cancelReason(): unknown {
    return this.failures[0]?.error;
  }

  /** Makes the body's value the outcome once the body and all tasks have ended. */
  private completeIfAllEnded(): void {
    if (this.children.size === 0) this.outcome ??= this.body;
  }

  private readonly onCancelled = (key: Key): void => {
    if (key === null) return;
    this.onTaskEnded();
    // It failed before the cancellation reached it.
    if (key.failure !== null) this.onTaskFailure(key, key.failure.error);
  };

  protected override get onChildCancelled(): (key: Key) => void {
    return this.onCancelled;
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
    const errors = distinct(this.failures.splice(0));
    if (this.hasReason) errors.shift();
    for (const error of errors) {
      this.runtime?.report(error, "a task of a cancelled scope");
    }
  }
}

/** Returns the errors: the first failure, then the others in the order of the spawns. Equal errors count once. */
function distinct(failures: readonly Failure[]): unknown[] {
  const others = failures.slice(1).sort((a, b) => a.id - b.id);
  return [...new Set([...failures.slice(0, 1), ...others].map(({ error }) => error))];
}

/** Returns a single error as it is, several as an AggregateError. An error that the body rethrows counts once. */
function combine(failures: readonly Failure[]): unknown {
  const errors = distinct(failures);
  if (errors.length === 1) return errors[0];
  return withCode(
    new AggregateError(errors, `${errors.length} tasks of a scope failed`),
    "ERR_SCOPE_FAILED",
  );
}

/**
 * Runs `body`, and completes when the body and all tasks of the scope have ended. Returns the value of the body.
 *
 * When the body or a task fails, the scope cancels the others, waits for their cleanup, and throws that error. With
 * the option `onFailure`, the failure of a task leaves the others alone. A task that was aborted through its handle
 * has not failed.
 *
 * What the scope throws: one failure as it is; several as an AggregateError, with the failure that caused the
 * cancellation first, then the others in the order of the spawns. Others count only if they failed before the
 * cancellation reached them; errors of their cleanup are reported. An error that the body rethrows counts once.
 *
 * Throws TypeError at once when `body` is not a function or an option is bad, RangeError for a bad `limit`.
 *
 * Dropping the scope cancels the body and the tasks, so it is cancel safe if they are. A canceller that can wait
 * waits for their cleanup. When the scope itself is cancelled, the runtime prints failures with `console.error`.
 *
 * @example
 * yield* scope(function* (s) {
 *   s.spawn(() => report(statistics));
 *   s.spawn(() => loadPage());
 * });
 * console.log("both tasks have ended");
 *
 * @example
 * const body = async (s: Scope) => {
 *   for (const url of urls) {
 *     await s.ready(); // until fewer than two are running
 *     s.spawn(() => load(url));
 *   }
 * };
 * await scope(body, { limit: 2, onFailure: "report" });
 */
export function scope<T>(
  body: (scope: Scope) => IntoFuture<T>,
  options: ScopeOptions = {},
): Future<T> {
  if (typeof body !== "function") {
    throw invalidType(
      `scope: body must be a function that receives the scope (function* (s) { ... }); got ${describe(body)}`,
    );
  }
  checkObject(options, "scope: options");
  const { onFailure = "cancel" } = options;
  if (onFailure !== "cancel" && onFailure !== "report" && typeof onFailure !== "function") {
    throw invalidType(
      `scope: options.onFailure must be "cancel", "report", or a function; got ${describe(onFailure)}`,
    );
  }
  return new ScopeFuture<T>(body, options);
}
