// Faults of system calls that have nothing to do with the network: interruptions and a shortage of fds.

import { outOfRange } from "../base/check.ts";
import { describe } from "../base/describe.ts";
import { EINTR, EMFILE } from "../sys/errno.ts";
import type { Sys } from "../sys/sys.ts";
import type { Choices } from "./choices.ts";
import { mapped } from "./process.ts";

/** How often system calls fail for reasons of their own. */
export interface FaultOptions {
  /** The probability that a call which may be interrupted returns EINTR. Default: 0. */
  readonly interrupts?: number;
  /** The probability that a call which opens an fd returns EMFILE. Default: 0. */
  readonly fdShortage?: number;
}

const INTERRUPTIBLE: ReadonlySet<string> = new Set<keyof Sys>([
  ...(["epollWait", "recv", "recvfrom", "recvmmsg", "send", "sendv", "sendto"] as const),
  ...(["read", "write", "writev", "accept", "recvmsg", "sendmsg"] as const),
]);
const OPENING: ReadonlySet<string> = new Set<keyof Sys>([
  "socket",
  "socketpair",
  "accept",
  "pipe",
  "eventfd",
]);

/** Throws RangeError unless each option is a probability. */
export function checkFaults(options: FaultOptions): Required<FaultOptions> {
  const { interrupts = 0, fdShortage = 0 } = options;
  for (const [name, value] of Object.entries({ interrupts, fdShortage })) {
    if (value >= 0 && value <= 1) continue;
    throw outOfRange(`options.faults.${name} must be a number from 0 to 1; got ${describe(value)}`);
  }
  return { interrupts, fdShortage };
}

/** Returns a Sys with calls that fail by chance; `sys` itself if none can. */
export function withFaults(sys: Sys, faults: Required<FaultOptions>, choices: Choices): Sys {
  const { interrupts, fdShortage } = faults;
  if (interrupts === 0 && fdShortage === 0) return sys;
  return mapped(sys, (method, name) => {
    const isInterruptible = INTERRUPTIBLE.has(name);
    const isOpening = OPENING.has(name);
    if (!isInterruptible && !isOpening) return method;
    return (...args) => {
      if (isInterruptible && choices.chance("fault", interrupts)) return -EINTR;
      if (isOpening && choices.chance("fault", fdShortage)) return -EMFILE;
      return method(...args);
    };
  });
}
