// JoinHandle: the future of a task's result, for any number of awaiters.

import type { Context } from "../core/context.ts";
import { Future } from "../core/future.ts";
import { Leaf } from "../core/leaf.ts";
import { Pending, type Poll } from "../core/poll.ts";
import { AbortHandle } from "./abort-handle.ts";
import type { Task } from "./task.ts";

/** One awaiter's wait for a task. */
export class Join<T> extends Leaf<T> {
  protected readonly task: Task<T>;
  /** The task counts on this wait to receive its failure. */
  #hasClaim = false;
  /** The task belongs to another runtime than the one that polls this wait. */
  #isInOtherRuntime = false;

  constructor(task: Task<T>) {
    super();
    this.task = task;
  }

  /** Claims the task's failure for this awaiter from now on, not only from the first poll, until it is dropped. */
  claim(): void {
    this.#hasClaim = true;
    this.task.join(this, null);
  }

  override poll(cx: Context): Poll<T> {
    // If the budget defers the attempt, the failure belongs to this awaiter all the same.
    if (!this.#hasClaim && !this.isEnded && this.task.isEnded) this.claim();
    return super.poll(cx);
  }

  protected override attempt(cx: Context): Poll<T> {
    const { task } = this;
    if (!task.isEnded) {
      this.#hasClaim = true;
      task.join(this, cx.target);
      this.#isInOtherRuntime = task.runtime !== cx.runtime;
      if (this.#isInOtherRuntime) task.runtime.enterGuestMode(); // perhaps nothing has driven it yet
      return Pending;
    }
    this.#hasClaim = false;
    const outcome = task.takeOutcome()!; // set: the task has ended
    if ("error" in outcome) throw outcome.error;
    return outcome.value;
  }

  get isInOtherRuntime(): boolean {
    return this.#isInOtherRuntime;
  }

  override describe(): string {
    return `join ${this.task.name}${this.#isInOtherRuntime ? ", a task of another runtime" : ""}`;
  }

  protected override release(): void {
    if (!this.#hasClaim) return;
    this.#hasClaim = false;
    this.task.leave(this);
  }
}

/** The wait of the task's owner. Cancelling it aborts the task and waits for its end. */
export class OwnedTask<T> extends Join<T> {
  override pollCancel(cx: Context): Poll<void> {
    this.task.abort();
    if (!this.task.isEnded && this.poll(cx) === Pending) return Pending;
    this.drop();
  }

  override drop(): void {
    this.task.abort();
    super.drop();
  }
}

/**
 * The result of a spawned task. `yield* handle` gives its value, or throws what it failed with: from
 * any task, as often as you like, whenever it ended. Dropping a handle detaches the task, and so does
 * `using`: it goes on. What is to end with its spawner goes into a `scope`, or is awaited by `abortOnDrop`.
 * Awaiting it is cancel safe.
 *
 * @example
 * const handle = spawn(function* () { yield* sleep(10); return 42; });
 * const answer = yield* handle;
 */
export class JoinHandle<T> extends Future<T> {
  readonly #task: Task<T>;
  /** The wait of those who poll the handle itself; `yield*` makes one of its own each time. */
  #own: Join<T> | null = null;

  constructor(task: Task<T>) {
    super();
    this.#task = task;
  }

  /** The task's number: 1, 2, 3, … in its runtime. */
  get id(): number {
    return this.#task.id;
  }

  /** The task's name; `#id` if it was given none. */
  get name(): string {
    return this.#task.name;
  }

  /** True once the task has completed, failed, or been aborted with its cleanup over. */
  get isFinished(): boolean {
    return this.#task.isEnded;
  }

  /** True once it has ended because it was aborted. */
  get isAborted(): boolean {
    return this.#task.isAborted;
  }

  /**
   * Cancels the task at its next suspension. To await the handle then throws an AbortError, once its
   * cleanup is over. A task that was never polled never starts; one that has ended is not changed.
   */
  abort(): void {
    this.#task.abort();
  }

  /** Returns a handle that can abort and inspect the task, but not join it. */
  abortHandle(): AbortHandle {
    return new AbortHandle(this.#task);
  }

  /**
   * The result, for one who owns the task: when this future is dropped, by a `timeout` say, the task is
   * aborted; a combinator that drops it waits for the end of its cleanup, too.
   *
   * @example
   * const text = yield* timeout(1000, spawn(() => readLine(stream)).abortOnDrop());
   */
  abortOnDrop(): Future<T> {
    return new OwnedTask(this.#task);
  }

  /** Guest mode: the task does not keep the process alive; as on Bun's timers. */
  unref(): this {
    this.#task.setRef(false);
    return this;
  }

  /** Takes `unref` back. */
  ref(): this {
    this.#task.setRef(true);
    return this;
  }

  /** Gives up interest in the result: the task goes on by itself. For its failure see `onUncaught`. */
  detach(): void {
    this.drop();
  }

  override poll(cx: Context): Poll<T> {
    const own = this.#own ?? new Join(this.#task);
    this.#own = null; // also when it throws: the next poll is a new wait
    const value = own.poll(cx);
    if (value === Pending) this.#own = own;
    return value;
  }

  override drop(): void {
    this.#own?.drop();
    this.#own = null;
  }

  override [Symbol.iterator](): Future<T> {
    return new Join(this.#task);
  }

  /** Each who awaits it has a wait of its own: one that is cancelled takes nothing from the others. */
  // biome-ignore lint/suspicious/noThenProperty: as Future has it
  override then<A = T, B = never>(
    onFulfilled?: ((value: T) => A | PromiseLike<A>) | null,
    // biome-ignore lint/suspicious/noExplicitAny: as PromiseLike has it
    onRejected?: ((reason: any) => B | PromiseLike<B>) | null,
  ): Promise<A | B> {
    const join = new Join(this.#task);
    join.claim();
    return join.then(onFulfilled, onRejected);
  }
}
