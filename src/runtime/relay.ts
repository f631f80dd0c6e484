// Relay: a future that is awaited where no async function of ours is, as a task of its own.

import { cancelStep } from "../core/children.ts";
import type { Context } from "../core/context.ts";
import { AbortError, Future } from "../core/future.ts";
import { Pending, type Poll } from "../core/poll.ts";

/** How the promise of an adopted future is settled. */
export interface Settle<T = unknown> {
  readonly resolve: (value: T) => void;
  readonly reject: (error: unknown) => void;
}

/** Performs a future, and settles its promise. */
export class Relay<T> extends Future<void> {
  readonly #future: Future<T>;
  readonly #settle: Settle<T>;

  constructor(future: Future<T>, settle: Settle<T>) {
    super();
    this.#future = future;
    this.#settle = settle;
  }

  override poll(cx: Context): Poll<void> {
    try {
      const value = this.#future.poll(cx);
      if (value === Pending) return Pending;
      cx.runtime.afterTurn(() => this.#settle.resolve(value));
    } catch (error) {
      cx.runtime.afterTurn(() => this.#settle.reject(error));
    }
  }

  override pollCancel(cx: Context): Poll<void> {
    if (cancelStep(this.#future, cx) === Pending) return Pending;
    this.abandon();
  }

  override drop(): void {
    this.#future.drop();
    this.abandon();
  }

  /** Nobody will poll it any more. Nobody has a handle of its task: nothing else cancels it. */
  abandon(): void {
    this.#settle.reject(new AbortError("the runtime that performed this was disposed"));
  }
}
