// Host: what core needs but only the runtime can provide. runtime/runtime.ts installs it.
//
// Every other file of core may import this file, so this file imports none of them, except for types without
// imports of their own. Contexts, futures and runtimes appear as `object` here, and the caller casts them.

import { codedError } from "../base/coded-error.ts";
import type { WakeFd, WakerHandle, WakeTarget } from "./wake-target.ts";

/** What core needs from the runtime. (Not to be confused with the simulated hosts of sim/.) */
export interface Host {
  /**
   * Calls `start`, which may be or call an async function, as the owner of the futures it awaits. Returns
   * the Future of its promise, or what `start` returned.
   */
  callWork(start: () => unknown): unknown;
  /** Returns the Future of a promise. `name` says what a task waits for. */
  futureOf(promise: PromiseLike<unknown>, name?: string): object;
  /** Returns the Context of the async function that is running; null in other code. */
  currentAsyncContext(): object | null;
  /** Returns the Owner of the running code, an async function that was given as work; null if it has none. */
  currentOwner(): object | null;
  /**
   * Runs the promise reactions that are due, which may be any user code. Returns false, after waking the target of the
   * Context, if this poll must not run them: it returns Pending.
   */
  runMicrotasks(cx: object): boolean;
  /**
   * Returns the RuntimeRef that runs what the running code starts: that of the poll in progress, else the one that
   * holds the thread, else `preferred` if it is open, else the ambient one.
   */
  currentRuntime(preferred: object | null): object;
  /** Returns the RuntimeRef of the ambient runtime, which runs futures that are awaited outside any other runtime. */
  ambientRuntime(): object;
  /** Returns the target of a handle from another thread. Throws Error when all its wakers were dropped. */
  openWakerHandle(handle: WakerHandle): WakeTarget & { wakeFd: WakeFd };
}

/** Throws the error of a call that needs the runtime when none is loaded. */
export function missing(): never {
  throw codedError(
    "ERR_NO_RUNTIME",
    "no runtime is loaded: import from bun-guillotine, not from one of its files",
  );
}

/** The installed host. Before `installHost`, promises and async functions cannot be awaited. */
export const host: Host & {
  /** In debug mode, called with each future that is created or reused. */
  onFutureCreated: ((future: object) => void) | null;
  /** In debug mode, called when the function `name`, whose purpose is to cancel its work, was given a promise. */
  onPromiseGiven: ((name: string) => void) | null;
} = {
  callWork: (start) => start(),
  futureOf: missing,
  currentAsyncContext: () => null,
  currentOwner: () => null,
  runMicrotasks: () => true,
  currentRuntime: missing,
  ambientRuntime: missing,
  openWakerHandle: missing,
  onFutureCreated: null,
  onPromiseGiven: null,
};

/** Installs what the runtime provides. Called once per thread. */
export function installHost(implementation: Host): void {
  Object.assign(host, implementation);
}
