// Owner: an async function that was given as work, as its awaits know it.

import type { Context, LooseFuture } from "../../core/context.ts";
import type { Future } from "../../core/future.ts";
import type { AwaitResult, Handler } from "./await-result.ts";

/** Owns the futures that its async function awaits. */
export interface Owner {
  /** The context of its latest poll. */
  readonly cx: Context;
  /** True once the function has ended or was abandoned. What its code awaits later belongs to nobody. */
  readonly isOver: boolean;
  /** Runs `future` for the function, and settles the await. */
  adopt(future: Future<unknown>, onFulfilled: Handler, result: AwaitResult): void;
  /** Each await of this owner calls it when it ends. */
  onAwaitEnded(ended: LooseFuture): void;
}
