// What a waker wakes, and the eventfd behind it. The runtime implements both; core knows the interfaces.

import { inspectableParts } from "../base/inspect.ts";

/** An eventfd with a reference count. The last `release` closes it. */
export interface WakeFd {
  readonly fd: number;
  retain(): void;
  release(): void;
  /** Records that the user knows the fd number: from now on any code may write to the eventfd. */
  expose(): void;
  /** Returns a handle for another thread, with a reference count of its own. */
  toHandle(): WakerHandle;
}

/** A waker on its way to another thread: plain data for `postMessage`. See `waker.toHandle()`. */
export interface WakerHandle {
  readonly fd: number;
  /** Memory shared by all holders of the eventfd: its lock and its count. See runtime/threads/waker-handle.ts. */
  readonly shared: Int32Array;
  /** 1 once some `Waker.fromHandle` has taken over the count that this handle carries. */
  readonly claim: Int32Array;
  /** The runtime's doorbell. A thread that releases the waker rings it. */
  readonly bell: { readonly fd: number; readonly lock: BigInt64Array };
}

/**
 * What a waker wakes: a task, or one child of a combinator. `wake` only queues. It never polls, never
 * throws, and does nothing after the target has ended.
 */
export abstract class WakeTarget {
  static {
    inspectableParts(WakeTarget, (it) => (it.wakeFd === null ? "no eventfd" : "an eventfd"));
  }

  /** @internal Opened on first use, or with the task if `eventfd` is "eager". null before that, and after the end. */
  wakeFd: WakeFd | null = null;
  abstract wake(): void;
  /** @internal Returns `wakeFd`, and opens it if necessary. Throws Error once the target has ended, SysError when out of fds. */
  abstract openWakeFd(): WakeFd;
}
