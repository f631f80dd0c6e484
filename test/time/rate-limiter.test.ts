// RateLimiter: compared with a model on a virtual clock; its order, and its cancellation.

import { expect, setDefaultTimeout, test } from "bun:test";
import fc from "fast-check";
import { now, RateLimiter, Runtime, sleep, sleepUntil, spawn, timeout } from "../../src/index.ts";
import { untilIdle } from "../support/idle.ts";
import { VirtualClock } from "../support/virtual-clock.ts";

setDefaultTimeout(60_000); // a slow machine must not fail the test

const scenario = fc.record({
  tokens: fc.integer({ min: 1, max: 20 }),
  burst: fc.integer({ min: 1, max: 5 }),
  calls: fc.array(
    fc.record({
      atMs: fc.nat(2000),
      count: fc.integer({ min: 1, max: 5 }),
      /** How long the caller waits at most. */
      limitMs: fc.option(fc.nat(500), { nil: null }),
    }),
    { maxLength: 15 },
  ),
});

/** A part of each limit, different for each caller, so that no two events happen together. */
const fraction = (n: number): number => 0.1 + n * 0.0123;

test("the callers pass at the times of the model, in order, also when some of them give up", () => {
  fc.assert(
    fc.property(scenario, ({ tokens, burst, calls }) => {
      using runtime = new Runtime({ clock: new VirtualClock(1000) });
      const limiter = new RateLimiter({ tokens, burst });
      const sorted = calls
        .map((call, n) => ({
          ...call,
          count: Math.min(call.count, burst),
          atMs: 1000 + call.atMs,
          n,
        }))
        .toSorted((a, b) => a.atMs - b.atMs);

      // The model: a caller leaves at its limit, or passes when those before it have left and there is enough.
      const msPerToken = 1000 / tokens;
      const passes = new Map<number, number>();
      let level = burst;
      let sinceMs = 1000;
      let frontMs = 1000; // when the caller before has left
      for (const { atMs, count, limitMs, n } of sorted) {
        const beginMs = Math.max(atMs, frontMs);
        const giveUpMs = limitMs === null ? Number.POSITIVE_INFINITY : atMs + limitMs + fraction(n);
        const enoughMs = sinceMs + Math.max(0, count - level) * msPerToken;
        const passMs = Math.max(beginMs, enoughMs);
        if (passMs >= giveUpMs) {
          frontMs = Math.max(frontMs, giveUpMs);
          continue;
        }
        level = Math.min(burst, level + (passMs - sinceMs) / msPerToken) - count;
        sinceMs = passMs;
        frontMs = passMs;
        passes.set(n, passMs);
      }

      const seen = new Map<number, number>();
      runtime.blockOn(async () => {
        await Promise.all(
          sorted.map(({ atMs, count, limitMs, n }) =>
            spawn(async () => {
              await sleepUntil(atMs);
              const limit = limitMs === null ? Number.POSITIVE_INFINITY : limitMs + fraction(n);
              await timeout(limit, limiter.acquire(count));
              seen.set(n, now());
            }).catch(() => null),
          ),
        );
      });
      expect([...seen.keys()].toSorted()).toEqual([...passes.keys()].toSorted());
      for (const [n, atMs] of passes) expect(seen.get(n)).toBeCloseTo(atMs, 3);
      expect(runtime.metrics().timers).toBe(0);
    }),
    { numRuns: 300 },
  );
});

test("tryAcquire takes tokens that are there, but not before those who wait", () => {
  using runtime = new Runtime({ clock: new VirtualClock() });
  runtime.blockOn(function* () {
    const limiter = new RateLimiter({ tokens: 2, perMs: 100 });
    expect(limiter.available).toBe(2);
    expect([limiter.tryAcquire(), limiter.tryAcquire(), limiter.tryAcquire()]).toEqual([
      ...[true, true, false],
    ]);
    yield* sleep(60);
    expect(limiter.available).toBe(1);
    const waiting = spawn(limiter.acquire(2));
    yield* untilIdle();
    expect(limiter.tryAcquire()).toBe(false);
    waiting.abort();
    yield* untilIdle();
    expect(limiter.tryAcquire()).toBe(true);
  });
});

test("looking at a limiter outside its runtime, by another clock, changes nothing", () => {
  using runtime = new Runtime({ clock: new VirtualClock(1e15) });
  const limiter = new RateLimiter({ tokens: 10 });
  runtime.blockOn(limiter.acquire(10));
  expect(limiter.available).toBe(0);
  expect(Bun.inspect(limiter)).toContain("0 of 10 tokens");
  expect(runtime.blockOn(async () => limiter.tryAcquire())).toBe(false);
});

test("at a high rate the callers do not drift, and the clock alone decides", () => {
  const clock = new VirtualClock(1e9);
  using runtime = new Runtime({ clock });
  const limiter = new RateLimiter({ tokens: 1_000_000, burst: 1 });
  runtime.blockOn(function* () {
    for (let n = 0; n < 1001; n++) yield* limiter.acquire();
  });
  expect(clock.now() - 1e9).toBeCloseTo(1, 2);
});

test("RateLimiter throws for bad options and counts", () => {
  expect(() => new RateLimiter(null as never)).toThrow("RateLimiter: options must be an object");
  expect(() => new RateLimiter({ tokens: 0 })).toThrow("RateLimiter: options.tokens must be");
  expect(() => new RateLimiter({ tokens: 1, burst: 0.5 })).toThrow("RateLimiter: options.burst");
  for (const perMs of [0, -1, Number.NaN, Number.POSITIVE_INFINITY]) {
    expect(() => new RateLimiter({ tokens: 1, perMs })).toThrow("options.perMs must be a finite");
  }
  const limiter = new RateLimiter({ tokens: 2 });
  expect(() => limiter.acquire(3)).toThrow("acquire: count must be at most 2, the burst; got 3");
  expect(() => limiter.tryAcquire(0)).toThrow("tryAcquire: count must be a positive integer");
});
