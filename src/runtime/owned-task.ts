// A task as a child: to cancel this future is to abort the task, and to wait for its end. What scopes
// hold.

import type { Context } from "../core/context.ts";
import { Future } from "../core/future.ts";
import { Pending, type Poll } from "../core/poll.ts";
import { type JoinHandle, taskOf } from "./join-handle.ts";
import type { Task } from "./task.ts";

export class OwnedTask<T> extends Future<T> {
  readonly #task: Task<T>;
  readonly #join: Future<T>;

  constructor(handle: JoinHandle<T>) {
    super();
    this.#task = taskOf(handle);
    this.#task.take(); // its failure is its owner's, also if it comes before the first poll of this
    this.#join = handle[Symbol.iterator]();
  }

  /** What it failed with; null if it did not, or only by being aborted. */
  get failure(): { readonly error: unknown } | null {
    const { outcome, isAborted } = this.#task;
    return outcome !== null && "error" in outcome && !isAborted ? outcome : null;
  }

  override poll(cx: Context): Poll<T> {
    return this.#join.poll(cx);
  }

  override pollCancel(cx: Context): Poll<void> {
    this.#task.abort();
    if (!this.#task.isEnded && this.#join.poll(cx) === Pending) return Pending;
    this.#join.drop();
  }

  override drop(): void {
    this.#task.abort();
    this.#join.drop();
  }
}
