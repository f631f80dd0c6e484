// JoinSet: a set of tasks that returns their results in the order in which they end.
//
// Invariants:
// - Each task of the set is in `#running` until it ends, then in `#ended` until `joinNext` returns its result.
// - A task holds one permit of `#room` from its start to its end. So the limit is a semaphore, which serves
//   spawners in order.
// - The set owns the failures of its tasks: `joinNext` throws them, or disposing the set reports them.

import { checkCount } from "../base/check.ts";
import { shield } from "../combine/shield.ts";
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
import { Acquire, Permits } from "../sync/permits.ts";

/** The options of a {@link JoinSet}. */
export interface JoinSetOptions {
  /** How many tasks may run at once: an integer >= 1, or Infinity. Default: Infinity. */
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
 * for (const url of urls) yield* set.spawn(() => load(url)); // waits while ten are running
 * for (let next; !(next = yield* set.joinNext()).done; ) show(next.value);
 */
export class JoinSet<T> implements Disposable, AsyncDisposable, AsyncIterable<T> {
  /** Its free permits are the number of tasks that may still start. */
  readonly #room: Permits;
  /** The tasks that have not ended. */
  readonly #running: Set<Member<T>> = new Set();
  /** The ended tasks with results that `joinNext` has not returned, in the order of their ends. */
  #ended: Member<T>[] = [];
  /** The pending `joinNext` futures. */
  readonly #joiners = new WaitQueue();

  /** Throws RangeError if `limit` is neither a positive integer nor Infinity. */
  constructor(options: JoinSetOptions = {}) {
    const { limit = Number.POSITIVE_INFINITY } = options;
    if (limit !== Number.POSITIVE_INFINITY) checkCount(limit, "JoinSet: options.limit");
    this.#room = new Permits(limit);
  }

  /** The number of tasks that run, plus the number of results that `joinNext` has not returned. */
  get size(): number {
    return this.#running.size + this.#ended.length;
  }

  /**
   * Spawns a task in the set as soon as the limit allows it, first come, first served. Returns its AbortHandle.
   * Awaiting it throws Error once the set is disposed, and TypeError when `work` is not work or an option is bad.
   * Cancel safe: if it is cancelled, it has spawned nothing.
   */
  spawn(work: IntoFuture<T>, options: SpawnOptions = {}): Future<AbortHandle> {
    return new SpawnWhenRoom(
      this.#room,
      () => this.#start(work, options),
      () => this.#joiners.wakeAll(), // with no task left, the joiners must return `done`
    );
  }

  /**
   * Waits for the next task to end and returns `{ done: false, value }`. Returns `{ done: true }` when no task is
   * left and no `spawn` waits. Throws the error of a task that failed. Skips tasks that were aborted. Cancel safe:
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

  /** Aborts all tasks without waiting. Reports failures that `joinNext` has not thrown. Later spawns throw. */
  [Symbol.dispose](): void {
    this.#room.close(new Error("JoinSet.spawn: this set was disposed"));
    this.abortAll();
    for (const member of this.#ended.splice(0)) member.report();
    this.#joiners.wakeAll();
  }

  /** Does what `shutdown` does, for `await using`. A cancellation does not cut it short. */
  async [Symbol.asyncDispose](): Promise<void> {
    this[Symbol.dispose](); // now: `shutdown` disposes at its first poll, which a cancelled function may never reach
    await shield(this.shutdown());
  }

  /** Iterates over the results of `joinNext`, for `for await`. Throws the error of a task that failed. */
  [Symbol.asyncIterator](): AsyncIterator<T> {
    return { next: () => this.joinNext().then() as Promise<IteratorResult<T>> };
  }

  *#shutdown(): Coroutine<void> {
    this[Symbol.dispose]();
    yield* this.joinNext(); // completes when the last task ends, because a disposed set keeps no results
  }

  /** Starts a task. The caller holds its permit, which the task releases when it ends. */
  #start(work: IntoFuture<T>, options: SpawnOptions): AbortHandle {
    if (this.#room.closed !== null) throw this.#room.closed; // the set was disposed after the permit was granted
    const task = Runtime.current().startTask(work, options);
    this.#running.add(new Member(task, this.#onEnd));
    return new AbortHandle(task);
  }

  readonly #onEnd = (member: Member<T>): void => {
    this.#running.delete(member);
    if (this.#room.closed === null) this.#ended.push(member);
    else member.report(); // the set was disposed, so no joinNext will throw the failure
    this.#joiners.wakeAll();
    this.#room.release(1);
  };

  /** Removes and returns the first ended task that was not aborted; null when no task is left and none will start. */
  #nextEnded(): Member<T> | null | Pending {
    for (;;) {
      const member = this.#ended.shift();
      if (member === undefined) break;
      if (this.size === 0) this.#joiners.wakeAll(); // the other joiners may have to return `done` now
      if (!member.isAborted) return member;
    }
    // Between the end of a task and the start of the task that waits for its permit, the set is empty but not done.
    const isMoreToCome = this.#room.closed === null && this.#room.isAwaited;
    return this.#running.size === 0 && !isMoreToCome ? null : Pending;
  }

  /** Puts back a result that did not reach its awaiter. The next `joinNext` returns it. */
  #putBack(member: Member<T>): void {
    if (this.#room.closed !== null) return;
    this.#ended.unshift(member);
    this.#joiners.wakeAll();
  }
}

/** Waits for a permit of the set, then starts a task that holds the permit. */
class SpawnWhenRoom extends Acquire<AbortHandle> {
  readonly #start: () => AbortHandle;
  readonly #onNotStarted: () => void;
  #isStarted = false;

  constructor(room: Permits, start: () => AbortHandle, onNotStarted: () => void) {
    super(room, 1);
    this.#start = start;
    this.#onNotStarted = onNotStarted;
  }

  override get runsUserCode(): boolean {
    return true; // the task that it starts inherits the current AsyncLocalStorage context
  }

  protected override hold(): AbortHandle {
    try {
      const handle = this.#start();
      this.#isStarted = true;
      return handle;
    } catch (error) {
      this.permits.release(1); // no task will release it
      throw error;
    }
  }

  protected override release(): void {
    super.release();
    if (!this.#isStarted) this.#onNotStarted();
  }

  override describe(): string {
    return "room in a join set";
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

  /** Reports the failure of the ended task, if it failed. */
  report(): void {
    const { failure, name, runtime } = this.#task;
    if (failure !== null) runtime.report(failure.error, `task ${name}`);
  }

  override wake(): void {
    this.#onEnd(this);
  }

  override openWakeFd(): WakeFd {
    throw new Error("a member of a join set has no eventfd: only its task wakes it");
  }
}
