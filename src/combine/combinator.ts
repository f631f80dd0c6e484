// Combinator: a future made of futures. It is over when its outcome is known *and* what it no longer
// needs is gone, cleanup included.

import type { Blocker, Context } from "../core/context.ts";
import { Future, polledAfterEnd } from "../core/future.ts";
import { type Outcome, Pending, type Poll } from "../core/poll.ts";
import { Children, type Parent } from "./children.ts";

export abstract class Combinator<K, T> extends Future<T> implements Parent<K>, Blocker {
  protected readonly children: Children<K> = new Children<K>();
  /** Set once it is known; then the children that are left are cancelled. */
  protected outcome: Outcome<T> | null = null;
  /** Completed, failed, cancelled or dropped. */
  protected isEnded = false;
  /** Values that children gave, with those of them who take them back; null while there are none. */
  #given: { future: Future<unknown>; value: unknown }[] | null = null;

  /** A child gave this. Sets `outcome` when that is known. */
  protected abstract onValue(key: K, value: unknown): void;

  onChildValue(key: K, value: unknown, future: Future<unknown>): void {
    this.keep(future, value);
    this.onValue(key, value);
  }

  /** As a rule its failure is the outcome. */
  onChildError(_key: K, error: unknown): void {
    this.outcome ??= { error };
  }

  /** A child gave this. Until it is passed on it may have to go back. */
  protected keep(future: Future<unknown>, value: unknown): void {
    if (future.reclaim === Future.prototype.reclaim) return;
    this.#given ??= [];
    this.#given.push({ future, value });
  }

  get isDecided(): boolean {
    return this.outcome !== null;
  }

  /** Told of each child that was cancelled or dropped, after that. */
  protected get onLeftBehind(): ((key: K) => void) | undefined {
    return undefined;
  }

  override get runsUserCode(): boolean {
    return true;
  }

  override poll(cx: Context): Poll<T> {
    if (this.isEnded) throw polledAfterEnd("a combinator");
    if (cx.isExhausted()) return Pending;
    if (this.outcome === null) this.pollChildren(cx);
    if (this.isEnded) {
      // A child of it has dropped it: nobody is left to wake its owner.
      this.reclaim();
      const outcome = this.outcome as Outcome<T> | null;
      if (outcome !== null && "error" in outcome) throw outcome.error;
      throw polledAfterEnd("a combinator");
    }
    if (this.outcome === null || this.children.pollCancel(cx, this.onLeftBehind) === Pending) {
      cx.blockedOn = this;
      return Pending;
    }
    this.end();
    cx.charge(); // its children may have charged nothing, and a loop may catch an error
    if ("error" in this.outcome) {
      this.reclaim();
      throw this.outcome.error;
    }
    return this.outcome.value;
  }

  /** What its children gave goes back to them, the last first: messages of one channel keep their order. */
  override reclaim(): void {
    for (const { future, value } of this.#given?.toReversed() ?? []) future.reclaim(value);
    this.#given = null;
  }

  protected pollChildren(cx: Context): void {
    this.children.poll(cx, this);
  }

  override pollCancel(cx: Context): Poll<void> {
    if (this.isEnded) return;
    if (this.children.pollCancel(cx, this.onLeftBehind) === Pending) {
      cx.blockedOn = this;
      return Pending;
    }
    this.end();
    this.reclaim();
  }

  override drop(): void {
    if (this.isEnded) return;
    this.end();
    try {
      this.children.drop(this.onLeftBehind);
    } finally {
      this.reclaim(); // also when a drop has thrown
    }
  }

  /** It is over, whichever way. */
  protected end(): void {
    this.isEnded = true;
  }

  describe(): string {
    return this.children.describe();
  }

  get isInOtherRuntime(): boolean {
    return this.children.isInOtherRuntime;
  }
}
