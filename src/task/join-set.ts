// JoinSet: a set of tasks that returns their results in the order in which they end.
//
// Invariants:
// - Each task of the set is in `#running` until it ends, then in `#ended` until `joinNext` returns its result.
// - A task takes its place in the queue of `#limit` when it is spawned, so tasks start in the order of their spawns.
// - The set owns the results of its tasks: `joinNext` returns or throws each, or disposing the set reports a failure and
//   gives a value back to its work.

import { checkObject } from "../base/check.ts";
import { codedError } from "../base/coded-error.ts";
import { forAll } from "../base/for-all.ts";
import { inspectableParts } from "../base/inspect.ts";
import { shield } from "../combine/shield.ts";
import { iterateNext } from "../core/async-iteration.ts";
import type { Coroutine, Future } from "../core/future.ts";
import { type IntoFuture, intoFuture } from "../core/into-future.ts";
import { type Next, Pending, type Poll } from "../core/poll.ts";
import { ReclaimableAttempt } from "../core/queued-attempt.ts";
import { type Waiter, WaitQueue } from "../core/wait-queue.ts";
import { type WakeFd, WakeTarget } from "../core/wake-target.ts";
import { AbortHandle } from "../runtime/abort-handle.ts";
import type { SpawnOptions } from "../runtime/options.ts";
import { Runtime } from "../runtime/runtime.ts";
import type { Task } from "../runtime/task.ts";
import { Limit } from "./limit.ts";

/** The options of a {@link JoinSet}. */
export interface JoinSetOptions {
  /** How many tasks may run at once: an integer >= 1, or Infinity. The others wait. Default: Infinity. */
  readonly limit?: number;
}

/**
 * A set of tasks. `joinNext` returns their results in the order in which the tasks end.
 *
 * Leaving the block of a `using` aborts the tasks that still run. `await using` and `shutdown` also wait for their
 * cleanup. The set keeps each result until `joinNext` returns it. Where no code needs the results, as for the
 * connections of a server, use a `scope`.
 *
 * @example
 * using set = new JoinSet<Page>({ limit: 10 });
 * for (const url of urls) set.spawn(() => load(url)); // ten run at once; the others wait
 * for (let next; !(next = yield* set.joinNext()).done; ) show(next.value);
 */
export class JoinSet<T> implements Disposable, AsyncDisposable, AsyncIterable<T> {
  static {
    inspectableParts<JoinSet<unknown>>(JoinSet, (it) =>
      it.#isDisposed ? "disposed" : `${it.#running.size} running, ${it.#ended.length} ended`,
    );
  }

  readonly #limit: Limit;
  #isDisposed = false;
  /** The tasks that have not ended. */
  readonly #running: Set<Member<T>> = new Set();
  /** The ended tasks with results that `joinNext` has not returned, in the order of their ends. */
  #ended: Member<T>[] = [];
  /** The pending `joinNext` futures. */
  readonly #joiners = new WaitQueue();

  /** Throws RangeError if `limit` is neither a positive integer nor Infinity. */
  constructor(options: JoinSetOptions = {}) {
    checkObject(options, "JoinSet: options");
    const { limit = Number.POSITIVE_INFINITY } = options;
    this.#limit = new Limit(limit, "JoinSet: options.limit", "a join set");
  }

  /** The number of tasks that run or wait, plus the number of results that `joinNext` has not returned. */
  get size(): number {
    return this.#running.size + this.#ended.length;
  }

  /**
   * Spawns a task in the set, and returns its AbortHandle. If the limit is reached, the task waits for a place, first
   * come, first served, and its work begins then. Throws Error once the set is disposed, and TypeError when `work` is
   * not work or an option is bad.
   */
  spawn(work: IntoFuture<T>, options: SpawnOptions = {}): AbortHandle {
    if (this.#isDisposed)
      throw codedError("ERR_JOIN_SET_DISPOSED", "JoinSet.spawn: this set was disposed");
    const task = this.#limit.start(Runtime.currentOrAmbient(), work, options);
    this.#running.add(new Member(task, this.#onEnd));
    return AbortHandle.create(task);
  }

  /**
   * Waits until a task that is spawned now would start at once. Await it before each `spawn` to bound how many tasks
   * wait: backpressure. Completes at once without a limit. Cancel safe.
   *
   * @example
   * const set = new JoinSet<Page>({ limit: 10 });
   * for (const url of urls) {
   *   yield* set.ready();
   *   set.spawn(() => load(url));
   * }
   */
  ready(): Future<void> {
    return this.#limit.ready();
  }

  /**
   * Waits for the next task to end and returns `{ done: false, value }`. Returns `{ done: true }` when no task is
   * left. Throws the error of a task that failed. Skips tasks that were aborted. Cancel safe:
   * if it is cancelled, the next caller receives the result.
   */
  joinNext(): Future<Next<T>> {
    let joined: Member<T> | null = null;
    const attempt = (): Poll<Next<T>> => {
      const member = this.#nextEnded();
      if (member === Pending) return Pending;
      if (member === null) return { done: true };
      joined = member;
      return { done: false, value: member.result };
    };
    const putBack = (): void => {
      if (joined !== null) this.#putBack(joined);
    };
    return new ReclaimableAttempt(this.#joiners, () => "a task of a join set", attempt, putBack);
  }

  /** Aborts all tasks that run. The set stays usable. */
  abortAll(): void {
    for (const member of this.#running) member.abort();
  }

  /**
   * Disposes the set at the first poll, then waits until the cleanup of its tasks is done. Cancel safe: if it is
   * cancelled, the tasks stay aborted.
   */
  shutdown(): Future<void> {
    return intoFuture(this.#shutdown());
  }

  /**
   * Aborts all tasks without waiting. Reports failures that `joinNext` has not thrown. Connections, guards and messages
   * that it has not returned are closed, released, or go back to their channel. Later spawns throw.
   */
  [Symbol.dispose](): void {
    this.#isDisposed = true;
    this.abortAll();
    try {
      forAll(this.#ended.splice(0), (member) => member.discard());
    } finally {
      this.#joiners.wakeAll();
    }
  }

  /** Does what `shutdown` does, for `await using`. A cancellation does not cut it short. */
  async [Symbol.asyncDispose](): Promise<void> {
    this[Symbol.dispose](); // now: `shutdown` disposes at its first poll, which a cancelled function may never reach
    await shield(this.shutdown());
  }

  /** Iterates over the results of `joinNext`, for `for await`. Throws the error of a task that failed. */
  [Symbol.asyncIterator](): AsyncIterator<T> {
    return iterateNext(() => this.joinNext());
  }

  *#shutdown(): Coroutine<void> {
    this[Symbol.dispose]();
    yield* this.joinNext(); // completes when the last task ends, because a disposed set keeps no results
  }

  readonly #onEnd = (member: Member<T>): void => {
    this.#running.delete(member);
    if (!this.#isDisposed) this.#ended.push(member);
    else member.discard(); // the set was disposed, so no joinNext will return the result
    this.#joiners.wakeAll();
  };

  /** Removes and returns the first ended task that was not aborted; null when no task is left. */
  #nextEnded(): Member<T> | null | Pending {
    for (;;) {
      const member = this.#ended.shift();
      if (member === undefined) break;
      if (this.size === 0) this.#joiners.wakeAll(); // the other joiners may have to return `done` now
      if (!member.isAborted) return member;
    }
    return this.#running.size === 0 ? null : Pending;
  }

  /** Puts back a result that did not reach its awaiter. The next `joinNext` returns it. */
  #putBack(member: Member<T>): void {
    if (this.#isDisposed) {
      member.discard();
      return;
    }
    this.#ended.unshift(member);
    this.#joiners.wakeAll();
  }
}

/** A task of the set. It waits for the task like a join, so the end of the task wakes it. */
class Member<T> extends WakeTarget implements Waiter {
  target: WakeTarget | null = null;
  before: Waiter | null = null;
  after: Waiter | null = null;
  list: object | null = null;
  readonly #task: Task<T>;
  readonly #onEnd: (member: Member<T>) => void;

  constructor(task: Task<T>, onEnd: (member: Member<T>) => void) {
    super();
    this.#task = task;
    this.#onEnd = onEnd;
    task.takeOutcome(); // claims a failure: the set throws or reports it
    task.join(this, this);
  }

  get isAborted(): boolean {
    return this.#task.isAborted;
  }

  abort(): void {
    this.#task.abort();
  }

  /** The value of the ended task. Throws the task's error if it failed. */
  get result(): T {
    const outcome = this.#task.outcome!; // set: the task has ended
    if ("error" in outcome) throw outcome.error;
    return outcome.value;
  }

  /** Reports the failure of the ended task, or gives its value back to its work. */
  discard(): void {
    const { failure, name, runtime } = this.#task;
    if (failure !== null) runtime.report(failure.error, `task ${name}`);
    else this.#task.giveBack();
  }

  override wake(): void {
    this.#onEnd(this);
  }

  override openWakeFd(): WakeFd {
    throw codedError(
      "ERR_FUTURE_ENDED",
      "a member of a join set has no eventfd: only its task wakes it",
    );
  }
}
