// The fds that this process has open.

import { readdirSync, readlinkSync } from "node:fs";

/** Returns the open fds by number, each with its target in /proc. Leaves out the fd of the listing itself. */
export function openFds(): Map<number, string> {
  const fds = new Map<number, string>();
  for (const name of readdirSync("/proc/self/fd")) {
    try {
      fds.set(Number(name), readlinkSync(`/proc/self/fd/${name}`));
    } catch {} // closed meanwhile
  }
  return fds;
}

/** Counts open fds of one kind (`"eventfd"`, `"socket"`, `"timerfd"`, `"eventpoll"`), or all. */
export function countFds(kind = ""): number {
  return [...openFds().values()].filter((target) => target.includes(kind)).length;
}

/** Returns the targets of the fds that are open now and were not in `before`. (Bun may close fds of its own.) */
export function newFds(before: Map<number, string>): string[] {
  return [...openFds()].filter(([fd]) => !before.has(fd)).map(([, target]) => target);
}
