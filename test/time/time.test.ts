// sleep and sleepUntil: never early, in order of deadlines, and without a timer left behind.

import { expect, setDefaultTimeout, test } from "bun:test";
import { deadline, now, Runtime, sleep, sleepUntil, spawn } from "../../src/index.ts";
import { untilIdle } from "../support/idle.ts";
import { VirtualClock } from "../support/virtual-clock.ts";

setDefaultTimeout(60_000); // a slow machine must not fail the test

test.each([[-1], [Number.NaN], ["5"], [undefined], [-Infinity], [null], [5n]])(
  "sleep and sleepUntil refuse %p",
  (value) => {
    expect(() => sleep(value as number)).toThrow(RangeError);
    expect(() => sleepUntil(value as number)).toThrow(
      typeof value === "number" ? RangeError : TypeError,
    );
    expect(() => sleep(value as number)).toThrow("sleep: ms must be a number >= 0");
  },
);

test("sleepUntil and deadline refuse a time of Date.now(), and accept a Date of it", () => {
  using runtime = new Runtime({ clock: new VirtualClock(500) });
  const at = Date.now() + 5;
  for (const [name, use] of [
    ["sleepUntil", () => sleepUntil(at)],
    ["deadline", () => deadline(at, sleep(1))],
  ] as const) {
    expect(use).toThrow(RangeError);
    expect(use).toThrow(
      `${name}: at must be a time on the clock of the runtime, which now() returns; got ${at}. A number of milliseconds since 1970 belongs to another clock: pass it as a Date`,
    );
  }
  runtime.blockOn(function* () {
    yield* deadline(Number.POSITIVE_INFINITY, sleep(1));
    expect(now()).toBe(501);
    yield* sleepUntil(new Date(Date.now() + 60_000));
    expect(now()).toBeGreaterThan(501 + 50_000);
    expect(now()).toBeLessThan(501 + 61_000);
    const before = now();
    yield* sleepUntil(new Date(0)); // long past
    expect(now()).toBe(before);
  });
  expect(() => sleepUntil(new Date(Number.NaN))).toThrow("sleepUntil: at must be a valid Date");
});

test("a sleep never completes early, not even by a fraction of a millisecond", () => {
  using runtime = new Runtime();
  for (const milliseconds of [0.001, 0.5, 1, 1.25, 3]) {
    const startMs = performance.now();
    runtime.blockOn(sleep(milliseconds));
    expect(performance.now()).toBeGreaterThanOrEqual(startMs + milliseconds);
    const deadlineMs = performance.now() + milliseconds;
    runtime.blockOn(sleepUntil(deadlineMs));
    expect(performance.now()).toBeGreaterThanOrEqual(deadlineMs);
  }
});

test("sleep(0) and a deadline in the past complete at the next turn, not at once", () => {
  using runtime = new Runtime();
  const log: string[] = [];
  for (const [name, future] of [
    ["zero", sleep(0)],
    ["past", sleepUntil(0)],
  ] as const) {
    runtime.spawn(function* () {
      log.push(`${name} begins`);
      yield* future;
      log.push(`${name} ends`);
    });
  }
  runtime.block();
  expect(log).toEqual(["zero begins", "past begins", "zero ends", "past ends"]);
  expect(runtime.metrics().timers).toBe(0);
});

test("a sleep starts at its first poll, not at its creation", () => {
  using runtime = new Runtime();
  const future = sleep(5);
  runtime.blockOn(sleep(6));
  const startMs = performance.now();
  runtime.blockOn(future);
  expect(performance.now() - startMs).toBeGreaterThanOrEqual(5);
});

test("sleeps complete in the order of their deadlines", () => {
  using runtime = new Runtime();
  // All sleeps must start before the first deadline. On a machine that stalled, try again with more lead.
  for (let leadMs = 2; ; leadMs *= 2) {
    const firstMs = performance.now() + leadMs;
    const log: number[] = [];
    for (const offset of [3, 1, 2, 5, 4]) {
      runtime.spawn(function* () {
        yield* sleepUntil(firstMs + offset / 1000);
        log.push(offset);
      });
    }
    let startedMs = 0;
    runtime.spawn(function* () {
      startedMs = performance.now();
    });
    runtime.block();
    if (startedMs >= firstMs) continue;
    expect(log).toEqual([1, 2, 3, 4, 5]);
    break;
  }
});

test("a dropped sleep leaves no timer", () => {
  using runtime = new Runtime();
  const handles = [sleep(1e6), sleep(1e15), sleep(1e300), sleepUntil(1e9)].map((future) =>
    runtime.spawn(future),
  );
  runtime.blockOn(sleep(1)); // unaffected by the distant deadlines
  expect(runtime.metrics().timers).toBe(4);
  for (const handle of handles) handle.abort();
  runtime.block();
  expect(runtime.metrics().timers).toBe(0);
});

test("sleep(Infinity) sets no timer, and a runtime that waits for nothing else reports a deadlock", () => {
  using runtime = new Runtime();
  expect(() => runtime.blockOn(sleep(Number.POSITIVE_INFINITY))).toThrow("sleep, without end");
  expect(runtime.metrics().timers).toBe(0);
});

test("a sleep that one task has polled completes in another task", () => {
  using runtime = new Runtime();
  const future = sleep(2);
  runtime.blockOn(function* () {
    expect(future.next().done).toBe(false);
    const finisher = spawn(future);
    yield* untilIdle();
    yield* finisher;
  });
});
