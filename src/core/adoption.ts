// How promises and async functions take part. runtime/promises/adopt.ts knows how, and sets this.

import type { Future } from "./future.ts";

/** How a promise is settled. */
export interface Settle<T = unknown> {
  readonly resolve: (value: T) => void;
  readonly reject: (error: unknown) => void;
}

interface Adoption {
  /**
   * Calls a function as the owner of the futures it awaits. If it returns a promise, the result is
   * the future of that; else it is what the function returned.
   */
  call(start: () => unknown): unknown;
  /** The future of a promise. */
  ofPromise(promise: PromiseLike<unknown>): Future<unknown>;
  /** The promise of a future, performed for the async function that awaits it. */
  toPromise(future: Future<unknown>): Promise<unknown>;
}

export const adoption: { by: Adoption | null } = { by: null };

export function isThenable(value: unknown): value is PromiseLike<unknown> {
  return (
    typeof value === "object" &&
    value !== null &&
    typeof (value as { then?: unknown }).then === "function"
  );
}
