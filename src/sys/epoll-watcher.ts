// EpollThread: watches an epoll fd from a helper thread. A runtime that shares Bun's event loop uses it, because it
// cannot block its own thread in epoll_wait.
//
// An epoll fd can itself be polled. The helper thread blocks in poll(2) on it and notifies this thread through
// Atomics. The helper starts with the first `watch`.
//
// The helper's program is on the kernel's side of the seam: it calls libc itself, because a `Sys` works on one thread
// only. A `Sys` that simulates the kernel replaces the whole helper through `watchEpoll`.
//
// Facts about Bun 1.4.5, and what they mean for this code:
// - `Atomics.waitAsync` does not keep the process alive. A ref'd Worker does. So we ref the helper while a task
//   waits for something the helper can see, and unref it otherwise.
// - A pending top-level await that nothing can settle spins Bun's loop at full speed, with a helper or without
//   one. A ref'd Worker lets the loop sleep. So we ref the helper before we wait for anything else.
// - A Worker blocked in poll(2) ends on `terminate()` and does not delay the process's exit.
//
// Facts about Linux's scheduler, and what they mean for this code:
// - The kernel puts a woken thread on the core of the thread that wakes it, if nothing else wants to run there.
//   Otherwise it picks an idle core, which needs time to wake up (80 µs in a virtual machine). The helper runs on
//   the core of the thread that has just written to one of our sockets and is about to sleep. So the helper first
//   yields to that thread (`sched_yield`) and then has the core to itself: waking a parked runtime took
//   25 µs instead of 110.
// - If the writer does not sleep, it keeps the core for a time slice, which lasts milliseconds. A thread with a
//   short slice of its own (Linux 6.12) is scheduled again sooner. A helper that cannot shorten its slice does
//   not yield.

import { libcNames } from "./libc.ts";
import type { EpollWatcher } from "./sys.ts";
import { startWorker, WORKER_FDS } from "./text-worker.ts";
import { sharedInts } from "./threads.ts";

/** Indexes of two shared counters: how often we asked the helper to wait, and how often it saw an event. */
const ASKED = 0;
const SEEN = 1;

/** How long an unused helper lives. A server that is idle between two requests needs it again soon. */
const REST_MS = 1000;

/** The shortest slice the kernel accepts. */
const SLICE_NANOSECONDS = 100_000;

const helperProgram = `
import { dlopen } from "bun:ffi";
const libcNames = ${libcNames};
let libc;
for (const name of libcNames()) {
  try {
    libc = dlopen(name, {
      poll: { args: ["ptr", "u64", "i32"], returns: "i32" },
      sched_yield: { args: [], returns: "i32" },
      syscall: { args: ["i64", "i64", "ptr", "i64", "i64"], returns: "i64" },
    }).symbols;
    break;
  } catch {}
}
// sched_setattr(2), sched_getattr(2): returns true if this thread's slice could be made short.
function shortenSlice() {
  const [set, get] = process.arch === "arm64" ? [274, 275] : [314, 315];
  const attributes = new BigInt64Array(new ArrayBuffer(56)); // struct sched_attr; element 3 is the slice
  const slice = ${SLICE_NANOSECONDS}n;
  if (libc.syscall(get, 0, attributes, 56, 0) !== 0n) return false;
  attributes[3] = slice;
  if (libc.syscall(set, 0, attributes, 0, 0) !== 0n) return false;
  return libc.syscall(get, 0, attributes, 56, 0) === 0n && attributes[3] === slice;
}
globalThis.onmessage = ({ data: { shared, epollFd } }) => {
  const pollfd = new Int32Array(new ArrayBuffer(8)); // struct pollfd: fd; events, revents
  pollfd[0] = epollFd;
  pollfd[1] = 1; // POLLIN
  const yields = shortenSlice();
  for (let asked = 0; ; ) {
    Atomics.wait(shared, ${ASKED}, asked);
    asked = Atomics.load(shared, ${ASKED});
    while (libc.poll(pollfd, 1, -1) < 0); // EINTR
    if (yields) libc.sched_yield();
    Atomics.add(shared, ${SEEN}, 1);
    Atomics.notify(shared, ${SEEN});
  }
};
`;

export class EpollThread implements EpollWatcher {
  readonly #epollFd: number;
  readonly #onEvent: () => void;
  #helper: Worker | null = null;
  /** Each helper has its own memory: a helper that is terminating may still write to its own. */
  #shared = sharedInts(2);
  /** The helper is in poll(2), or about to enter it. */
  #isWatching = false;
  #restTimer: ReturnType<typeof setTimeout> | undefined;

  constructor(epollFd: number, onEvent: () => void) {
    this.#epollFd = epollFd;
    this.#onEvent = onEvent;
  }

  get fdsToStart(): number {
    return this.#helper === null ? WORKER_FDS : 0;
  }

  watch(isRef: boolean): void {
    this.#endRest();
    const helper = this.#helper ?? this.#start();
    if (isRef) helper.ref();
    else helper.unref();
    if (this.#isWatching) return; // an earlier call asked already, and no event has come since
    this.#isWatching = true;
    const shared = this.#shared;
    const seen = Atomics.load(shared, SEEN);
    Atomics.add(shared, ASKED, 1);
    Atomics.notify(shared, ASKED);
    const wait = Atomics.waitAsync(shared, SEEN, seen);
    if (wait.async) wait.value.then(() => this.#notify(helper));
    else this.#notify(helper);
  }

  rest(): void {
    if (this.#helper === null || this.#restTimer !== undefined) return;
    this.#helper.unref();
    this.#restTimer = setTimeout(() => this.close(), REST_MS);
    this.#restTimer.unref();
  }

  close(): void {
    this.#endRest();
    this.#helper?.terminate();
    this.#helper = null;
    Atomics.notify(this.#shared, SEEN); // ends the pending waitAsync
    this.#isWatching = false;
  }

  #endRest(): void {
    clearTimeout(this.#restTimer);
    this.#restTimer = undefined;
  }

  #notify(helper: Worker): void {
    if (helper !== this.#helper) return; // `close` has terminated this helper meanwhile
    this.#isWatching = false;
    this.#onEvent();
  }

  #start(): Worker {
    const helper = startWorker(helperProgram);
    this.#shared = sharedInts(2);
    helper.postMessage({ shared: this.#shared, epollFd: this.#epollFd });
    this.#helper = helper;
    return helper;
  }
}
