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
 * Runs `write` if the eventfd is open, and keeps others from closing it meanwhile. Stands alone: its
 * source is also sent to the workers of the blocking pool.
 */
export function writeLocked(
  lock: Int32Array,
  tid: number,
  isThread: (tid: number) => boolean,
  write: () => void,
): boolean {
  for (let tries = 1; ; tries++) {
    const holder = Atomics.compareExchange(lock, 0, 0, tid);
    if (holder === 0) break;
    if (holder === -1) return false;
    const isDead = tries % 1000 === 0 && !isThread(holder);
    if (isDead && Atomics.compareExchange(lock, 0, holder, tid) === holder) break;
  }
  try {
    write();
  } finally {
    Atomics.store(lock, 0, 0);
  }
  return true;
}

const CLOSED = -1;

export function isClosed(lock: Int32Array): boolean {
  return Atomics.load(lock, 0) === CLOSED;
}

/** Waits out who is writing (an instant), then nobody writes any more. False if it was closed before. */
export function closeLocked(lock: Int32Array): boolean {
  for (let tries = 1; ; tries++) {
    const holder = Atomics.compareExchange(lock, 0, 0, CLOSED);
    if (holder === 0) return true;
    if (holder === CLOSED) return false;
    const isDead = tries % 1000 === 0 && !isThread(holder);
    if (isDead && Atomics.compareExchange(lock, 0, holder, CLOSED) === holder) return true;
  }
}

export function isThread(tid: number): boolean {
  return process.getBuiltinModule("node:fs").existsSync(`/proc/self/task/${tid}`);
}
