// What this process has open.

import { readdirSync, readlinkSync } from "node:fs";

/** The open fds, as `fd -> what it is`; the fd of the listing itself is gone. */
export function openFds(): Map<number, string> {
  const fds = new Map<number, string>();
  for (const name of readdirSync("/proc/self/fd")) {
    try {
      fds.set(Number(name), readlinkSync(`/proc/self/fd/${name}`));
    } catch {} // closed meanwhile
  }
  return fds;
}

/** How many fds of a kind (`"eventfd"`, `"socket"`, `"timerfd"`, `"eventpoll"`) are open; or all. */
export function countFds(kind = ""): number {
  return [...openFds().values()].filter((target) => target.includes(kind)).length;
}

/** What is open now, and was not in `before`. (Bun may close fds of its own meanwhile.) */
export function newFds(before: Map<number, string>): string[] {
  return [...openFds()].filter(([fd]) => !before.has(fd)).map(([, target]) => target);
}
