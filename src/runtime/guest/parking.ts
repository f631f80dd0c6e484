// Parking: how a runtime that is a guest of Bun's loop waits for its epoll without holding the thread.
//
// An epoll fd can itself be polled: a helper thread sits in poll(2) on it, and tells this one by
// Atomics. It is started when it is first needed.
//
// Facts about Bun 1.4.5, and what they mean for us:
// - `Atomics.waitAsync` does not keep the process alive. A ref'd Worker does: so the helper is ref'd
//   while something it can see is waited for, and unref'd when nobody would miss it.
// - A pending top-level await that nothing can settle spins Bun's loop at full speed, with a helper or
//   without one; a ref'd Worker lets it sleep. So it is ref'd before anything else is waited for.
// - A Worker that is blocked in poll(2) ends on `terminate()`, and does not hold up the exit.
//
// Facts about Linux's scheduler, and what they mean for us:
// - A woken thread is put on the core of the thread that wakes it if nothing else wants to run there,
//   else on an idle core, which takes its time to wake up (in a virtual machine 80 µs). The helper wakes
//   this thread, and runs on the core of whoever just wrote to a socket of ours, and is about to sleep.
//   So it lets that one go first (`sched_yield`), and then is alone: a wake from the park took 25 µs
//   instead of 110.
// - If that one does not sleep but goes on, it keeps the core for a slice, milliseconds long. A thread
//   with a short slice of its own (Linux 6.12) is scheduled again sooner. Without one it does not yield.

import { sharedWords } from "../threads/shared-eventfd.ts";
import { startWorker } from "../threads/text-worker.ts";

/** Words shared with the helper: how often it was asked to wait, and how often it has seen an event. */
const ASKED = 0;
const SEEN = 1;

/** How long a helper that is not needed is kept: a server that is idle between two requests needs it. */
const REST_MS = 1000;

/** The shortest there is. */
const SLICE_NANOSECONDS = 100_000;

const helperSource = `
import { dlopen } from "bun:ffi";
const musl = "libc.musl-" + (process.arch === "arm64" ? "aarch64" : "x86_64") + ".so.1";
let libc;
for (const name of ["libc.so.6", musl]) {
  try {
    libc = dlopen(name, {
      poll: { args: ["ptr", "u64", "i32"], returns: "i32" },
      sched_yield: { args: [], returns: "i32" },
      syscall: { args: ["i64", "i64", "ptr", "i64", "i64"], returns: "i64" },
    }).symbols;
    break;
  } catch {}
}
// sched_setattr(2), sched_getattr: whether this thread's slice can be made short.
function shortenSlice() {
  const [set, get] = process.arch === "arm64" ? [274, 275] : [314, 315];
  const attributes = new BigInt64Array(new ArrayBuffer(56)); // struct sched_attr; word 3 is the slice
  const slice = ${SLICE_NANOSECONDS}n;
  if (libc.syscall(get, 0, attributes, 56, 0) !== 0n) return false;
  attributes[3] = slice;
  if (libc.syscall(set, 0, attributes, 0, 0) !== 0n) return false;
  return libc.syscall(get, 0, attributes, 56, 0) === 0n && attributes[3] === slice;
}
globalThis.onmessage = ({ data: { words, epollFd } }) => {
  const pollfd = new Int32Array(new ArrayBuffer(8)); // struct pollfd: fd; events, revents
  pollfd[0] = epollFd;
  pollfd[1] = 1; // POLLIN
  const yields = shortenSlice();
  for (let asked = 0; ; ) {
    Atomics.wait(words, ${ASKED}, asked);
    asked = Atomics.load(words, ${ASKED});
    while (libc.poll(pollfd, 1, -1) < 0); // EINTR
    if (yields) libc.sched_yield();
    Atomics.add(words, ${SEEN}, 1);
    Atomics.notify(words, ${SEEN});
  }
};
`;

export class Parking {
  readonly #epollFd: number;
  readonly #onEvent: () => void;
  #helper: Worker | null = null;
  /** Shared with this helper alone: one that is being ended may still write to its own. */
  #words = sharedWords(2);
  /** The helper sits in poll(2), or is about to. */
  #isWatching = false;
  #restTimer: ReturnType<typeof setTimeout> | undefined;

  /** `onEvent` is called, by Bun's loop, when the epoll fd has an event. */
  constructor(epollFd: number, onEvent: () => void) {
    this.#epollFd = epollFd;
    this.#onEvent = onEvent;
  }

  get hasHelper(): boolean {
    return this.#helper !== null;
  }

  /** Watches, until there is an event. `isRef`: whether that keeps the process alive. */
  watch(isRef: boolean): void {
    this.#endRest();
    const helper = this.#helper ?? this.#start();
    if (isRef) helper.ref();
    else helper.unref();
    if (this.#isWatching) return; // from an earlier park, whose event has not come yet
    this.#isWatching = true;
    const words = this.#words;
    const seen = Atomics.load(words, SEEN);
    Atomics.add(words, ASKED, 1);
    Atomics.notify(words, ASKED);
    const wait = Atomics.waitAsync(words, SEEN, seen);
    if (wait.async) wait.value.then(() => this.#notify(helper));
    else this.#notify(helper);
  }

  /** Nothing is waited for now, though it may be soon again: keeps the helper for a while. */
  rest(): void {
    if (this.#helper === null || this.#restTimer !== undefined) return;
    this.#helper.unref();
    this.#restTimer = setTimeout(() => this.close(), REST_MS);
    this.#restTimer.unref();
  }

  /** Ends the helper; a later `watch` starts another. */
  close(): void {
    this.#endRest();
    this.#helper?.terminate();
    this.#helper = null;
    Atomics.notify(this.#words, SEEN); // no waitAsync is left behind
    this.#isWatching = false;
  }

  #endRest(): void {
    clearTimeout(this.#restTimer);
    this.#restTimer = undefined;
  }

  #notify(helper: Worker): void {
    if (helper !== this.#helper) return; // ended meanwhile
    this.#isWatching = false;
    this.#onEvent();
  }

  #start(): Worker {
    const helper = startWorker(helperSource);
    this.#words = sharedWords(2);
    helper.postMessage({ words: this.#words, epollFd: this.#epollFd });
    this.#helper = helper;
    return helper;
  }
}
