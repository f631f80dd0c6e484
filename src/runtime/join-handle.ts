// JoinHandle: the future of a task's result. Any number of tasks may await it, and each await is a Join of its own.

import { checkConstructor } from "../base/check.ts";
import { Context, type TaskRef } from "../core/context.ts";
import { Future } from "../core/future.ts";
import { Leaf } from "../core/leaf.ts";
import { Pending, type Poll } from "../core/poll.ts";
import { AbortHandle } from "./abort-handle.ts";
import { Task } from "./task.ts";

/** One awaiter's wait for a task. */
export class Join<T> extends Leaf<T> {
  protected readonly task: Task<T>;
  /** The task counts on this wait to receive its failure. */
  #hasClaim = false;
  /** The task belongs to a runtime other than the one that polls this wait. */
  #isInOtherRuntime = false;

  constructor(task: Task<T>) {
    super();
    this.task = task;
  }

  /** Claims the task's failure for this awaiter now instead of at its first poll. Dropping the wait ends the claim. */
  claim(): void {
    this.#hasClaim = true;
    this.task.join(this, null);
  }

  override poll(cx: Context): Poll<T> {
    // Claim before the attempt: the coop budget may defer the attempt, and this awaiter owns the failure in any case.
    if (!this.#hasClaim && !this.isEnded && this.task.isEnded) this.claim();
    return super.poll(cx);
  }

  protected override attempt(cx: Context): Poll<T> {
    const { task } = this;
    if (!task.isEnded) {
      this.#hasClaim = true;
      task.join(this, cx.target);
      this.#isInOtherRuntime = task.runtime !== cx.runtime;
      if (this.#isInOtherRuntime) task.runtime.enterGuestMode(); // nothing may drive that runtime yet
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

  /** The task whose end this waits for. */
  get holders(): readonly TaskRef[] {
    return [this.task];
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

/**
 * The wait of the task's owner: an OwningWaiter (not declared, because the published declarations leave out the fields of
 * a Waiter). Cancelling it aborts the task and waits until the task has ended.
 */
export class OwnedTask<T> extends Join<T> {
  get ownerContext(): Context | null {
    return this.target instanceof Context ? this.target : null;
  }

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

/** What `abortOnDrop` returns: it owns the task and its value. A value that it does not pass on goes back to the work. */
class SoleOwner<T> extends OwnedTask<T> {
  override drop(): void {
    if (this.isEnded) return;
    super.drop();
    this.task.disown();
  }

  override reclaim(): void {
    this.task.disown();
    this.task.leave(this); // receiving the value was a claim
  }
}

/**
 * The result of a spawned task. `yield* handle` returns the task's value. It throws what the task threw, or an
 * AbortError (or the given reason) if the task was aborted. Any task may await it, any number of times, before or
 * after the end. Awaiting it is cancel safe: giving up leaves the task running.
 *
 * Dropping a handle detaches the task: it keeps running. A `using` that ends also detaches it. To end a task with
 * the code that spawned it, spawn it in a `scope` or await it through `abortOnDrop`.
 *
 * @example
 * const handle = spawn(function* () { yield* sleep(10); return 42; });
 * const answer = yield* handle;
 */
export class JoinHandle<T> extends Future<T> {
  readonly #task: Task<T>;
  /** The wait of code that polls the handle itself. Each `yield*` and `await` has a Join of its own. */
  #polledJoin: Join<T> | null = null;

  private constructor(task: Task<T>) {
    super();
    checkConstructor(task, Task, "JoinHandle", "spawn(work)");
    this.#task = task;
  }

  /** @internal */
  static create<T>(task: Task<T>): JoinHandle<T> {
    return new JoinHandle(task);
  }

  /** The number of the task in its runtime: 1, 2, 3, ... */
  get id(): number {
    return this.#task.id;
  }

  /** The task's name; `#id` unless it was given one. */
  get name(): string {
    return this.#task.name;
  }

  /** True once the task has completed, failed, or been aborted with its cleanup done. */
  get isFinished(): boolean {
    return this.#task.isEnded;
  }

  /** True once the task has ended because it was aborted. */
  get isAborted(): boolean {
    return this.#task.isAborted;
  }

  /**
   * Cancels the task. A coroutine unwinds at its next suspension. In an async function, what it awaits is cancelled,
   * and each of those awaits throws an AbortError; later awaits work, so cleanup may wait. Awaiting the handle
   * throws an AbortError once the cleanup is done. A task that was never polled never starts. Does nothing once
   * the task has ended.
   */
  abort(): void {
    this.#task.abort();
  }

  /** Returns a handle that can abort and inspect the task, but not join it. */
  abortHandle(): AbortHandle {
    return AbortHandle.create(this.#task);
  }

  /**
   * Returns the result as a future that owns the task: dropping the future aborts the task. A combinator that
   * drops it, such as `timeout`, also waits until the task's cleanup is done. If the task has completed, and its value
   * is a connection, a guard or a message that nobody has received, then the connection is closed, the guard is
   * released, or the message goes back to its channel. Awaiting the handle then throws an AbortError.
   *
   * @example
   * const text = yield* timeout(1000, spawn(() => readLine(stream)).abortOnDrop());
   */
  abortOnDrop(): Future<T> {
    return new SoleOwner(this.#task);
  }

  /** Lets the process exit in guest mode before the task has ended, like `unref()` of a timer. Returns the handle. */
  unref(): this {
    this.#task.setRef(false);
    return this;
  }

  /** Undoes `unref`. Returns the handle. */
  ref(): this {
    this.#task.setRef(true);
    return this;
  }

  /** Gives up the result. The task keeps running. If it fails, `onUncaught` decides what happens. */
  detach(): void {
    this.drop();
  }

  /** @internal `JoinHandle #4 (waiting: sleep, 37 ms left)` */
  override inspectLine(): string {
    return `JoinHandle ${this.#task.summary}`;
  }

  /** @internal */
  override get isHandle(): boolean {
    return true;
  }

  override poll(cx: Context): Poll<T> {
    const join = this.#polledJoin ?? new Join(this.#task);
    this.#polledJoin = null; // before the poll, which may throw: the next poll then starts a new wait
    const value = join.poll(cx);
    if (value === Pending) this.#polledJoin = join;
    return value;
  }

  override drop(): void {
    this.#polledJoin?.drop();
    this.#polledJoin = null;
  }

  override [Symbol.iterator](): Future<T> {
    return new Join(this.#task);
  }

  /** Each await has a wait of its own, so cancelling one leaves the others alone. */
  // biome-ignore lint/suspicious/noThenProperty: a future is a thenable
  override then<A = T, B = never>(
    onFulfilled?: ((value: T) => A | PromiseLike<A>) | null,
    // biome-ignore lint/suspicious/noExplicitAny: PromiseLike declares it so
    onRejected?: ((reason: any) => B | PromiseLike<B>) | null,
  ): Promise<A | B> {
    const join = new Join(this.#task);
    join.claim();
    return join.then(onFulfilled, onRejected);
  }
}
