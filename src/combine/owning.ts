// Owning: work that owns a resource, which is disposed when the work ends, however it ends. A `using` in the work does
// not do that: work that is cancelled before its first poll never runs any code.

import type { Context } from "../core/context.ts";
import { Future, polledAfterEnd } from "../core/future.ts";
import { intoFuture } from "../core/into-future.ts";
import { type Outcome, Pending, type Poll } from "../core/poll.ts";
import { cancelStep } from "./children.ts";

export class Owning<T> extends Future<T> {
  private readonly work: Future<T>;
  /** null once its disposal has begun. */
  private resource: Disposable | AsyncDisposable | null;
  /** The rest of an async disposal. */
  private disposal: Future<void> | null = null;
  /** The outcome of the work, until the resource is disposed. */
  private outcome: Outcome<T> | null = null;
  private isEnded = false;

  constructor(work: Future<T>, resource: Disposable | AsyncDisposable) {
    super();
    this.work = work;
    this.resource = resource;
  }

  override get runsUserCode(): boolean {
    return true;
  }

  override poll(cx: Context): Poll<T> {
    if (this.isEnded) throw polledAfterEnd("work that owns a resource");
    if (this.outcome === null) {
      try {
        const value = this.work.poll(cx);
        if (value === Pending) return Pending;
        this.outcome = { value };
      } catch (error) {
        this.outcome = { error };
      }
    }
    const { outcome } = this;
    try {
      if (this.dispose(cx) === Pending) return Pending;
    } catch (error) {
      this.isEnded = true;
      if ("error" in outcome) throw new SuppressedError(error, outcome.error);
      this.work.reclaim(outcome.value);
      throw error;
    }
    this.isEnded = true;
    if ("error" in outcome) throw outcome.error;
    return outcome.value;
  }

  override pollCancel(cx: Context): Poll<void> {
    if (this.isEnded) return;
    if (this.outcome === null) {
      if (cancelStep(this.work, cx) === Pending) return Pending;
      this.outcome = { error: undefined }; // nobody receives it
    }
    let isPending = false;
    try {
      isPending = this.dispose(cx) === Pending;
    } finally {
      this.isEnded = !isPending;
      if (!isPending) this.giveBack();
    }
    if (isPending) return Pending;
  }

  override drop(): void {
    if (this.isEnded) return;
    this.isEnded = true;
    const { resource } = this;
    this.resource = null;
    try {
      this.work.drop();
    } finally {
      // Without a resource, an async disposal has begun. It continues by itself.
      if (resource !== null && Symbol.dispose in resource) resource[Symbol.dispose]();
      else void resource?.[Symbol.asyncDispose]();
      this.giveBack();
    }
  }

  /** Returns a value that nobody will receive to the work. */
  private giveBack(): void {
    const { outcome } = this;
    if (outcome !== null && "value" in outcome) this.work.reclaim(outcome.value);
  }

  override reclaim(value: T): void {
    this.work.reclaim(value);
  }

  /** Disposes the resource, as `await using` does. Nothing cancels an async disposal that has begun. */
  private dispose(cx: Context): Poll<void> {
    const { resource } = this;
    if (resource !== null) {
      this.resource = null;
      if (Symbol.asyncDispose in resource) {
        this.disposal = intoFuture(async () => await resource[Symbol.asyncDispose]());
      } else resource[Symbol.dispose]();
    }
    return this.disposal?.poll(cx);
  }
}
