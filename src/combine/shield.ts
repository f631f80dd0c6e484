// shield: work that cancellation does not interrupt.

import type { Context } from "../core/context.ts";
import { wakeOwner } from "../core/current.ts";
import type { Future } from "../core/future.ts";
import { type IntoFuture, takeWork } from "../core/into-future.ts";
import { type Outcome, Pending, type Poll } from "../core/poll.ts";
import { Combinator } from "./combinator.ts";

class Shield<T> extends Combinator<null, T> {
  /** The context of the latest poll of the work; null before the first. */
  private cx: Context | null = null;

  constructor(work: Future<T>) {
    super();
    this.children.isShielded = true;
    this.children.add(null, work);
  }

  protected override onValue(_: null, value: unknown): void {
    this.outcome = { value: value as T };
  }

  protected override pollChildren(cx: Context): void {
    this.cx = cx;
    super.pollChildren(cx);
  }

  /**
   * If the work has begun, polls it to its end; otherwise cancels it. No awaiter is left, so `finish` handles the
   * outcome.
   */
  override pollCancel(cx: Context): Poll<void> {
    if (this.cx === null) return super.pollCancel(cx);
    if (this.isEnded) return;
    if (this.finish(cx) === Pending) return Pending;
    this.end();
  }

  override drop(): void {
    const { cx } = this;
    if (this.isEnded || cx === null) {
      super.drop();
      return;
    }
    this.end(); // for its owner
    cx.runtime.finishCleanup((cleanup) => this.finish(cleanup));
    wakeOwner(cx);
  }

  /** Polls the work after its awaiter was cancelled. Reclaims its value, or reports its error. */
  private finish(cx: Context): Poll<void> {
    if (this.outcome === null) this.pollChildren(cx);
    const outcome = this.outcome as Outcome<T> | null; // the poll may have set it
    if (outcome === null) {
      cx.blockedOn = this;
      return Pending;
    }
    if ("error" in outcome) {
      cx.runtime.report(outcome.error, `shielded work in task ${cx.task.name}`);
    }
    this.reclaim();
  }
}

/**
 * Protects `work` from cancellation once it has begun. Returns its value or throws its error. A canceller that
 * can wait waits until the work has ended; after `drop()`, the runtime finishes it as a task. Then the value is
 * discarded and an error is reported. Work that is dropped before its first poll never starts. Inside, `abortSignal()` is not
 * aborted from outside, and `timeRemaining()` ignores outer deadlines. Throws TypeError when `work` is not work.
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
  return new Shield(takeWork(work, "shield: work"));
}
