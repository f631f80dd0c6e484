// What a waker wakes, and the eventfd behind it. The runtime implements both; core knows the interfaces.

/** An eventfd with a reference count. The last `release` closes it. */
export interface WakeFd {
  readonly fd: number;
  retain(): void;
  release(): void;
  /** Records that the fd number was given out: from here on anyone may write to it. */
  expose(): void;
  /** A handle for another thread, with a count of its own. */
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
  /** Opened on first use (in eager mode: with the task). null before that, and after the end. */
  wakeFd: WakeFd | null = null;
  abstract wake(): void;
  /** Opens `wakeFd` unless it is open. Throws when the target has ended. */
  abstract openWakeFd(): WakeFd;
}
