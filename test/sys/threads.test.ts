// How threads identify each other, and the lock of an eventfd that several threads write to.

import { expect, setDefaultTimeout, spyOn, test } from "bun:test";
import { lockIn } from "../../src/runtime/threads/shared-eventfd.ts";
import { linux } from "../../src/sys/index.ts";
import { lockAs, sharedInts } from "../../src/sys/threads.ts";
import { root, run } from "../support/program.ts";

setDefaultTimeout(60_000); // a slow machine must not fail the test

function lockHeldBy(holder: bigint): BigInt64Array {
  const lock = lockIn(sharedInts(2));
  lock[0] = holder;
  return lock;
}

function runProgram(name: string): Promise<{ code: number; output: string }> {
  const file = `${root}test/support/programs/threads.ts`;
  return run(["sh", "-c", 'ulimit -n 200; exec timeout 9 bun "$@"', "sh", file, name]);
}

test("a thread that waits for the lock sleeps before it checks that the holder is alive", () => {
  const lock = lockHeldBy(7n);
  const log: unknown[] = [];
  const wait = spyOn(Atomics, "wait").mockImplementation((() => {
    if (log.push("sleeps") === 3) lock[0] = 0n;
    return "timed-out";
  }) as never);
  try {
    const isThreadAlive = (thread: bigint): boolean => {
      log.push(thread);
      if (log[0] !== "sleeps") throw new Error("the waiter checked its holder before it slept");
      return true;
    };
    expect(lockAs(lock, 9n, isThreadAlive)).toBe(true);
  } finally {
    wait.mockRestore();
  }
  expect(log).toEqual(["sleeps", 7n, "sleeps", 7n]);
  expect(lock[0]).toBe(9n);
});

test("a thread takes the lock from a dead holder, but never opens a closed lock", () => {
  const lock = lockHeldBy(7n);
  expect(lockAs(lock, 9n, () => false)).toBe(true);
  expect(lock[0]).toBe(9n);
  expect(lockAs(lockHeldBy(-1n), 9n, () => true)).toBe(false);
});

test("a thread waits for the lock as long as its holder may be alive", () => {
  const lock = lockHeldBy(7n);
  let checks = 0;
  expect(lockAs(lock, 9n, () => ++checks < 3)).toBe(true);
  expect(checks).toBe(3);
});

test("a process without a free fd reports a running thread as alive", async () => {
  // The third thread does not exist; that check needs no fd.
  expect(await runProgram("out of fds")).toEqual({ code: 0, output: "true true false\n" });
});

test("a thread is identified by its tid and its start time, whatever its name is", async () => {
  const sys = linux();
  const self = sys.currentThread();
  expect(sys.isThreadAlive(self)).toBe(true);
  expect(sys.isThreadAlive(self + (1n << 22n))).toBe(false);
  expect(sys.isThreadAlive(0x3fffffn)).toBe(false);
  expect(await runProgram("odd name")).toEqual({ code: 0, output: "true true\n" });
});

test("a write or a close takes the lock from a dead holder even if another thread has its tid", async () => {
  expect(await runProgram("reused tid")).toEqual({ code: 0, output: "written\ntrue false\n" });
});
