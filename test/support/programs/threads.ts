// Programs of test/sys/threads.test.ts. Each needs a process of its own: it changes the name of its thread, uses up all
// fds, or would block the test runner indefinitely if it failed. Usage: bun threads.ts <name>

import { openSync, writeFileSync } from "node:fs";
import { closeLocked, lockIn, writeLocked } from "../../../src/runtime/threads/shared-eventfd.ts";
import { linux } from "../../../src/sys/index.ts";
import { sharedInts, threadIdentity } from "../../../src/sys/threads.ts";

const sys = linux();
const self = sys.currentThread();
const lock = lockIn(sharedInts(2));
/** The identity of an earlier thread with our tid. */
const earlier = self - (1n << 22n);

const programs: Readonly<Record<string, () => void>> = {
  "odd name": () => {
    writeFileSync("/proc/thread-self/comm", "a) S 1 (b");
    console.log(threadIdentity().currentThread() === self, sys.isThreadAlive(self));
  },
  "reused tid": () => {
    lock[0] = earlier;
    writeLocked(sys, lock, self, () => console.log("written"));
    lock[0] = earlier;
    console.log(closeLocked(sys, lock), closeLocked(sys, lock));
  },
  "out of fds": () => {
    try {
      for (;;) openSync("/dev/null", "r");
    } catch {}
    console.log(sys.isThreadAlive(self), sys.isThreadAlive(earlier), sys.isThreadAlive(0x3fffffn));
  },
};

programs[process.argv[2] ?? ""]?.();
