// shield: work that cancellation waits for.

import type { Context } from "../core/context.ts";
import { Future, polledAfterEnd } from "../core/future.ts";
import { type IntoFuture, intoFuture } from "../core/into-future.ts";
import { Pending, type Poll } from "../core/poll.ts";

export class Shield<T> extends Future<T> {
  /** null once it was dropped, and the runtime drives what is left of it: for its owner it has ended. */
  #work: Future<T> | null;
  /** The context of the last poll: who to hand it to. null before the first, and after its end. */
  #cx: Context | null = null;

  constructor(work: Future<T>) {
    super();
    this.#work = work;
  }

  override get runsUserCode(): boolean {
    return true;
  }

  override poll(cx: Context): Poll<T> {
    if (this.#work === null) throw polledAfterEnd("shielded work");
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
    if (this.#cx === null) return this.#work?.pollCancel(cx);
    this.#cx = cx;
    if (finish(this.#work!, cx) === Pending) return Pending; // it has begun
    this.#cx = null;
  }

  override reclaim(value: T): void {
    this.#work?.reclaim(value);
  }

  override drop(): void {
    const work = this.#work;
    const cx = this.#cx;
    if (work === null || cx === null) {
      work?.drop();
      return;
    }
    this.#work = this.#cx = null;
    cx.runtime.finishCleanup((cleanup) => finish(work, cleanup));
    cx.wake(); // the owner may be another, and wait for its end
  }
}

/** One poll of work that was cancelled. */
function finish<T>(work: Future<T>, cx: Context): Poll<void> {
  try {
    const value = work.poll(cx);
    if (value === Pending) return Pending;
    work.reclaim(value);
  } catch (error) {
    cx.runtime.report(error, `shielded work in task ${cx.task.name}`);
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
