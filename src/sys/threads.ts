// Threads that share memory: how they identify each other, and the lock that survives the death of its holder.
//
// Helper threads run this code, too. A Worker that starts from text (text-worker.ts) imports none of our modules,
// so `threadIdentity` and `lockAs` travel as source text: each stands alone and uses only globals and its own
// parameters. A bundler that renames module-level names then cannot break them.

/** Returns `count` 32-bit integers in memory that other threads can share. */
export function sharedInts(count: number): Int32Array {
  return new Int32Array(new SharedArrayBuffer(count * 4));
}

/** A thread of this process, as `/proc` identifies it. */
export interface ThreadIdentity {
  /** Returns the calling thread. Throws Error where `/proc` is not mounted. */
  currentThread(): bigint;
  /** Returns false if `thread` has ended. Returns true when in doubt: out of fds, or while it is dying. */
  isThreadAlive(thread: bigint): boolean;
}

/**
 * Returns the part of `Sys` that identifies threads, for the calling thread.
 *
 * The kernel reuses the tid of a dead thread. So an identity combines the tid, in the low 22 bits that a tid can
 * have, with the thread's start time. Together they never repeat.
 */
export function threadIdentity(): ThreadIdentity {
  /** Reads proc_pid_stat(5). Returns null if no such thread exists; throws when out of fds. */
  const threadAt = (path: string): bigint | null => {
    const { existsSync, readFileSync } = process.getBuiltinModule("node:fs"); // only when needed: loading takes time
    if (!existsSync(path)) return null; // needs no fd
    const stat = readFileSync(path, "latin1");
    // Field 22. Count from behind the thread's name: it is in parentheses and may contain more of them.
    const start = stat.slice(stat.lastIndexOf(")")).split(" ")[20] as string;
    return (BigInt(start) << 22n) | BigInt(Number.parseInt(stat, 10));
  };
  let current: bigint | null = null;
  return {
    currentThread() {
      current ??= threadAt("/proc/thread-self/stat");
      if (current !== null) return current;
      throw new Error(
        "currentThread: /proc must be mounted; wakers and jobs of other threads need it",
      );
    },
    isThreadAlive(thread) {
      try {
        return threadAt(`/proc/self/task/${thread & 0x3fffffn}/stat`) === thread;
      } catch {
        return true;
      }
    },
  };
}

/**
 * Acquires `lock` for `owner`, a thread or -1 to close the lock for good. Returns false if it was closed
 * already. Blocks while a living thread holds it.
 *
 * The lock is one 64-bit integer: 0 while it is open, the identity of the thread that holds it, or -1 once it is
 * closed. A Worker may be terminated while it holds the lock; a Worker that does little else is, every other
 * time. So a waiter that waits for long checks that the holder is alive, and takes the lock from a dead one.
 */
export function lockAs(
  lock: BigInt64Array,
  owner: bigint,
  isThreadAlive: (thread: bigint) => boolean,
): boolean {
  for (let tries = 1; ; tries++) {
    const holder = Atomics.compareExchange(lock, 0, 0n, owner);
    if (holder === 0n) return true;
    if (holder === -1n) return false;
    // The holder needs a microsecond. If it takes longer, it has lost its core, which it may be waiting to get
    // from us, or it is dead.
    if (tries < 100) Atomics.pause();
    else if (Atomics.wait(lock, 0, holder, 1) === "timed-out" && !isThreadAlive(holder)) {
      if (Atomics.compareExchange(lock, 0, holder, owner) === holder) return true;
    }
  }
}
