// yieldNow: lets the other ready tasks run.

import type { Context } from "../core/context.ts";
import { Future, polledAfterEnd } from "../core/future.ts";
import { Pending, type Poll } from "../core/poll.ts";

/** Not a Leaf: a first poll without budget already yields, and a Leaf would then yield a second time. */
class YieldNow extends Future<void> {
  private state: "new" | "yielded" | "ended" = "new";

  override poll(cx: Context): Poll<void> {
    if (this.state === "ended") throw polledAfterEnd("yieldNow()");
    if (this.state === "yielded") {
      if (cx.isExhausted()) return Pending;
      cx.charge();
      this.state = "ended";
      return;
    }
    this.state = "yielded";
    cx.target.wake();
    return Pending;
  }

  override drop(): void {
    this.state = "ended";
  }
}

/**
 * Suspends the caller until each of the other ready tasks has been polled. Call it between the parts of a long
 * computation, so that other tasks, sockets and timers do not starve. The runtime checks sockets and timers
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
