// An eventfd that several threads write to. No thread writes to it after it was closed: by then the kernel may
// have given its number to another file.
//
// Each write and the close hold a lock in shared memory (sys/threads.ts). Closing keeps the lock for good.

import type { Sys } from "../../sys/sys.ts";
import { lockAs } from "../../sys/threads.ts";

/** What another thread needs to write to the eventfd. Structured clone can copy it. */
export interface SharedEventfd {
  readonly fd: number;
  readonly lock: BigInt64Array;
}

const CLOSED = -1n;

/** Returns the lock in the first two integers of `shared`. */
export function lockIn(shared: Int32Array): BigInt64Array {
  return new BigInt64Array(shared.buffer, 0, 1);
}

/** Runs `write` unless the eventfd is closed, and keeps other threads from closing it meanwhile. */
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

export function isClosed(lock: BigInt64Array): boolean {
  return Atomics.load(lock, 0) === CLOSED;
}

/**
 * Closes the lock after waiting, for an instant, until no thread writes. Returns false if it was closed
 * already; otherwise the caller must close the fd.
 */
export function closeLocked(sys: Sys, lock: BigInt64Array): boolean {
  return lockAs(lock, CLOSED, (holder) => sys.isThreadAlive(holder));
}
