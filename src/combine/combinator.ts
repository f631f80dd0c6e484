// Combinator: a future that polls other futures, its children. When its outcome is known, it cancels
// the children that still run, and ends once they have ended, cleanup included.

import { forAll } from "../base/for-all.ts";
import { type Blocker, blockersOfAll, type Context } from "../core/context.ts";
import { current } from "../core/current.ts";
import { Future, isAbortError, polledAfterEnd } from "../core/future.ts";
import { type Outcome, Pending, type Poll } from "../core/poll.ts";
import { Children, type Parent } from "./children.ts";

export abstract class Combinator<K, T> extends Future<T> implements Parent<K>, Blocker {
  protected readonly children: Children<K> = new Children<K>();
  /** null until the outcome is known. From then on the combinator cancels the remaining children. */
  protected outcome: Outcome<T> | null = null;
  /** True once the combinator has completed, failed, or been cancelled or dropped. */
  protected isEnded = false;
  /** True if the outcome is the failure of a child. */
  private isFailure = false;
  /** The values to give back to the children's futures if this combinator cannot return them. null while empty. */
  private reclaimable: { future: Future<unknown>; value: unknown }[] | null = null;

  /** Called with the value of each child. Sets `outcome` once the outcome is known. */
  protected abstract onValue(key: K, value: unknown): void;

  onChildValue(key: K, value: unknown, future: Future<unknown>): void {
    this.holdForReclaim(future, value);
    this.onValue(key, value);
  }

  /** Makes the first error the outcome. A subclass may override this. */
  onChildError(_key: K, error: unknown): void {
    if (this.outcome !== null) return;
    this.outcome = { error };
    this.isFailure = true;
  }

  /** Keeps `value`, to give it back to `future` if this combinator is cancelled or fails. */
  protected holdForReclaim(future: Future<unknown>, value: unknown): void {
    if (future.reclaim === Future.prototype.reclaim) return;
    this.reclaimable ??= [];
    this.reclaimable.push({ future, value });
  }

  get isDecided(): boolean {
    return this.outcome !== null;
  }

  /** Called with the key of each child that was cancelled or dropped, after that child has ended. */
  protected get onChildCancelled(): ((key: K) => void) | undefined {
    return undefined;
  }

  override get runsUserCode(): boolean {
    return true;
  }

  override poll(cx: Context): Poll<T> {
    if (this.isEnded) throw polledAfterEnd("a combinator");
    if (this.outcome === null) {
      try {
        this.pollChildren(cx);
      } catch (error) {
        this.outcome ??= { error }; // so that the children do not outlive it
      }
    }
    if (this.isEnded) {
      // A child dropped this combinator in its own poll. No child is left to wake the owner, so throw.
      this.reclaim();
      const outcome = this.outcome as Outcome<T> | null;
      if (outcome !== null && "error" in outcome) throw outcome.error;
      throw polledAfterEnd("a combinator");
    }
    if (this.outcome === null || this.cancelRest(cx) === Pending) {
      cx.blockedOn = this;
      return Pending;
    }
    this.end();
    if ("error" in this.outcome) {
      this.reclaim();
      throw this.outcome.error;
    }
    return this.outcome.value;
  }

  /** Cancels the remaining children. If the outcome is an error, that error is the reason of the cancellation. */
  private cancelRest(cx: Context): Poll<void> {
    if (this.children.size === 0) return;
    const previous = current.cancelReason;
    current.cancelReason = this.cancelReason;
    try {
      return this.children.pollCancel(cx, this.onChildCancelled);
    } finally {
      current.cancelReason = previous;
    }
  }

  /** Why the remaining children are cancelled: the error that is the outcome; undefined if it is a value. */
  protected get cancelReason(): unknown {
    const { outcome } = this;
    return outcome !== null && "error" in outcome ? outcome.error : undefined;
  }

  /**
   * Gives the children's values back to the children's futures, the latest value first, so that messages of one
   * channel keep their order.
   */
  override reclaim(): void {
    const { reclaimable } = this;
    if (reclaimable === null) return;
    this.reclaimable = null;
    forAll(reclaimable.toReversed(), ({ future, value }) => future.reclaim(value));
  }

  protected pollChildren(cx: Context): void {
    this.children.poll(cx, this);
  }

  override pollCancel(cx: Context): Poll<void> {
    if (this.isEnded) return;
    if (this.children.pollCancel(cx, this.onChildCancelled) === Pending) {
      cx.blockedOn = this;
      return Pending;
    }
    this.end();
    this.discard(cx);
  }

  override drop(): void {
    if (this.isEnded) return;
    this.end();
    try {
      this.children.drop(this.onChildCancelled);
    } finally {
      this.discard(this.children.parent);
    }
  }

  /** Called when nobody will receive the outcome: gives back the children's values, and reports a child's failure. */
  private discard(cx: Context | null): void {
    this.reclaim();
    const { outcome } = this;
    if (!this.isFailure || outcome === null || !("error" in outcome)) return;
    // An aborted task has not failed. And the reason of a cancellation reaches the canceller anyway.
    if (isAbortError(outcome.error) || outcome.error === current.cancelReason) return;
    cx?.runtime.report(outcome.error, `work in task ${cx.task.name}, which was cancelled,`);
  }

  /** Called when the combinator completes, fails, is cancelled or is dropped. */
  protected end(): void {
    this.isEnded = true;
  }

  describe(): string {
    return this.children.describe();
  }

  get parts(): readonly Blocker[] {
    return blockersOfAll(this.children);
  }

  get isInOtherRuntime(): boolean {
    return this.children.isInOtherRuntime;
  }
}
