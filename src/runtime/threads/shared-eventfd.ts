// An eventfd that several threads write to. No thread writes to it after it was closed, because the kernel may have
// given its number to another file by then.
//
// Each write and the close hold a lock in shared memory (sys/threads.ts). Closing keeps the lock for good.

import type { Sys } from "../../sys/sys.ts";
import { lockAs } from "../../sys/threads.ts";

/** The data that another thread needs to write to the eventfd. Structured clone can copy it. */
export interface SharedEventfd {
  readonly fd: number;
  readonly lock: BigInt64Array;
}

const CLOSED = -1n;

/** Returns the lock in the first two integers of `shared`. */
export function lockIn(shared: Int32Array): BigInt64Array {
  return new BigInt64Array(shared.buffer, 0, 1);
}

/** Runs `write` unless the eventfd is closed. No other thread can close it meanwhile. `thread` is the calling one. */
export function writeLocked(
  sys: Sys,
  lock: BigInt64Array,
  thread: bigint,
  write: () => void,
): void {
  if (!lockAs(lock, thread, (holder) => sys.isThreadAlive(holder))) return;
  try {
    write();
  } finally {
    Atomics.store(lock, 0, 0n);
  }
}

/** Returns true if the lock, and with it the eventfd, is closed. */
export function isClosed(lock: BigInt64Array): boolean {
  return Atomics.load(lock, 0) === CLOSED;
}

/**
 * Closes the lock. Blocks for about a microsecond if another thread is writing. Returns true if the caller must now
 * close the fd, and false if the lock was closed already.
 */
export function closeLocked(sys: Sys, lock: BigInt64Array): boolean {
  return lockAs(lock, CLOSED, (holder) => sys.isThreadAlive(holder));
}
