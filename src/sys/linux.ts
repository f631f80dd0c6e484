// The default Sys: Linux through libc.

import { datagramCalls } from "./datagrams.ts";
import { epollCalls } from "./epoll.ts";
import { eventfdCalls } from "./eventfd.ts";
import { libc, unsupportedReason } from "./libc.ts";
import { socketCalls } from "./socket.ts";
import type { Sys } from "./sys.ts";
import { timerfdCalls } from "./timerfd.ts";

let opened: Sys | null = null;

/** The kernel. Opened on the first call; throws `ERR_UNSUPPORTED_PLATFORM` where it cannot be. */
export function linux(): Sys {
  if (opened === null) {
    const c = libc();
    opened = {
      ...epollCalls(c),
      ...eventfdCalls(c),
      ...timerfdCalls(c),
      ...socketCalls(c),
      ...datagramCalls(c),
    };
  }
  return opened;
}

/** Whether this process can run a Runtime: Bun 1.4.5 or newer, Linux, x64 or arm64, JIT on. */
export const isSupported: boolean = unsupportedReason() === null;
