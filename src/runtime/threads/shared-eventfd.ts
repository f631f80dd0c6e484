// An eventfd that other threads write to, and that is never written to once it was closed: by then
// its number may be another file's.
//
// One word of shared memory is its lock: OPEN; or the thread that is writing; or CLOSED, for ever. A
// Worker may be terminated while it holds the lock (one that does little else is so every other time):
// who waits for long looks in /proc whether the holder is still there, and takes the lock from a dead one.
// The kernel gives a dead thread's tid to a new one, so a thread is named by its tid and its start, which
// together are given once.

/** What another thread needs to write to it; structured-cloneable. */
export interface SharedEventfd {
  readonly fd: number;
  readonly lock: BigInt64Array;
}

export function sharedWords(count: number): Int32Array {
  return new Int32Array(new SharedArrayBuffer(count * 4));
}

/** The lock that is in the first two words. */
export function lockIn(words: Int32Array): BigInt64Array {
  return new BigInt64Array(words.buffer, 0, 1);
}

/**
 * The thread that has this `stat` file: its tid in the low 22 bits, which is all a tid has, and its start
 * above. Null if there is none; throws when out of fds. Stands alone, as `lockAs` does.
 */
export function threadAt(path: string): bigint | null {
  const { existsSync, readFileSync } = process.getBuiltinModule("node:fs");
  if (!existsSync(path)) return null; // known without an fd
  const stat = readFileSync(path, "latin1");
  // Field 22 of proc(5), counted from behind the name, which is in parentheses and may hold more of them.
  const start = stat.slice(stat.lastIndexOf(")")).split(" ")[20] as string;
  return (BigInt(start) << 22n) | BigInt(Number.parseInt(stat, 10));
}

/**
 * Takes the lock, and leaves `owner` in it; false if it was closed. Stands alone, with 0 for OPEN and -1 for
 * CLOSED: its source is also sent to the workers of the blocking pool.
 */
export function lockAs(
  lock: BigInt64Array,
  owner: bigint,
  find: (path: string) => bigint | null,
): boolean {
  const isDead = (thread: bigint): boolean => {
    try {
      return find(`/proc/self/task/${thread & 0x3fffffn}/stat`) !== thread;
    } catch {
      return false; // not known: out of fds, or it is dying just now
    }
  };
  for (let tries = 1; ; tries++) {
    const holder = Atomics.compareExchange(lock, 0, 0n, owner);
    if (holder === 0n) return true;
    if (holder === -1n) return false;
    // A write takes a microsecond. Who holds it for longer has lost its core, which it may be waiting
    // to get from us, or is dead.
    if (tries < 100) Atomics.pause();
    else if (Atomics.wait(lock, 0, holder, 1) === "timed-out" && isDead(holder)) {
      if (Atomics.compareExchange(lock, 0, holder, owner) === holder) return true;
    }
  }
}

/** Runs `write` if the eventfd is open, and keeps others from closing it meanwhile. */
export function writeLocked(lock: BigInt64Array, thread: bigint, write: () => void): void {
  if (!lockAs(lock, thread, threadAt)) return;
  try {
    write();
  } finally {
    Atomics.store(lock, 0, 0n);
  }
}

const CLOSED = -1n;

export function isClosed(lock: BigInt64Array): boolean {
  return Atomics.load(lock, 0) === CLOSED;
}

/** Waits out who is writing (an instant), then nobody writes any more. False if it was closed before. */
export function closeLocked(lock: BigInt64Array): boolean {
  return lockAs(lock, CLOSED, threadAt);
}
