// Host: what core needs but only the runtime can provide. runtime/runtime.ts installs it.
//
// Every other file of core may import this one, so it imports none that knows it: contexts, futures and
// runtimes appear here as `object`, and the caller states the type.

import type { WakeFd, WakerHandle, WakeTarget } from "./wake-target.ts";

export interface Host {
  /**
   * Calls `start`, which may be or call an async function, as the owner of the futures it awaits. Returns
   * the Future of its promise, or what `start` returned.
   */
  callWork(start: () => unknown): unknown;
  /** The Future of a promise. */
  futureOf(promise: PromiseLike<unknown>): object;
  /** Implements `Future.then`: runs the Future for the async function that awaits it. */
  awaitFuture(future: object, onFulfilled: unknown, onRejected: unknown): Promise<unknown>;
  /** The Context of the async function that is running; null in other code. */
  currentAsyncContext(): object | null;
  /** Runs the promise reactions that are due. Any code may run in them. */
  runMicrotasks(): void;
  /** The RuntimeRef that performs what is awaited outside any other runtime. */
  ambientRuntime(): object;
  /** Turns a handle from another thread into what it wakes. */
  openWakerHandle(handle: WakerHandle): WakeTarget & { wakeFd: WakeFd };
}

function missing(): never {
  throw new Error("no runtime is loaded: import from bun-guillotine, not from one of its files");
}

/** The installed host. Before `installHost`, promises cannot take part. */
export const host: Host & {
  /** In debug mode, called with each future that is created or reused. */
  onFutureCreated: ((future: object) => void) | null;
} = {
  callWork: (start) => start(),
  futureOf: missing,
  awaitFuture: missing,
  currentAsyncContext: () => null,
  runMicrotasks: () => {},
  ambientRuntime: missing,
  openWakerHandle: missing,
  onFutureCreated: null,
};

/** Installs the runtime's half of core, once per thread. */
export function installHost(implementation: Host): void {
  Object.assign(host, implementation);
}
