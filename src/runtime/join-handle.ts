// JoinHandle: the future of a task's result, for any number of awaiters.

import type { Context } from "../core/context.ts";
import { Future, polledAfterEnd } from "../core/future.ts";
import { Pending, type Poll } from "../core/poll.ts";
import { ENDED, Waiting } from "../core/waiting.ts";
import { ofAnother } from "./errors.ts";
import type { Task } from "./task.ts";

/** For those who answer for a task themselves (scope.ts, join-set.ts); not for users. */
export let taskOf: <T>(handle: JoinHandle<T>) => Task<T>;

/** One awaiter's wait for a task. */
export class Join<T> extends Waiting<T> {
  protected readonly task: Task<T>;
  /** The task counts on it to take a failure. */
  #isJoined = false;

  constructor(task: Task<T>) {
    super();
    this.task = task;
  }

  /** From now on, and not only from the first poll, a failure is this awaiter's, until it is dropped. */
  claim(): void {
    this.#isJoined = true;
    this.task.join(this, null);
  }

  override poll(cx: Context): Poll<T> {
    if (this.isEnded) throw polledAfterEnd("the wait for a task");
    const { task } = this;
    if (!task.isEnded) {
      this.#isJoined = true;
      task.join(this, cx.target);
      cx.waitsOn = this;
      if (task.runtime !== cx.runtime) {
        task.runtime.beGuest(); // perhaps nobody has driven it yet
        cx.waitsOn = { waitsOn: () => `${this.waitsOn()}, ${ofAnother}` };
      }
      return Pending;
    }
    if (cx.isExhausted()) {
      // The budget puts it off; until then the failure is this awaiter's, as if it had joined before the end.
      if (!this.#isJoined) this.claim();
      return Pending;
    }
    this.life = ENDED;
    this.#isJoined = false;
    cx.runtime.budget--;
    const outcome = task.take()!; // set: it has ended
    if ("error" in outcome) throw outcome.error;
    return outcome.value;
  }

  override waitsOn(): string {
    return `join ${this.task.name}`;
  }

  override drop(): void {
    this.life = ENDED;
    if (!this.#isJoined) return;
    this.#isJoined = false;
    this.task.leave(this);
  }
}

/** The wait of one whose task it is: to cancel this is to abort the task, and to wait for its end. */
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
  static {
    taskOf = (handle) => handle.#task;
  }

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
