// Wakers in other threads: how the count of an eventfd is shared, and how its number crosses.
//
// Structured clone cannot count. So a handle carries one count that is *in flight*: the first
// `fromHandle` of it takes that count over; a later one of the same handle adds one, if the count is
// above zero still, else throws. The task's own side is one count, too. Who takes the count to zero,
// on whichever thread, closes the fd; until then its number is nobody else's.
//
// A terminated Worker gives nothing back. What it held is closed when the runtime is disposed; who
// still holds a waker then finds the lock closed, and its wakes do nothing.

import { type WakeFd, type WakerHandle, WakeTarget } from "../../core/wake-target.ts";
import { linux } from "../../sys/linux.ts";
import type { Sys } from "../../sys/sys.ts";
import { signalEventfd } from "../../sys/sys.ts";
import {
  closeLocked,
  isClosed,
  lockIn,
  type SharedEventfd,
  sharedWords,
  threadAt,
  writeLocked,
} from "./shared-eventfd.ts";

/** Words of a shared waker: the first two are the lock (shared-eventfd.ts). */
const COUNT = 2;
/** Set once another thread has given the fd's number out: from then on anyone may write to it. */
const EXPOSED = 3;

/** The eventfds of a runtime that other threads may hold; each with the task's side as one count. */
export class SharedWakers {
  readonly #sys: Sys;
  readonly #openBell: () => SharedEventfd;
  readonly #all: Map<Int32Array, number> = new Map();

  constructor(sys: Sys, openBell: () => SharedEventfd) {
    this.#sys = sys;
    this.#openBell = openBell;
  }

  /** The shared words of an eventfd of ours, which the task's side still holds. */
  add(fd: number): Int32Array {
    const words = sharedWords(4);
    words[COUNT] = 1;
    this.#all.set(words, fd);
    return words;
  }

  handle(fd: number, words: Int32Array): WakerHandle {
    return handleOf(fd, words, this.#openBell());
  }

  /** The task's side lets go: true if that was the last count, and the fd is the caller's to close. */
  release(words: Int32Array): boolean {
    const isLast = Atomics.sub(words, COUNT, 1) === 1;
    if (isLast) this.#all.delete(words);
    return isLast && closeLocked(lockIn(words));
  }

  /** The doorbell rang: forgets what other threads have closed. */
  prune(): void {
    for (const words of this.#all.keys()) {
      if (isClosed(lockIn(words))) this.#all.delete(words);
    }
  }

  close(): void {
    for (const [words, fd] of this.#all) if (closeLocked(lockIn(words))) this.#sys.close(fd);
    this.#all.clear();
  }
}

/** Whether anyone but the task's own side may write to it: who holds it, or will, or knows its number. */
export function canBeWritten(words: Int32Array): boolean {
  return Atomics.load(words, COUNT) > 1 || Atomics.load(words, EXPOSED) === 1;
}

function handleOf(fd: number, words: Int32Array, bell: SharedEventfd): WakerHandle {
  Atomics.add(words, COUNT, 1); // in flight
  return { fd, shared: words, claim: sharedWords(1), bell };
}

/** This thread, looked up once: threads do not share modules. */
let thisThread: bigint | null = null;

function identify(): bigint {
  thisThread ??= threadAt("/proc/thread-self/stat");
  if (thisThread === null) throw new Error("Waker.fromHandle: needs /proc, which is not mounted");
  return thisThread;
}

/** A task of another thread's runtime. */
class RemoteTarget extends WakeTarget implements WakeFd, SharedEventfd {
  override readonly wakeFd: WakeFd = this;
  readonly fd: number;
  readonly #handle: WakerHandle;
  readonly lock: BigInt64Array;
  readonly #thread: bigint = identify(); // now: it may throw, and `wake` never does

  constructor(handle: WakerHandle) {
    super();
    this.#handle = handle;
    this.lock = lockIn(handle.shared);
    this.fd = handle.fd;
  }

  override wake(): void {
    this.#write(this);
  }

  override openWakeFd(): WakeFd {
    return this;
  }

  expose(): void {
    Atomics.store(this.#handle.shared, EXPOSED, 1);
  }

  toHandle(): WakerHandle {
    return handleOf(this.fd, this.#handle.shared, this.#handle.bell);
  }

  retain(): void {
    Atomics.add(this.#handle.shared, COUNT, 1);
  }

  release(): void {
    const { shared: words, bell } = this.#handle;
    if (Atomics.sub(words, COUNT, 1) === 1 && closeLocked(this.lock)) linux().close(this.fd);
    // The runtime may have slept only because this thread could wake it: it looks again.
    this.#write(bell);
  }

  #write({ fd, lock }: SharedEventfd): void {
    const sys = linux();
    writeLocked(lock, this.#thread, () => signalEventfd(sys, fd));
  }
}

/** How a handle from another thread becomes a target. Part of Host. */
export function openWakerHandle(handle: WakerHandle): RemoteTarget {
  const { shared: words, claim } = handle;
  const target = new RemoteTarget(handle); // first: if it fails, the handle can be taken in later
  if (Atomics.compareExchange(claim, 0, 0, 1) !== 0) {
    let count = Atomics.load(words, COUNT);
    for (;;) {
      if (count === 0) {
        throw new Error("Waker.fromHandle: the waker of this handle was dropped everywhere");
      }
      const seen = Atomics.compareExchange(words, COUNT, count, count + 1);
      if (seen === count) break;
      count = seen;
    }
  }
  return target;
}
