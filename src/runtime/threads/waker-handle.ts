// Wakers in other threads: how threads share the reference count of an eventfd, and how a handle carries the eventfd
// from one thread to another.
//
// Structured clone cannot run code that counts. So a handle carries one count *in flight*. The first `fromHandle` of a
// handle takes over that count. A later `fromHandle` of the same handle adds a count if the total is still above
// zero, and otherwise throws. The task holds one count, too. The thread that brings the count to zero closes the fd;
// until then the kernel does not reuse the fd's number.
//
// A terminated Worker does not release its counts. Disposing the runtime closes the eventfds that the Worker held.
// Other threads that still hold a waker then find the lock closed, and their wakes do nothing.

import { codedError } from "../../base/coded-error.ts";
import { type WakeFd, type WakerHandle, WakeTarget } from "../../core/wake-target.ts";
import { defaultSys } from "../../sys/default.ts";
import type { Sys } from "../../sys/sys.ts";
import { signalEventfd } from "../../sys/sys.ts";
import { sharedInts } from "../../sys/threads.ts";
import {
  closeLocked,
  isClosed,
  lockIn,
  type SharedEventfd,
  writeLocked,
} from "./shared-eventfd.ts";

/** Index of the count in a waker's shared memory. The lock is in the first two integers (shared-eventfd.ts). */
const COUNT = 2;
/** Index of a flag: 1 once user code of another thread has read the fd number. From then on anyone may write to it. */
const EXPOSED = 3;

/** The eventfds of a runtime that other threads may hold. The task of each eventfd holds one count. */
export class SharedWakers {
  private readonly sys: Sys;
  private readonly openBell: () => SharedEventfd;
  /** The fd of each waker by its shared memory. */
  private readonly fds: Map<Int32Array, number> = new Map();

  constructor(sys: Sys, openBell: () => SharedEventfd) {
    this.sys = sys;
    this.openBell = openBell;
  }

  /** Returns new shared memory for `fd`, with the task's count in it. */
  add(fd: number): Int32Array {
    const shared = sharedInts(4);
    shared[COUNT] = 1;
    this.fds.set(shared, fd);
    return shared;
  }

  /** Returns a new handle, with a count in flight. Opens the doorbell, so throws SysError without a free fd. */
  handle(fd: number, shared: Int32Array): WakerHandle {
    return handleOf(fd, shared, this.openBell());
  }

  /** Releases the task's count. Returns true if it was the last: then the caller must close the fd. */
  release(shared: Int32Array): boolean {
    const isLast = Atomics.sub(shared, COUNT, 1) === 1;
    if (isLast) this.fds.delete(shared);
    return isLast && closeLocked(this.sys, lockIn(shared));
  }

  /** Forgets the wakers that other threads have closed. Called when the doorbell rings. */
  prune(): void {
    for (const shared of this.fds.keys()) {
      if (isClosed(lockIn(shared))) this.fds.delete(shared);
    }
  }

  /** Closes all eventfds that no other thread has closed. */
  close(): void {
    for (const [shared, fd] of this.fds) {
      if (closeLocked(this.sys, lockIn(shared))) this.sys.close(fd);
    }
    this.fds.clear();
  }
}

/** Returns true if another thread holds the waker or has read the fd number, or if a handle is in flight. */
export function canBeWritten(shared: Int32Array): boolean {
  return Atomics.load(shared, COUNT) > 1 || Atomics.load(shared, EXPOSED) === 1;
}

function handleOf(fd: number, shared: Int32Array, bell: SharedEventfd): WakerHandle {
  Atomics.add(shared, COUNT, 1); // in flight
  return { fd, shared, claim: sharedInts(1), bell };
}

/** A wake target in another thread: a task of that thread's runtime. */
class RemoteTarget extends WakeTarget implements WakeFd, SharedEventfd {
  override readonly wakeFd: WakeFd = this;
  readonly fd: number;
  readonly lock: BigInt64Array;
  private readonly sent: WakerHandle;
  private readonly sys: Sys = defaultSys();
  private readonly thread: bigint = this.sys.currentThread(); // here, because it may throw, and `wake` must not throw

  constructor(handle: WakerHandle) {
    super();
    this.sent = handle;
    this.lock = lockIn(handle.shared);
    this.fd = handle.fd;
  }

  override wake(): void {
    this.write(this);
  }

  override openWakeFd(): WakeFd {
    return this;
  }

  expose(): void {
    Atomics.store(this.sent.shared, EXPOSED, 1);
  }

  toHandle(): WakerHandle {
    return handleOf(this.fd, this.sent.shared, this.sent.bell);
  }

  retain(): void {
    Atomics.add(this.sent.shared, COUNT, 1);
  }

  release(): void {
    const { shared, bell } = this.sent;
    const isLast = Atomics.sub(shared, COUNT, 1) === 1;
    if (isLast && closeLocked(this.sys, this.lock)) this.sys.close(this.fd);
    // If the runtime sleeps only because this thread could wake it, it must now report a deadlock. So make it check.
    this.write(bell);
  }

  private write({ fd, lock }: SharedEventfd): void {
    writeLocked(this.sys, lock, this.thread, () => signalEventfd(this.sys, fd));
  }
}

/**
 * Returns a wake target for a handle from another thread. Part of Host. Throws Error if every waker of the handle was
 * dropped, or where /proc is not mounted.
 */
export function openWakerHandle(handle: WakerHandle): RemoteTarget {
  const { shared, claim } = handle;
  const target = new RemoteTarget(handle); // first: if it throws, the handle stays unclaimed
  if (Atomics.compareExchange(claim, 0, 0, 1) !== 0) {
    let count = Atomics.load(shared, COUNT);
    for (;;) {
      if (count === 0) {
        throw codedError(
          "ERR_WAKER_CONSUMED",
          "Waker.fromHandle: every waker of this handle was dropped; create a new handle with toHandle()",
        );
      }
      const seen = Atomics.compareExchange(shared, COUNT, count, count + 1);
      if (seen === count) break;
      count = seen;
    }
  }
  return target;
}
