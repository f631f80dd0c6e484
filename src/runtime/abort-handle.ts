// AbortHandle: aborts and inspects a task without joining it.

import { checkConstructor } from "../base/check.ts";
import { inspectable } from "../base/inspect.ts";
import { Task } from "./task.ts";

/**
 * Aborts and inspects one task. It does not join the task: it neither returns the result nor claims a failure.
 * `handle.abortHandle()` and `joinSet.spawn()` return one.
 *
 * @example
 * const worker = spawn(() => sleep(60_000)).abortHandle();
 * worker.abort();
 * yield* yieldNow();
 * console.log(worker.isAborted); // true
 */
export class AbortHandle {
  static {
    inspectable(AbortHandle, (handle) => `AbortHandle ${handle.#task.summary}`);
  }

  readonly #task: Task<unknown>;

  private constructor(task: Task<unknown>) {
    checkConstructor(task, Task, "AbortHandle", "handle.abortHandle()");
    this.#task = task;
  }

  /** @internal */
  static create(task: Task<unknown>): AbortHandle {
    return new AbortHandle(task);
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
   * Cancels the task, as `abort` of its JoinHandle does. Awaiting the JoinHandle throws `reason`, an AbortError by
   * default, once the cleanup is done. A task that was never polled never starts. Does nothing once the task has
   * ended.
   */
  abort(reason?: unknown): void {
    this.#task.abort(reason);
  }
}
