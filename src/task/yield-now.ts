// yieldNow: gives the other ready tasks a turn.

import type { Context } from "../core/context.ts";
import { Future, polledAfterEnd } from "../core/future.ts";
import { Pending, type Poll } from "../core/poll.ts";

/** Not a Leaf: after a poll without budget, which yields already, a Leaf would yield once more. */
class YieldNow extends Future<void> {
  #state: "new" | "yielded" | "ended" = "new";

  override poll(cx: Context): Poll<void> {
    if (this.#state === "ended") throw polledAfterEnd("yieldNow()");
    if (this.#state === "yielded") {
      if (cx.isExhausted()) return Pending;
      cx.charge();
      this.#state = "ended";
      return;
    }
    this.#state = "yielded";
    cx.target.wake();
    return Pending;
  }

  override drop(): void {
    this.#state = "ended";
  }
}

/**
 * Suspends the caller until the other ready tasks have had a turn. A long computation calls it between its
 * parts, so that it does not starve other tasks, sockets and timers. The runtime checks sockets and timers
 * after at most 61 polls, and sooner when polls take long. Cancel safe.
 *
 * @example
 * for (const url of urls) {
 *   console.log(url); // part of a long computation
 *   yield* yieldNow();
 * }
 */
export function yieldNow(): Future<void> {
  return new YieldNow();
}
