// Owner: an async function given as work, as the futures it awaits may know it.

import type { Context } from "../../core/context.ts";
import type { Future } from "../../core/future.ts";

/** Owns the futures that its async function awaits. */
export interface Owner {
  /** The context of its latest poll. */
  readonly cx: Context | null;
  /** True once the function returned or threw by itself: what its code awaits from then on is not its own. */
  readonly hasEndedByItself: boolean;
  /** Makes `future` a child, and returns the promise that the function awaits. */
  adopt(future: Future<unknown>): Promise<unknown>;
}
