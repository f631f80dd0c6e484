// The runtime that holds this thread by `blockOn`.

import type { RuntimeRef } from "../../core/context.ts";
import { currentContextOrNull } from "../../core/current.ts";

/**
 * `runtime` is the runtime of the innermost `blockOn` on the stack; null if there is none. Until that `blockOn`
 * returns, only this runtime can run futures. A guest's turn does not set it, because microtasks of any code may run
 * in the turn. (It is a field, because compiled code checks a module variable that changes at each use.)
 */
export const driving: { runtime: RuntimeRef | null } = { runtime: null };

/**
 * Returns the runtime that runs what the running code starts: that of the poll in progress, else the one that holds
 * the thread. null if there is neither: then it is the ambient one.
 */
export function currentRuntimeOrNull(): RuntimeRef | null {
  return currentContextOrNull()?.runtime ?? driving.runtime;
}

/** Sets the runtime, and returns the previous one for the caller to restore. */
export function swapDriving(next: RuntimeRef | null): RuntimeRef | null {
  const previous = driving.runtime;
  driving.runtime = next;
  return previous;
}
