// Microtasks: promise reactions, which this library runs itself while it holds the thread, or while it
// performs an async function.

import { current } from "../../core/current.ts";

let drainMicrotasks: (() => void) | null = null;

/** Whether promises have taken part in this thread: until then there is nothing to drain. */
export function usesPromises(): boolean {
  return drainMicrotasks !== null;
}

/** From now on microtasks are drained. */
export function usePromises(): void {
  drainMicrotasks ??= (
    process.getBuiltinModule("bun:jsc" as "fs") as unknown as typeof import("bun:jsc")
  ).drainMicrotasks;
}

/**
 * Runs promise reactions. They are anyone's, so no poll and no cancellation is in progress meanwhile: the owner
 * of each is known by its AsyncLocalStorage (storage.ts).
 */
export function drain(): void {
  const { context, cancelReason } = current;
  current.context = null;
  current.cancelReason = undefined;
  try {
    drainMicrotasks?.();
  } finally {
    current.context = context;
    current.cancelReason = cancelReason;
  }
}
