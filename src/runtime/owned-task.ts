// A task as a child: to cancel this future is to abort the task, and to wait for its end. What scopes
// and join sets hold.

import type { Context } from "../core/context.ts";
import { Future } from "../core/future.ts";
import { Pending, type Poll } from "../core/poll.ts";
import type { JoinHandle } from "./join-handle.ts";

export class OwnedTask<T> extends Future<T> {
  readonly handle: JoinHandle<T>;
  readonly #join: Future<T>;
  /** It failed, though not by being aborted. */
  hasFailed = false;
  error: unknown = null;

  constructor(handle: JoinHandle<T>) {
    super();
    this.handle = handle;
    this.#join = handle[Symbol.iterator]();
  }

  override poll(cx: Context): Poll<T> {
    try {
      return this.#join.poll(cx);
    } catch (error) {
      if (!this.handle.isAborted) {
        this.hasFailed = true;
        this.error = error;
      }
      throw error;
    }
  }

  override pollCancel(cx: Context): Poll<void> {
    if (this.handle.isFinished && this.hasFailed) return;
    this.handle.abort();
    try {
      if (this.poll(cx) === Pending) return Pending;
    } catch {} // kept in `error`, or it was the abort
  }

  override drop(): void {
    this.handle.abort();
    this.#join.drop();
  }
}
