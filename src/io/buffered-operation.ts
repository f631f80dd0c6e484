// StreamUse: what the operations of one BufReader or BufWriter share, and the operation of the stream that they await.
// BufferedOperation: the leaf that the reads and the writes have in common.
//
// Invariant: only the owner awaits the operation of the stream. It ends the use when it ends, however it ends.

import type { Blocker, Context } from "../core/context.ts";
import { current } from "../core/current.ts";
import type { Future } from "../core/future.ts";
import { Leaf } from "../core/leaf.ts";
import { Pending, type Poll } from "../core/poll.ts";

export abstract class StreamUse<O, T> {
  /** The operation that waits. */
  owner: O | null = null;
  /** True if an operation of the stream runs user code. Until the first one, assume so. */
  runsUserCode = true;
  /** What the owner waits for. */
  blocker: Blocker | null = null;
  private inner: Future<T> | null = null;

  /** True while an operation of the stream has begun and has not ended. */
  protected get hasBegun(): boolean {
    return this.inner !== null;
  }

  /** Begins an operation of the stream. Must be called only while none has begun. */
  protected begin(inner: Future<T>): void {
    this.inner = inner;
    this.runsUserCode = inner.runsUserCode;
  }

  /** Polls the operation that has begun. Throws what the stream throws. */
  protected advance(cx: Context): Poll<T> {
    const inner = this.inner!; // begun
    let value: Poll<T> = Pending;
    let hasEnded = true;
    try {
      // Awaited like this, the leaf is reusable. We keep no reference to it after its end.
      if (current.context === cx) {
        const result = inner.next();
        if (result.done === true) value = result.value;
      } else value = inner.poll(cx);
      hasEnded = value !== Pending;
    } finally {
      if (hasEnded) this.inner = null;
    }
    if (value === Pending) this.blocker = cx.blockedOn;
    return value;
  }

  /** Cancels the operation of the stream, if one waits. Returns Pending until its cleanup is done. */
  pollCancel(cx: Context): Poll<void> {
    return this.inner?.pollCancel(cx);
  }

  /** Ends the use by the owner: drops the operation of the stream, if one waits. */
  release(): void {
    const { inner } = this;
    this.owner = this.inner = this.blocker = null;
    inner?.drop();
  }
}

export abstract class BufferedOperation<T, S extends StreamUse<object, unknown>> extends Leaf<T> {
  protected readonly shared: S;

  constructor(shared: S) {
    super();
    this.shared = shared;
  }

  override get runsUserCode(): boolean {
    return this.shared.runsUserCode;
  }

  /** The name of the method of BufReader or BufWriter, for messages. */
  protected abstract get method(): string;

  protected override release(): void {
    if (this.shared.owner === this) this.shared.release();
  }

  /** The stream may be a user's, and the cleanup of its operation may wait. */
  override pollCancel(cx: Context): Poll<void> {
    let isPending = false;
    try {
      isPending = this.shared.owner === this && this.shared.pollCancel(cx) === Pending;
    } finally {
      if (!isPending) this.drop();
    }
    if (!isPending) return;
    cx.blockedOn = this;
    return Pending;
  }

  get parts(): readonly Blocker[] {
    const { owner, blocker } = this.shared;
    return owner === this && blocker !== null ? [blocker] : [];
  }

  override describe(): string {
    const wait = this.shared.owner === this ? this.shared.blocker?.describe() : undefined;
    return wait === undefined ? this.method : `${this.method}: ${wait}`;
  }

  get isInOtherRuntime(): boolean {
    return this.shared.owner === this && (this.shared.blocker?.isInOtherRuntime ?? false);
  }
}
