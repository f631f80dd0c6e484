// Owner: an async function that was given as work, as its awaits know it.

import type { Context, LooseFuture } from "../../core/context.ts";
import type { Future } from "../../core/future.ts";
import type { AwaitResult, Handler } from "./await-result.ts";

/** An Await, without an import cycle. */
interface AwaitRef {
  begin(
    future: Future<unknown>,
    onFulfilled: Handler,
    onRejected: unknown,
    result: AwaitResult,
  ): void;
}

/** Owns the futures that its async function awaits. */
export interface Owner {
  /** The context of its latest poll. */
  readonly cx: Context;
  /** True once the function has ended or was abandoned. What its code awaits later belongs to nobody. */
  readonly isOver: boolean;
  /** True when each await is to be refused. */
  readonly isRefusing: boolean;
  /** Rejects an await of `future`. */
  refuse(
    future: Future<unknown>,
    onFulfilled: Handler,
    onRejected: unknown,
    result: AwaitResult,
  ): void;
  /** Returns what runs the next future that the function awaits. The caller begins it at once. */
  nextAwait(): AwaitRef;
  /** Each await of this owner calls it when it ends. */
  onAwaitEnded(ended: LooseFuture): void;
}
