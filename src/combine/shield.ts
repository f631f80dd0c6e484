// shield: work that cancellation does not interrupt.

import type { Context } from "../core/context.ts";
import { Future, polledAfterEnd } from "../core/future.ts";
import { type IntoFuture, intoFuture } from "../core/into-future.ts";
import { Pending, type Poll } from "../core/poll.ts";

export class Shield<T> extends Future<T> {
  /** null once this future was dropped and the runtime drives the work: the owner sees this future as ended. */
  private work: Future<T> | null;
  /** The context of the latest poll. null before the first poll and after the end. */
  private cx: Context | null = null;

  constructor(work: Future<T>) {
    super();
    this.work = work;
  }

  override get runsUserCode(): boolean {
    return true;
  }

  override poll(cx: Context): Poll<T> {
    if (this.work === null) throw polledAfterEnd("shielded work");
    this.cx = cx;
    let hasEnded = true;
    try {
      const value = this.work.poll(cx);
      hasEnded = value !== Pending;
      return value;
    } finally {
      if (hasEnded) this.cx = null;
    }
  }

  /**
   * If the work has begun, polls it to its end; otherwise cancels it. No awaiter is left, so `finish` handles the
   * outcome.
   */
  override pollCancel(cx: Context): Poll<void> {
    if (this.cx === null) return this.work?.pollCancel(cx);
    this.cx = cx;
    if (finish(this.work!, cx) === Pending) return Pending; // set: the work has begun
    this.cx = null;
  }

  override reclaim(value: T): void {
    this.work?.reclaim(value);
  }

  override drop(): void {
    const work = this.work;
    const cx = this.cx;
    if (work === null || cx === null) {
      work?.drop();
      return;
    }
    this.work = this.cx = null;
    cx.runtime.finishCleanup((cleanup) => finish(work, cleanup));
    cx.wake(); // an owner other than the caller may wait for the end
  }
}

/** Polls work after its awaiter was cancelled. Reclaims its value, or reports its error. */
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
 * Protects `work` from cancellation once it has begun. Returns its value or throws its error. A canceller that
 * can wait waits until the work has ended; after `drop()`, the runtime finishes it as a task. Then the value is
 * discarded and an error is reported. Work that is dropped before its first poll never starts. Throws TypeError
 * when `work` is not work.
 *
 * When a cancellation arrives at `yield* shield(work)` or `await shield(work)`, `work` ends first. Then the coroutine
 * unwinds, or the `await` throws an AbortError. Cleanup that a cancellation has started needs no shield. Cleanup that
 * runs because its block ended normally needs one, or a cancellation can cut it short.
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
