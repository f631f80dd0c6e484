// Threads that share memory: how they identify each other, and a lock that survives the death of its holder.
//
// Helper threads run this code, too. A Worker that starts from text (text-worker.ts) imports none of our modules,
// so it receives `threadIdentity` and `lockAs` as source text. Each may use only globals and its own parameters: a
// bundler may rename module-level names.

/** Returns `count` 32-bit integers in memory that other threads can share. */
export function sharedInts(count: number): Int32Array {
  return new Int32Array(new SharedArrayBuffer(count * 4));
}

/**
 * Blocks this thread while `ints[index]` is `value`, for `timeoutMs` at most, until another thread changes and notifies
 * it. Returns the new value.
 */
export function waitWhile(
  ints: Int32Array,
  index: number,
  value: number,
  timeoutMs: number,
): number {
  Atomics.wait(ints, index, value, timeoutMs);
  return Atomics.load(ints, index);
}

/** Identifies threads of this process through `/proc`. */
export interface ThreadIdentity {
  /** Returns the identity of the calling thread. Throws Error where `/proc` is not mounted. */
  currentThread(): bigint;
  /** Returns false if `thread` has ended. Returns true when in doubt: without a free fd, or while the thread ends. */
  isThreadAlive(thread: bigint): boolean;
}

/**
 * Returns the part of `Sys` that identifies threads, for the calling thread.
 *
 * The kernel reuses the tid of a dead thread. So an identity combines the tid (at most 22 bits, in the low bits) with
 * the thread's start time. The pair never repeats.
 */
export function threadIdentity(): ThreadIdentity {
  /** Reads proc_pid_stat(5). Returns null if no such thread exists; throws when out of fds. */
  const threadAt = (path: string): bigint | null => {
    const { existsSync, readFileSync } = process.getBuiltinModule("node:fs"); // only when needed: loading takes time
    if (!existsSync(path)) return null; // needs no fd
    const stat = readFileSync(path, "latin1");
    // Field 22. Count from the end of the thread's name: it is in parentheses and may contain spaces and parentheses.
    const start = stat.slice(stat.lastIndexOf(")")).split(" ")[20] as string;
    return (BigInt(start) << 22n) | BigInt(Number.parseInt(stat, 10));
  };
  let current: bigint | null = null;
  return {
    currentThread() {
      current ??= threadAt("/proc/thread-self/stat");
      if (current !== null) return current;
      const message =
        "currentThread: /proc must be mounted; wakers and jobs of other threads need it";
      throw Object.assign(new Error(message), { code: "ERR_NO_PROC" });
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
 * Acquires `lock` for the thread `owner`; -1 closes the lock for good. Returns false if the lock was closed already.
 * Blocks while a living thread holds it.
 *
 * The lock is one 64-bit integer: 0 while free, the identity of its holder while held, or -1 once closed. A Worker may
 * be terminated while it holds the lock: half the time, if it does little else. So after a while a waiter checks that
 * the holder is alive, and takes the lock over from a dead holder.
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
    // The holder needs a microsecond. If it takes longer, it is dead, or the scheduler has taken its core away,
    // possibly to run us. So sleep, which frees the core.
    if (tries < 100) Atomics.pause();
    else if (Atomics.wait(lock, 0, holder, 1) === "timed-out" && !isThreadAlive(holder)) {
      if (Atomics.compareExchange(lock, 0, holder, owner) === holder) return true;
    }
  }
}
