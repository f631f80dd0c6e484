// Spare: a leaf future that has completed, kept to be used again, so that a task that reads and writes
// in a loop allocates nothing. (Measured: what is new is cold. Two futures per echo, read and written
// once, cost 3 to 4 % of its time, most of that in cache misses.)
//
// What must hold: nobody who still knows it by its earlier use can disturb the later one.
//
// - It is kept only if it completed in a `yield*`, and for the context of that poll alone. (Combinators and
//   async functions hold on to the futures they poll: what they polled is not used again.)
// - Only code of that context takes it, and that is one thread of control: while it waits for the later
//   use, none of its code runs but cleanup, and unwinding drops what is waited for before any cleanup.
// - But the later use may go to another task, while a `using` of this one still drops the earlier:
//   `using a = s.read(x); yield* a; spawn(s.read(y))`. So what `using` has taken is not kept.
// - And the earlier may be dropped before the later is polled: `b = s.read(y); a.drop()`. So one that is used
//   again ignores drops until then; it holds nothing yet.
// - It lets go of the caller's buffer, or message, when it completes; a context holds one of each kind.

import { current } from "./context.ts";
import { made, pollOnce } from "./future.ts";
import type { Waiting } from "./waiting.ts";

let kinds = 0;

/** The spare futures of one class: one per context at the most. */
export class Spares<F extends Waiting<unknown>> {
  readonly #kind = kinds++;

  /** One to be used again by the task that is running, which nobody else has from now on; or null. */
  take(): F | null {
    const spares = current.context?.spares;
    const future = spares?.[this.#kind] as F | null | undefined;
    if (future == null) return null;
    spares![this.#kind] = null;
    // Awaited by promise once, it would give that one again.
    if (future.isHeld || future.isAdopted) return null;
    future.useAgain();
    return future;
  }

  /** What `yield*` gets from `future`, which is kept if that is its completion. */
  next<T>(future: F & Waiting<T>): IteratorResult<symbol, T> {
    const result = pollOnce<T>(future);
    // In debug mode each future has a place where it was made, and so is one of its own.
    if (result.done === true && made.hook === null) {
      const cx = current.context;
      if (cx !== null) {
        cx.spares ??= new Array<null>(kinds).fill(null);
        cx.spares[this.#kind] = future;
      }
    }
    return result;
  }
}
