// The lock of an eventfd that several threads write to.

import { expect, spyOn, test } from "bun:test";
import { lockAs, sharedWords } from "../../src/runtime/shared-eventfd.ts";

test("who waits for the lock sleeps, before it asks whether the holder is alive, and between", () => {
  const lock = sharedWords(1);
  lock[0] = 7;
  const log: string[] = [];
  const wait = spyOn(Atomics, "wait").mockImplementation((() => {
    if (log.push("sleeps") === 3) lock[0] = 0;
    return "timed-out";
  }) as never);
  try {
    const isThread = (tid: number): boolean => {
      log.push(`asks for ${tid}`);
      if (log[0] !== "sleeps") throw new Error("it did not sleep");
      return true;
    };
    expect(lockAs(lock, 9, isThread)).toBe(true);
  } finally {
    wait.mockRestore();
  }
  expect(log).toEqual(["sleeps", "asks for 7", "sleeps", "asks for 7"]);
  expect(lock[0]).toBe(9);
});

test("the lock of a dead thread is taken from it; a closed one is nobody's", () => {
  const lock = sharedWords(1);
  lock[0] = 7;
  expect(lockAs(lock, 9, () => false)).toBe(true);
  expect(lock[0]).toBe(9);
  lock[0] = -1;
  expect(lockAs(lock, 9, () => true)).toBe(false);
});
