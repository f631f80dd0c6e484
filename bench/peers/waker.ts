// Wakes another thread on request, after a pause in which that thread falls asleep: by a write to an eventfd,
// or, without one, by Atomics.

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

/** CLOCK_MONOTONIC, because JavaScript's clocks start at zero in each thread. */
export function nowMicros(): number {
  symbols.clock_gettime(1, timespec);
  return Number(timespec[0]) * 1e6 + Number(timespec[1]) / 1e3;
}

interface Shared {
  readonly words: Int32Array;
  /** The time of the latest wake, in µs. */
  readonly at: Float64Array;
}

if (!Bun.isMainThread) {
  globalThis.addEventListener("message", ({ data: { words, at } }: MessageEvent<Shared>) => {
    for (let asked = 0; ; ) {
      Atomics.wait(words, ASKED, asked);
      asked = Atomics.load(words, ASKED);
      Bun.sleepSync(IDLE_MS);
      at[0] = nowMicros();
      const fd = Atomics.load(words, FD);
      if (fd >= 0) symbols.write(fd, one, 8);
      else {
        Atomics.add(words, SEEN, 1);
        Atomics.notify(words, SEEN);
      }
    }
  });
}
