// eventfd(2): a 64-bit counter in the kernel; a write to it is an event.

import { EAGAIN } from "./errno.ts";
import type { Libc } from "./libc.ts";
import type { Sys } from "./sys.ts";

const FLAGS = 0x80000 | 0x800; // EFD_CLOEXEC | EFD_NONBLOCK

export function eventfdCalls(libc: Libc): Pick<Sys, "eventfd" | "eventfdWrite" | "eventfdDrain"> {
  const { eventfd, read, write, check } = libc;
  // Explicit ArrayBuffers, 8 bytes, aligned: used during the calls only, held by this closure.
  const one = new BigUint64Array(new ArrayBuffer(8));
  one[0] = 1n;
  const drained = new BigUint64Array(new ArrayBuffer(8));
  return {
    eventfd: () => check(eventfd(0, FLAGS)),
    eventfdWrite: (fd) => check(write(fd, one, 8)),
    eventfdDrain: (fd) => check(read(fd, drained, 8)),
  };
}

/** Makes an event of it, whatever was written before: a full counter would refuse, so it is emptied. */
export function signalEventfd(sys: Sys, fd: number): void {
  if (sys.eventfdWrite(fd) !== -EAGAIN) return;
  sys.eventfdDrain(fd);
  sys.eventfdWrite(fd);
}
