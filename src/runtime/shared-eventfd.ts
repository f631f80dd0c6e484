// An eventfd that other threads write to, and that is never written to once it was closed: by then
// its number may be another file's.
//
// One word of shared memory is its lock: OPEN; or the tid of the thread that is writing; or CLOSED,
// for ever. A Worker may be terminated while it holds the lock: who waits for long looks in /proc
// whether the holder is still there, and takes the lock from a dead one.

/** What another thread needs to write to it; structured-cloneable. */
export interface SharedEventfd {
  readonly fd: number;
  /** Word 0 is the lock. */
  readonly lock: Int32Array;
}

export function sharedWords(count: number): Int32Array {
  return new Int32Array(new SharedArrayBuffer(count * 4));
}

/**
 * Takes the lock, and leaves `owner` in it; false if it was closed. Stands alone: its source is also sent
 * to the workers of the blocking pool.
 */
export function lockAs(
  lock: Int32Array,
  owner: number,
  isThread: (tid: number) => boolean,
): boolean {
  for (let tries = 1; ; tries++) {
    const holder = Atomics.compareExchange(lock, 0, 0, owner);
    if (holder === 0) return true;
    if (holder === -1) return false;
    // A write takes a microsecond. Who holds it for longer has lost its core, which it may be waiting
    // to get from us, or is dead.
    if (tries < 100) Atomics.pause();
    else if (Atomics.wait(lock, 0, holder, 1) === "timed-out" && !isThread(holder)) {
      if (Atomics.compareExchange(lock, 0, holder, owner) === holder) return true;
    }
  }
}

/** Runs `write` if the eventfd is open, and keeps others from closing it meanwhile. */
export function writeLocked(lock: Int32Array, tid: number, write: () => void): void {
  if (!lockAs(lock, tid, isThread)) return;
  try {
    write();
  } finally {
    Atomics.store(lock, 0, 0);
  }
}

const CLOSED = -1;

export function isClosed(lock: Int32Array): boolean {
  return Atomics.load(lock, 0) === CLOSED;
}

/** Waits out who is writing (an instant), then nobody writes any more. False if it was closed before. */
export function closeLocked(lock: Int32Array): boolean {
  return lockAs(lock, CLOSED, isThread);
}

export function isThread(tid: number): boolean {
  return process.getBuiltinModule("node:fs").existsSync(`/proc/self/task/${tid}`);
}
