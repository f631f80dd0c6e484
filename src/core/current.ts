// The current context: set during each poll, and restored after it even if the poll throws.

import { codedError } from "../base/coded-error.ts";
import type { Context } from "./context.ts";
import { host } from "./host.ts";
import type { WakeTarget } from "./wake-target.ts";

/**
 * What the running code belongs to. These are fields of one object rather than module variables, because
 * compiled code checks a changing module variable at each use (5 to 9 instructions), and an echo reads
 * `context` twelve times.
 */
export const current: {
  /**
   * The context of the poll in progress; null outside a poll, and in an async function. The code that polls
   * sets it and restores it in a `finally`.
   */
  context: Context | null;
  /** The error that caused the cancellation in progress; undefined when no error did. */
  cancelReason: unknown;
} = { context: null, cancelReason: undefined };

/**
 * Wakes the owner of a future that was dropped. It may wait for the end, and its next poll throws. Does nothing if the
 * owner itself drops the future.
 */
export function wakeOwner(owner: WakeTarget | null): void {
  if (owner !== null && owner !== current.context) owner.wake();
}

/** Returns the context of the poll in progress or of the running async function; null in other code. */
export function currentContextOrNull(): Context | null {
  return current.context ?? (host.currentAsyncContext() as Context | null);
}

/** Returns the context of the poll in progress or of the running async function. Throws Error in other code. */
export function currentContext(): Context {
  const context = currentContextOrNull();
  if (context === null) {
    throw codedError(
      "ERR_NO_RUNTIME",
      "no runtime is polling here: run this inside runtime.blockOn(function* () { ... }) or a spawned task",
    );
  }
  return context;
}
