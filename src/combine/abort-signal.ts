// abortSignal: an AbortSignal for the running work, which the cancellation of that work aborts.
//
// Invariants:
// - The signals of work are keyed by what cancels it: the owner of an async function, else the context of the poll. So
//   work that never asks for a signal stores nothing, and nothing is left of work that ends normally.
// - An Await is a context that is reused. Its serial tells its uses apart.

import { Context } from "../core/context.ts";
import { current, currentContextOrNull } from "../core/current.ts";
import { AbortError } from "../core/future.ts";
import { host } from "../core/host.ts";

interface Entry {
  /** The serial of the context; 0 for an owner. */
  readonly serial: number;
  /** One, except that a context also has those of a work function that it called and that returned a future. */
  readonly controllers: AbortController[];
}

/** null until the first signal: a cancellation of work without signals costs one comparison. */
let entries: WeakMap<object, Entry> | null = null;

const serialOf = (key: object): number => (key instanceof Context ? key.serial : 0);

function entryOf(key: object): Entry | null {
  const entry = entries?.get(key);
  return entry !== undefined && entry.serial === serialOf(key) ? entry : null;
}

function entryFor(key: object): Entry {
  const known = entryOf(key);
  if (known !== null) return known;
  const entry = { serial: serialOf(key), controllers: [] };
  entries ??= new WeakMap();
  entries.set(key, entry);
  return entry;
}

/**
 * Returns an AbortSignal that is aborted when the running work is cancelled. Pass it to a function that is not of this
 * library, such as `fetch`. Each call in the same work returns the same signal, until a cancellation. It is never aborted
 * once the work has ended by itself, and then leaves nothing behind.
 *
 * The work is the innermost of: a task, an async function that was given as work, and a piece of work that a
 * combinator, a scope or an `await` runs. The reason of the signal is the error of the canceller, such as a
 * TimeoutError, else an AbortError. The signal is aborted before the cleanup of the work begins. In that cleanup,
 * `abortSignal()` returns another signal, which nothing aborts, because a cancellation is delivered once. Inside
 * `shield`, a cancellation from outside does not abort it. Outside any work, and in code that its work left running,
 * nothing aborts the signal: so a function that passes it on may be called anywhere.
 *
 * @example
 * const page = await timeout(1000, async () => {
 *   const response = await fetch("http://127.0.0.1:3000/", { signal: abortSignal() });
 *   return await response.text();
 * });
 */
export function abortSignal(): AbortSignal {
  const work = host.currentOwner() ?? currentContextOrNull();
  if (work === null) return new AbortController().signal;
  const { controllers } = entryFor(work);
  controllers[0] ??= new AbortController();
  return controllers[0].signal;
}

/** Aborts the signals of the work that `key` cancels. Each cancellation of work calls it before the cleanup begins. */
export function abortSignalsOf(key: object): void {
  if (entries === null) return;
  const entry = entryOf(key);
  if (entry === null) return;
  entries.delete(key);
  const reason = cancelReasonOr("the work was cancelled");
  for (const controller of entry.controllers) controller.abort(reason);
}

/** Returns the error of the cancellation in progress; if it has none, an AbortError with this message. */
export function cancelReasonOr(message: string): unknown {
  return current.cancelReason ?? new AbortError(message);
}

/** Moves the signals of `from` to `to`, which cancels that work from now on. */
export function moveSignals(from: object, to: object): void {
  const entry = entryOf(from);
  if (entry === null) return;
  entries?.delete(from);
  const { controllers } = entryFor(to);
  if (controllers.length === 0) controllers.push(new AbortController()); // the first one is that of `to` itself
  controllers.push(...entry.controllers);
}
