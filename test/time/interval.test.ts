// Interval: each period is reported once, however late or concurrent the ticks are.

import { expect, test } from "bun:test";
import { interval, Runtime, sleep, spawn, yieldNow } from "../../src/index.ts";
import { untilIdle } from "../support/idle.ts";
import { VirtualClock } from "../support/virtual-clock.ts";

test.each([
  [0],
  [-1],
  [Number.NaN],
  [Number.POSITIVE_INFINITY],
  [Number.MIN_VALUE],
  ["5"],
  [undefined],
])("interval refuses the period %p", (value) => {
  expect(() => interval(value as number)).toThrow(RangeError);
  expect(() => interval(value as number)).toThrow(
    "interval: periodMs must be a finite number >= 0.000001",
  );
});

test("ticks report every period exactly once, however late they are awaited", () => {
  using runtime = new Runtime();
  const beforeMs = performance.now();
  const ticks = interval(1);
  const afterMs = performance.now();
  runtime.blockOn(function* () {
    let reported = 0;
    for (const pauseMs of [0, 0, 7, 0, 3, 0]) {
      yield* sleep(pauseMs);
      const passed = yield* ticks.tick();
      const nowMs = performance.now();
      expect(passed).toBeGreaterThanOrEqual(1);
      reported += passed;
      // The interval was created between the two readings of the clock.
      expect(reported).toBeLessThanOrEqual(Math.floor(nowMs - beforeMs));
    }
    yield* sleep(4);
    const whole = Math.floor(performance.now() - afterMs);
    expect(reported + (yield* ticks.tick())).toBeGreaterThanOrEqual(whole);
  });
});

test("the first tick completes one period after the interval's creation", () => {
  using runtime = new Runtime();
  const startMs = performance.now();
  expect(runtime.blockOn(interval(3).tick())).toBeGreaterThanOrEqual(1);
  expect(performance.now() - startMs).toBeGreaterThanOrEqual(3);
});

test("a dropped tick consumes no period and leaves no timer", () => {
  using runtime = new Runtime();
  const ticks = interval(2);
  runtime.blockOn(function* () {
    const dropped = spawn(ticks.tick());
    yield* untilIdle();
    dropped.abort();
    yield* sleep(9);
    expect(yield* ticks.tick()).toBeGreaterThanOrEqual(4);
  });
  expect(runtime.metrics().timers).toBe(0);
});

test("two ticks that wait for the same period report one period each", () => {
  using runtime = new Runtime();
  const ticks = interval(1);
  runtime.blockOn(function* () {
    const both = [spawn(ticks.tick()), spawn(ticks.tick())];
    let reported = 0;
    for (const handle of both) reported += yield* handle;
    expect(reported).toBeGreaterThanOrEqual(2);
  });
});

test("for await iterates over the ticks", () => {
  using runtime = new Runtime();
  let reported = 0;
  runtime.blockOn(async () => {
    for await (const passed of interval(1)) {
      reported += passed;
      if (reported >= 3) break;
    }
  });
  expect(reported).toBeGreaterThanOrEqual(3);
});

test("a clock that stands at the end of a period has passed it, whatever the rounding", () => {
  const clock = new VirtualClock();
  for (const [startMs, periodMs] of [
    [0, 0.1],
    [10.3, 10],
    [1234.567, 0.001],
    [0.7, 1 / 3],
  ] as const) {
    clock.nowMs = startMs;
    using runtime = new Runtime({ clock });
    runtime.blockOn(function* () {
      const ticks = interval(periodMs);
      for (let count = 1; count <= 1000; count++) {
        clock.nowMs = ticks.nextMs;
        expect(ticks.consumeElapsed()).toBe(1);
      }
      yield* yieldNow();
    });
  }
});
