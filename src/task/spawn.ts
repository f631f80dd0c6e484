// spawn and spawnBlocking: start tasks from code that a runtime is polling.

import type { IntoFuture } from "../core/into-future.ts";
import type { SpawnBlocking } from "../runtime/blocking/call.ts";
import type { JoinHandle } from "../runtime/join-handle.ts";
import type { SpawnOptions } from "../runtime/options.ts";
import { Runtime } from "../runtime/runtime.ts";

/**
 * Makes `work` a task of the current runtime and returns its handle. The task starts at the runtime's next turn.
 * Dropping the handle detaches the task, which keeps running. If the task fails and no code joins it, the
 * runtime's `onUncaught` receives the error. Throws TypeError when `work` is not work, or an option is bad, and
 * Error once the runtime is disposed.
 *
 * Outside a poll, the task belongs to the ambient runtime (`Runtime.ambient()`), which does not run while
 * another runtime's `blockOn` holds the thread. There, call `runtime.spawn` instead.
 *
 * @example
 * const page = spawn(() => load("a page"), { name: "loader" });
 * console.log(yield* page);
 */
export function spawn<T>(work: IntoFuture<T>, options?: SpawnOptions): JoinHandle<T> {
  return Runtime.currentOrAmbient().spawn(work, options);
}

/**
 * Calls a blocking function (a long computation, `Bun.spawnSync`, a synchronous read) in a Worker, and returns
 * a handle to its result. Other tasks run meanwhile. The runtime's option `blockingThreads` limits how many calls
 * run at once. Outside a poll, the rules of `spawn` apply: call `runtime.spawnBlocking` to choose the runtime.
 *
 * Only the source of `fn` is sent to the Worker, so `fn` must not refer to outer variables. Pass what it
 * needs as arguments. Structured clone must be able to copy the arguments and the result. To call a function of
 * a module, pass the URL of the module and the name of its export.
 *
 * Throws TypeError at once for a function, URL or argument that cannot be sent. Awaiting the handle throws what
 * the function throws: with its message, name, stack, cause and cloneable properties, as an instance of the
 * built-in class that the error's class extends. It throws SysError (EMFILE) when no Worker runs and the process
 * has too few fds to start one.
 *
 * Aborting the task before the call has begun prevents the call. A call that has begun runs to its end, and its
 * result is discarded. A `timeout`, `race` or `withSignal` only stops waiting for the handle. Where callers give
 * up, pass `handle.abortOnDrop()`, so that abandoned calls do not delay later ones.
 *
 * In a bundle, and in an executable of `bun build --compile`, `fn` can import `node:` and `bun:` modules but no
 * files or packages, because the bundler has rewritten its imports. Pass a module URL instead, and list the module:
 * `bun build --compile main.ts jobs.ts`. A URL without its extension (`./jobs`) also works in a bundle, where the
 * file is `jobs.js`.
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
