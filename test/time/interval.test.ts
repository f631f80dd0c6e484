import { expect, test } from "bun:test";
import { interval, Runtime, sleep, spawn, yieldNow } from "../../src/index.ts";

test.each([
  [0],
  [-1],
  [Number.NaN],
  [Number.POSITIVE_INFINITY],
  [Number.MIN_VALUE],
  ["5"],
  [undefined],
])("%p is no period", (value) => {
  expect(() => interval(value as number)).toThrow(RangeError);
  expect(() => interval(value as number)).toThrow("interval: periodMs must be a finite number");
});

test("ticks tell of whole periods, and miss none, however late they are", () => {
  using runtime = new Runtime();
  const beforeMs = performance.now();
  const ticks = interval(1);
  const afterMs = performance.now();
  runtime.blockOn(function* () {
    let told = 0;
    for (const pauseMs of [0, 0, 7, 0, 3, 0]) {
      yield* sleep(pauseMs);
      const passed = yield* ticks.tick();
      const nowMs = performance.now();
      expect(passed).toBeGreaterThanOrEqual(1);
      told += passed;
      // As many as have passed since its making, whichever instant between the readings that was.
      expect(told).toBeLessThanOrEqual(Math.floor(nowMs - beforeMs));
    }
    yield* sleep(4);
    const whole = Math.floor(performance.now() - afterMs);
    expect(told + (yield* ticks.tick())).toBeGreaterThanOrEqual(whole);
  });
});

test("the first tick comes after one period", () => {
  using runtime = new Runtime();
  const startMs = performance.now();
  expect(runtime.blockOn(interval(3).tick())).toBeGreaterThanOrEqual(1);
  expect(performance.now() - startMs).toBeGreaterThanOrEqual(3);
});

test("a tick that was dropped takes no period away", () => {
  using runtime = new Runtime();
  const ticks = interval(2);
  runtime.blockOn(function* () {
    const dropped = spawn(ticks.tick());
    yield* yieldNow();
    dropped.abort();
    yield* sleep(9);
    expect(yield* ticks.tick()).toBeGreaterThanOrEqual(4);
  });
  expect(runtime.metrics().timers).toBe(0);
});

test("of two who wait for the same period one gets it, and the other the next", () => {
  using runtime = new Runtime();
  const ticks = interval(1);
  runtime.blockOn(function* () {
    const both = [spawn(ticks.tick()), spawn(ticks.tick())];
    let told = 0;
    for (const handle of both) told += yield* handle;
    expect(told).toBeGreaterThanOrEqual(2);
  });
});

test("for await", () => {
  using runtime = new Runtime();
  let told = 0;
  runtime.blockOn(async () => {
    for await (const passed of interval(1)) {
      told += passed;
      if (told >= 3) break;
    }
  });
  expect(told).toBeGreaterThanOrEqual(3);
});
