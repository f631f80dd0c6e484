// What channels and locks may be told, and its checks.

import { describe } from "../core/describe.ts";

/** What channels and locks may be told. */
export interface SyncOptions {
  /** Shown by `runtime.tasks()` and in deadlocks. */
  readonly name?: string;
}

export function checkCount(count: unknown, what: string): asserts count is number {
  if (typeof count !== "number" || !Number.isSafeInteger(count) || count < 1) {
    throw new RangeError(`${what} must be a positive integer; got ${describe(count)}`);
  }
}
