// Tasks, for those inside a poll.

import type { Context } from "../core/context.ts";
import { Future, polledAfterEnd } from "../core/future.ts";
import type { IntoFuture } from "../core/into-future.ts";
import { Pending, type Poll } from "../core/poll.ts";
import type { SpawnBlocking } from "../runtime/blocking/call.ts";
import type { JoinHandle } from "../runtime/join-handle.ts";
import type { SpawnOptions } from "../runtime/options.ts";
import { Runtime } from "../runtime/runtime.ts";

/**
 * Spawns `work` on the current runtime; outside a poll, on the ambient one (`Runtime.ambient()`), which
 * stands still while another has the thread: there, use `runtime.spawn`. It starts at the runtime's next
 * turn, and goes on when the handle is dropped. Throws TypeError for what is no work, or a bad option.
 *
 * @example
 * const page = spawn(() => load("a page"), { name: "loader" });
 * console.log(yield* page);
 */
export function spawn<T>(work: IntoFuture<T>, options?: SpawnOptions): JoinHandle<T> {
  return Runtime.currentOrAmbient().spawn(work, options);
}

/**
 * Calls a function that blocks (a long computation, `Bun.spawnSync`, a synchronous read) in a Worker,
 * and gives what it returns; other tasks go on meanwhile. At most `blockingThreads` run at once. Outside
 * a poll it is as with `spawn`: there, use `runtime.spawnBlocking`.
 *
 * Only the source of `fn` travels: it must stand alone, and gets what it needs as arguments, which
 * must be cloneable, as must be what it returns. To call a function of a module, name its URL and its
 * export. Throws TypeError here for what cannot travel. An error that the function throws arrives with
 * its message, name, stack, cause, and the properties that can be cloned; one of a class of your own, as
 * an instance of the built-in class that this extends. Out of fds, to await it throws SysError. A call
 * whose task is aborted before it has begun never does; one that has runs on, its result ignored. A
 * `timeout`, `race` or `withSignal` only waits no more for its handle, as for any: where callers give up,
 * give it `handle.abortOnDrop()`, or the calls that nobody waits for keep the others waiting.
 *
 * In a bundle, and in an executable made by `bun build --compile`, a function that is shipped cannot
 * import files or packages (only `node:` and `bun:` modules): the bundler has rewritten its imports,
 * relative ones and others. Name a module instead, and list it: `bun build --compile main.ts jobs.ts`.
 * Without its extension (`./jobs`) its URL is right in a bundle, too, where the file is `jobs.js`.
 *
 * @example
 * const hash = yield* spawnBlocking((text: string) => Bun.password.hashSync(text), "secret");
 * const sum = yield* spawnBlocking(new URL("./jobs.ts", import.meta.url), "sum", [1, 2, 3]);
 *
 * @example
 * const hash = spawnBlocking((text: string) => Bun.password.hashSync(text), "secret");
 * const inTime = yield* timeout(10_000, hash.abortOnDrop());
 */
export const spawnBlocking: SpawnBlocking = (target: unknown, ...rest: readonly unknown[]) =>
  Runtime.currentOrAmbient().spawnBlocking<never>(
    target as string,
    rest[0] as string,
    ...rest.slice(1),
  );

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
 * Lets the other ready tasks go first. Sockets and timers are looked at after 61 polls at the latest, and
 * sooner after long ones. Cancel safe.
 *
 * @example
 * for (const url of urls) {
 *   console.log(url); // a long computation
 *   yield* yieldNow();
 * }
 */
export function yieldNow(): Future<void> {
  return new YieldNow();
}
