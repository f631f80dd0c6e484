// The runtime that holds this thread by `blockOn`.

import type { RuntimeRef } from "../../core/context.ts";

/**
 * `runtime` is the runtime of the innermost `blockOn` on the stack; null if there is none. Until that `blockOn`
 * returns, only this runtime can run futures. A guest's turn does not set it, because microtasks of any code may run
 * in the turn. (It is a field, because compiled code checks a module variable that changes at each use.)
 */
export const driving: { runtime: RuntimeRef | null } = { runtime: null };

/** Sets the runtime, and returns the previous one for the caller to restore. */
export function swapDriving(next: RuntimeRef | null): RuntimeRef | null {
  const previous = driving.runtime;
  driving.runtime = next;
  return previous;
}
