// The runtime that holds this thread by `blockOn`.

import type { RuntimeRef } from "../../core/context.ts";

/**
 * `runtime` is the one whose innermost `blockOn` is on the stack; null in guest mode. Only this runtime can run what
 * is awaited meanwhile. A guest does not count: its turn may run microtasks of any code. (A field, because compiled
 * code checks a module variable that changes at each use.)
 */
export const driving: { runtime: RuntimeRef | null } = { runtime: null };

/** Sets it, and returns what to restore. */
export function swapDriving(next: RuntimeRef | null): RuntimeRef | null {
  const previous = driving.runtime;
  driving.runtime = next;
  return previous;
}
