// Microtasks: promise reactions. The library runs them itself while it holds the thread, and where its next step
// depends on them, such as after a turn has settled awaits.

import type { Context } from "../../core/context.ts";
import { current } from "../../core/current.ts";
import { host } from "../../core/host.ts";

let drainMicrotasks: (() => void) | null = null;
/** How many calls of `drain` are on the stack: a microtask may poll a future whose poll drains the rest. */
let depth = 0;
/** More than code nests by hand. `Promise.all` of 2000 timeouts would nest 2000, which is more than the stack holds. */
const MAX_DEPTH = 32;

/** Returns true once this thread has used promises. Until then there is nothing to drain. */
export function usesPromises(): boolean {
  return drainMicrotasks !== null;
}

/** Makes `drain` run microtasks from now on. Throws UnsupportedPlatformError outside Bun. */
export function usePromises(): void {
  if (drainMicrotasks !== null) return;
  const jsc = process.getBuiltinModule("bun:jsc" as "fs") as unknown;
  if (jsc === undefined) host.ambientRuntime(); // this is not Bun: the runtime's constructor says so
  ({ drainMicrotasks } = jsc as typeof import("bun:jsc"));
}

/**
 * Runs promise reactions. They may be code of anyone, so no poll and no cancellation counts as in progress meanwhile.
 * The AsyncLocalStorage of a reaction names its owner (storage.ts).
 */
export function drain(): void {
  const { context, cancelReason } = current;
  depth++;
  current.context = null;
  current.cancelReason = undefined;
  try {
    drainMicrotasks?.();
  } finally {
    depth--;
    current.context = context;
    current.cancelReason = cancelReason;
  }
}

/** Returns true when a poll must not call `drain`, after waking its target: the caller returns Pending. */
export function isTooDeep(cx: Context): boolean {
  if (depth < MAX_DEPTH) return false;
  cx.target.wake();
  return true;
}

/**
 * Makes `value` the depth, and returns the former one. A runtime that holds the thread begins at 0: its polls could not
 * drain below another one, and no turn of its own would end that.
 */
export function swapDepth(value: number): number {
  const previous = depth;
  depth = value;
  return previous;
}
