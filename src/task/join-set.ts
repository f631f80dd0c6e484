// JoinSet: tasks whose results are taken in the order in which they end.

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

/** What a {@link JoinSet} may be told. */
export interface JoinSetOptions {
  /** Tasks that may run at once; without one, any number. */
  readonly limit?: number;
}

/**
 * A set of tasks. `using` aborts those that are left; `await using`, and `shutdown`, also wait for
 * their cleanup. It keeps each result until that is taken: for tasks whose results nobody takes (the
 * connections of a server) use a `scope`, in which each catches what it may fail with.
 *
 * @example
 * using set = new JoinSet<Page>({ limit: 10 });
 * for (const url of urls) yield* set.spawn(() => load(url)); // waits while ten are running
 * for (let next; !(next = yield* set.joinNext()).done; ) show(next.value);
 */
export class JoinSet<T> implements Disposable, AsyncDisposable, AsyncIterable<T> {
  /** Room for tasks, under the limit. */
  readonly #room: Permits;
  /** Those that have not ended. */
  readonly #running: Set<Member<T>> = new Set();
  /** Those that have, and whose results nobody took; the first to end first. */
  #ended: Member<T>[] = [];
  readonly #takers = new WaitQueue();

  /** Throws RangeError if `limit` is no positive integer. */
  constructor(options: JoinSetOptions = {}) {
    const { limit = Number.POSITIVE_INFINITY } = options;
    if (limit !== Number.POSITIVE_INFINITY) checkCount(limit, "options.limit");
    this.#room = new Permits(limit);
  }

  /** How many tasks have not ended, or have and wait to be taken. */
  get size(): number {
    return this.#running.size + this.#ended.length;
  }

  /**
   * Spawns a task of the set, as soon as there is room for it; first come, first served. (What it gives
   * is no JoinHandle: to `await` one is to wait for its task.) Throws when the set was disposed. Cancel
   * safe: dropped, it has spawned nothing.
   */
  spawn(work: IntoFuture<T>, options: SpawnOptions = {}): Future<AbortHandle> {
    return new SpawnIntoSet(
      this.#room,
      () => this.#start(work, options),
      () => this.#takers.wakeAll(), // it may have been the last that they waited for
    );
  }

  /**
   * The result of the next task to end, or `{ done: true }` when there is none left, and none waits for
   * room. Throws what the task failed with; tasks that were aborted are passed over. Cancel safe.
   */
  joinNext(): Future<Next<T>> {
    let taken: Member<T> | null = null;
    const attempt = (): Poll<Next<T>> => {
      const member = this.#nextEnded();
      if (member === Pending) return Pending;
      if (member === null) return { done: true };
      taken = member;
      return { done: false, value: member.result };
    };
    const putBack = (): void => {
      if (taken !== null) this.#putBack(taken);
    };
    return new ReclaimableAttempt(this.#takers, () => "a task of a join set", attempt, putBack);
  }

  /** Aborts all tasks of the set. */
  abortAll(): void {
    for (const member of this.#running) member.abort();
  }

  /**
   * Aborts all, and waits until their cleanup is over; no more can be spawned. Cancel safe: dropped, it
   * waits no more.
   */
  shutdown(): Future<void> {
    return intoFuture(this.#shutdown());
  }

  /** Aborts all, and waits for nothing. Failures that nobody took are reported. */
  [Symbol.dispose](): void {
    this.#room.close(new Error("JoinSet.spawn: this set was disposed"));
    this.abortAll();
    for (const member of this.#ended.splice(0)) member.report();
    this.#takers.wakeAll();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this[Symbol.dispose](); // also where nothing can be awaited any more
    await shield(this.shutdown()); // a function that was cancelled waits, too
  }

  [Symbol.asyncIterator](): AsyncIterator<T> {
    return { next: () => this.joinNext().then() as Promise<IteratorResult<T>> };
  }

  *#shutdown(): Coroutine<void> {
    this[Symbol.dispose]();
    yield* this.joinNext(); // none: what ends from now on is not kept
  }

  /** There is room for it. */
  #start(work: IntoFuture<T>, options: SpawnOptions): AbortHandle {
    if (this.#room.closed !== null) throw this.#room.closed; // after the room was given
    const runtime = Runtime.current();
    const member: Member<T> = new Member(runtime.startTask(work, options), runtime, () => {
      this.#running.delete(member);
      if (this.#room.closed === null) this.#ended.push(member);
      else member.report(); // by a task that was running when it disposed this set
      this.#takers.wakeAll();
      this.#room.release(1);
    });
    this.#running.add(member);
    return member.watch();
  }

  /** The first that has ended; null when there is none left. */
  #nextEnded(): Member<T> | null | Pending {
    for (;;) {
      const member = this.#ended.shift();
      if (member === undefined) break;
      if (this.size === 0) this.#takers.wakeAll(); // those who wait for more wait in vain
      if (!member.isAborted) return member;
    }
    // Between the end of one task and the start of the next that has its room there is none, either.
    const isMoreToCome = this.#room.closed === null && this.#room.isAwaited;
    return this.#running.size === 0 && !isMoreToCome ? null : Pending;
  }

  /** Its result could not be passed on. */
  #putBack(member: Member<T>): void {
    if (this.#room.closed !== null) return;
    this.#ended.unshift(member);
    this.#takers.wakeAll();
  }
}

/** A wait for room, which the task it then starts gives back at its end. */
class SpawnIntoSet extends Acquire<AbortHandle> {
  readonly #start: () => AbortHandle;
  readonly #onGivenUp: () => void;
  #isStarted = false;

  constructor(room: Permits, start: () => AbortHandle, onGivenUp: () => void) {
    super(room, 1);
    this.#start = start;
    this.#onGivenUp = onGivenUp;
  }

  override get runsUserCode(): boolean {
    return true; // of the task, which is spawned here
  }

  protected override hold(): AbortHandle {
    try {
      const task = this.#start();
      this.#isStarted = true;
      return task;
    } catch (error) {
      this.permits.release(1); // there is no task
      throw error;
    }
  }

  protected override release(): void {
    super.release();
    if (!this.#isStarted) this.#onGivenUp();
  }

  override describe(): string {
    return "a join set to have room";
  }
}

/** A task of the set. The task wakes it when it ends. */
class Member<T> extends WakeTarget implements Waiter {
  target: WakeTarget | null = null;
  before: Waiter | null = null;
  after: Waiter | null = null;
  list: object | null = null;
  readonly #task: Task<T>;
  readonly #runtime: Runtime;
  readonly #onEnd: () => void;

  constructor(task: Task<T>, runtime: Runtime, onEnd: () => void) {
    super();
    this.#task = task;
    this.#runtime = runtime;
    this.#onEnd = onEnd;
  }

  get isAborted(): boolean {
    return this.#task.isAborted;
  }

  abort(): void {
    this.#task.abort();
  }

  /** Begins to wait for the end of the task, whose failure belongs to the set. */
  watch(): AbortHandle {
    this.#task.takeOutcome();
    this.#task.join(this, this);
    return new AbortHandle(this.#task);
  }

  /** The result of the task, which has ended. Throws what it failed with. */
  get result(): T {
    const outcome = this.#task.outcome!; // set: it has ended
    if ("error" in outcome) throw outcome.error;
    return outcome.value;
  }

  report(): void {
    const { failure, name } = this.#task;
    if (failure !== null) this.#runtime.report(failure.error, `task ${name}`);
  }

  override wake(): void {
    this.#onEnd();
  }

  override openWakeFd(): WakeFd {
    throw new Error("only its task wakes a member of a join set");
  }
}
