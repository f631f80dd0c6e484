// Tasks, for those inside a poll.

import type { Context } from "./core/context.ts";
import { Future, polledAfterEnd } from "./core/future.ts";
import type { IntoFuture } from "./core/into-future.ts";
import { Pending, type Poll } from "./core/poll.ts";
import { Runtime, type SpawnOptions } from "./runtime/runtime.ts";
import type { JoinHandle } from "./runtime/task.ts";

/** Spawns `work` on the current runtime. Throws outside a poll: use `runtime.spawn` there. */
export function spawn<T>(work: IntoFuture<T>, options?: SpawnOptions): JoinHandle<T> {
  return Runtime.current().spawn(work, options);
}

class YieldNow extends Future<void> {
  #state: "new" | "yielded" | "ended" = "new";

  override poll(cx: Context): Poll<void> {
    if (this.#state === "ended") throw polledAfterEnd("yieldNow()");
    if (this.#state === "yielded") {
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

/** Lets the other ready tasks, and the reactor, go first. Cancel safe. */
export function yieldNow(): Future<void> {
  return new YieldNow();
}
