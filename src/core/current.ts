// The current context: set around each poll, restored after it, also after a throw.

import type { Context } from "./context.ts";
import { host } from "./host.ts";

/**
 * The context of the poll in progress; null outside one, also in an async function. Whoever polls sets it
 * and restores it in a `finally`. It is a field because compiled code checks a module variable that changes
 * at each use (5 to 9 instructions), and an echo uses it twelve times.
 */
export const current: {
  context: Context | null;
  /** Why the cancellation in progress happens: the error of what cancels; undefined if there is none. */
  cancelReason: unknown;
} = { context: null, cancelReason: undefined };

/** The context of the poll in progress, or of the async function that is running; null in other code. */
export function currentContextOrNull(): Context | null {
  return current.context ?? (host.currentAsyncContext() as Context | null);
}

/** The context of the poll in progress, or of the async function that is running. Throws in other code. */
export function currentContext(): Context {
  const context = currentContextOrNull();
  if (context === null) {
    throw new Error(
      "no runtime is polling here: run this inside runtime.blockOn(function* () { ... }) or a spawned task",
    );
  }
  return context;
}
