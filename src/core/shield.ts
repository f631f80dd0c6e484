// shield: work that cancellation waits for.

import type { Context } from "./context.ts";
import { Future } from "./future.ts";
import { type IntoFuture, intoFuture } from "./into-future.ts";
import { Pending, type Poll } from "./poll.ts";

export class Shield<T> extends Future<T> {
  readonly #work: Future<T>;
  /** The context of the last poll: who to hand it to. null before the first, and after its end. */
  #cx: Context | null = null;
  /** The runtime drives what is left of it. */
  #isHandedOver = false;

  constructor(work: Future<T>) {
    super();
    this.#work = work;
  }

  override get runsWork(): boolean {
    return true;
  }

  override poll(cx: Context): Poll<T> {
    this.#cx = cx;
    let isOver = true;
    try {
      const value = this.#work.poll(cx);
      isOver = value !== Pending;
      return value;
    } finally {
      if (isOver) this.#cx = null;
    }
  }

  /** Work that has begun is finished; its value has nobody to go to, its error is reported. */
  override pollCancel(cx: Context): Poll<void> {
    if (this.#cx === null) return this.#work.pollCancel(cx);
    try {
      const value = this.poll(cx);
      if (value === Pending) return Pending;
      this.#work.reclaim(value);
    } catch (error) {
      cx.runtime.report(error, `shielded work in task ${cx.task.name}`);
    }
  }

  override reclaim(value: T): void {
    this.#work.reclaim(value);
  }

  override drop(): void {
    if (this.#cx === null) this.#work.drop();
    else if (!this.#isHandedOver) {
      this.#isHandedOver = true;
      this.#cx.runtime.finishCleanup(this);
    }
  }
}

/**
 * `work` that, once begun, is done to its end: cancellation waits for it. Before its first poll it can
 * be dropped like any other. In the cleanup of an async function it is what may still be awaited.
 *
 * @example
 * try {
 *   await work();
 * } finally {
 *   await shield(stream.writeAll("bye\n"));
 * }
 */
export function shield<T>(work: IntoFuture<T>): Future<T> {
  return new Shield(intoFuture(work));
}
