// The lock of an eventfd that several threads write to.

import { expect, setDefaultTimeout, spyOn, test } from "bun:test";
import {
  lockAs,
  lockIn,
  sharedWords,
  threadAt,
} from "../../../src/runtime/threads/shared-eventfd.ts";
import { root, run } from "../../support/program.ts";

setDefaultTimeout(60_000); // a slow machine is no failure

const heldBy = (holder: bigint): BigInt64Array => {
  const lock = lockIn(sharedWords(2));
  lock[0] = holder;
  return lock;
};

test("who waits for the lock sleeps, before it asks whether the holder is alive, and between", () => {
  const lock = heldBy(7n);
  const log: string[] = [];
  const wait = spyOn(Atomics, "wait").mockImplementation((() => {
    if (log.push("sleeps") === 3) lock[0] = 0n;
    return "timed-out";
  }) as never);
  try {
    const isAlive = (path: string): bigint => {
      log.push(path);
      if (log[0] !== "sleeps") throw new Error("it did not sleep");
      return 7n;
    };
    expect(lockAs(lock, 9n, isAlive)).toBe(true);
  } finally {
    wait.mockRestore();
  }
  const asks = "/proc/self/task/7/stat";
  expect(log).toEqual(["sleeps", asks, "sleeps", asks]);
  expect(lock[0]).toBe(9n);
});

test("the lock of a dead thread is taken from it; a closed one is nobody's", () => {
  const lock = heldBy(7n);
  expect(lockAs(lock, 9n, () => null)).toBe(true);
  expect(lock[0]).toBe(9n);
  expect(lockAs(heldBy(-1n), 9n, () => 7n)).toBe(false);
});

test("out of fds nobody is taken for dead", () => {
  const lock = heldBy(7n);
  let asked = 0;
  const find = (): null => {
    if (++asked < 3) throw new Error("EMFILE");
    return null;
  };
  expect(lockAs(lock, 9n, find)).toBe(true);
  expect(asked).toBe(3);
});

test("a thread is known by its tid and its start, whatever its name", async () => {
  const self = threadAt("/proc/thread-self/stat") as bigint;
  expect(threadAt(`/proc/self/task/${self & 0x3fffffn}/stat`)).toBe(self);
  expect(threadAt("/proc/self/task/4194303/stat")).toBeNull();
  const code = `import { writeFileSync } from "node:fs";
import { threadAt } from "${root}src/runtime/threads/shared-eventfd.ts";
const before = threadAt("/proc/thread-self/stat");
writeFileSync("/proc/thread-self/comm", "a) S 1 (b");
console.log(threadAt("/proc/thread-self/stat") === before);`;
  expect(await run(["timeout", "9", "bun", "-e", code])).toEqual({ code: 0, output: "true\n" });
});

test("the lock of a dead thread whose tid another one has is taken, too; also to close it", async () => {
  // In a process of its own: it would wait for ever.
  const code = `import { closeLocked, lockIn, sharedWords, threadAt, writeLocked }
  from "${root}src/runtime/threads/shared-eventfd.ts";
const self = threadAt("/proc/thread-self/stat");
const lock = lockIn(sharedWords(2));
lock[0] = self - (1n << 22n); // our tid, by a thread that was started before
writeLocked(lock, self, () => console.log("written"));
lock[0] = self - (1n << 22n);
console.log(closeLocked(lock), closeLocked(lock));`;
  const { output } = await run(["timeout", "9", "bun", "-e", code]);
  expect(output).toBe("written\ntrue false\n");
});
