// A Worker that wakes another thread on request: by a write to an eventfd, or by Atomics if there is none. It first
// pauses, so that the other thread is asleep.

import { dlopen } from "bun:ffi";

/** Indexes into the shared memory: the number of requests, the number of wakes, the eventfd or -1. */
export const ASKED = 0;
export const SEEN = 1;
export const FD = 2;

const IDLE_MS = 2;

const { symbols } = dlopen("libc.so.6", {
  write: { args: ["i32", "ptr", "u64"], returns: "i64" },
  clock_gettime: { args: ["i32", "ptr"], returns: "i32" },
});
const timespec = new BigInt64Array(new ArrayBuffer(16));
const one = new BigUint64Array([1n]);

/** Returns CLOCK_MONOTONIC in µs. JavaScript's clocks start at zero in each thread, so they cannot be compared. */
export function nowMicros(): number {
  symbols.clock_gettime(1, timespec);
  return Number(timespec[0]) * 1e6 + Number(timespec[1]) / 1e3;
}

interface Shared {
  readonly shared: Int32Array;
  /** The time of the latest wake, in µs. */
  readonly wokenAt: Float64Array;
}

if (!Bun.isMainThread) {
  globalThis.addEventListener("message", ({ data: { shared, wokenAt } }: MessageEvent<Shared>) => {
    for (let asked = 0; ; ) {
      Atomics.wait(shared, ASKED, asked);
      asked = Atomics.load(shared, ASKED);
      Bun.sleepSync(IDLE_MS);
      wokenAt[0] = nowMicros();
      const fd = Atomics.load(shared, FD);
      if (fd >= 0) symbols.write(fd, one, 8);
      else {
        Atomics.add(shared, SEEN, 1);
        Atomics.notify(shared, SEEN);
      }
    }
  });
}
