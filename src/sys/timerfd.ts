// timerfd_create(2): a timer as an fd.

import type { Libc } from "./libc.ts";
import type { Sys } from "./sys.ts";

const CLOCK_MONOTONIC = 1;
const FLAGS = 0x80000 | 0x800; // TFD_CLOEXEC | TFD_NONBLOCK
/** The kernel takes no more than fits its 64-bit nanoseconds; who waits longer is armed again. */
const MAX_SECONDS = 1e9;

export function timerfdCalls(libc: Libc): Pick<Sys, "timerfdCreate" | "timerfdSet"> {
  const { timerfd_create, timerfd_settime, check } = libc;
  // struct itimerspec: interval (s, ns), value (s, ns); all 64-bit, little-endian. The interval stays
  // zero, and both halves of the value are below 2^31: with 32-bit words there is no BigInt to make.
  const spec = new Int32Array(new ArrayBuffer(32));
  return {
    timerfdCreate: () => check(timerfd_create(CLOCK_MONOTONIC, FLAGS)),
    timerfdSet(fd, delayMs) {
      let seconds = Math.min(Math.floor(delayMs / 1000), MAX_SECONDS);
      // Rounded up: never early, and never all zero, which would disarm the timer.
      let nanoseconds = Math.ceil((delayMs - seconds * 1000) * 1e6);
      if (nanoseconds >= 1e9) {
        nanoseconds = 0;
        seconds++;
      }
      spec[4] = seconds;
      spec[6] = nanoseconds;
      return check(timerfd_settime(fd, 0, spec, null));
    },
  };
}
