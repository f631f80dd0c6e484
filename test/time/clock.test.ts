// Clock and now(): the time of a runtime, real or virtual. The driver advances a virtual clock when no task is ready.

import { expect, setDefaultTimeout, test } from "bun:test";
import {
  type Clock,
  interval,
  join,
  now,
  Runtime,
  sleep,
  sleepUntil,
  spawn,
  TimeoutError,
  timeout,
} from "../../src/index.ts";
import { caught, failureOf } from "../support/caught.ts";
import { countFds } from "../support/fds.ts";
import { streamPair } from "../support/sockets.ts";
import { VirtualClock } from "../support/virtual-clock.ts";

setDefaultTimeout(60_000); // a slow machine must not fail the test

const HOUR_MS = 3_600_000;

test("now() returns performance.now() outside a poll, and on a runtime that was created without a clock", () => {
  using runtime = new Runtime();
  for (const read of [now, () => runtime.blockOn(async () => now())]) {
    const beforeMs = performance.now();
    const nowMs = read();
    expect(nowMs).toBeGreaterThanOrEqual(beforeMs);
    expect(nowMs).toBeLessThanOrEqual(performance.now());
  }
});

test('the clock "virtual" jumps over sleeps, but not over data of a real socket', () => {
  using runtime = new Runtime({ clock: "virtual" });
  const seen = runtime.blockOn(function* () {
    const [a, b] = yield* streamPair();
    using _a = a;
    using _b = b;
    const answer = spawn(timeout(HOUR_MS, b.read(new Uint8Array(8))));
    yield* a.writeAll("in time");
    const bytes = yield* answer;
    yield* sleep(HOUR_MS);
    return [bytes, now()];
  });
  expect(seen).toEqual([7, HOUR_MS]);
});

test("now() reads the clock of the runtime that polls, in coroutines and in async functions", () => {
  using runtime = new Runtime({ clock: { now: () => 1234.5 } });
  using other = new Runtime({ clock: { now: () => 7 } });
  const coroutine = function* () {
    return [now(), other.blockOn(async () => now()), now()];
  };
  expect(runtime.blockOn(coroutine)).toEqual([1234.5, 7, 1234.5]);
  expect(runtime.blockOn(async () => now())).toBe(1234.5);
  expect(now()).not.toBe(1234.5);
});

test("sleepUntil(now() + ms) sleeps as long as sleep(ms)", () => {
  using runtime = new Runtime({ clock: new VirtualClock(500) });
  runtime.blockOn(function* () {
    yield* sleepUntil(now() + 5);
    expect(now()).toBe(505);
    yield* sleep(5);
    expect(now()).toBe(510);
  });
});

test("Runtime throws TypeError for a clock without a now method", () => {
  expect(() => new Runtime({ clock: {} as Clock })).toThrow(TypeError);
  expect(() => new Runtime({ clock: {} as Clock })).toThrow(
    'options.clock must be "virtual" or have a method now(); got an instance of Object',
  );
});

test("Runtime throws TypeError for a clock that does not return a finite number", () => {
  for (const [time, shown] of [
    [Number.NaN, "NaN"],
    ["5", '"5"'],
    [Number.POSITIVE_INFINITY, "Infinity"],
    [-1, "-1"],
  ]) {
    expect(() => new Runtime({ clock: { now: () => time as number } })).toThrow(
      `options.clock.now() must return a finite number >= 0; got ${shown}`,
    );
  }
});

test("blockOn throws RangeError when a virtual clock does not reach the deadline", () => {
  using runtime = new Runtime({ clock: { now: () => 0, advanceTo: () => {} } });
  expect(() => runtime.blockOn(sleep(5))).toThrow(
    "clock.advanceTo(5) must move now() to at least 5; now() returns 0",
  );
});

/** The two ways to drive a runtime. */
const drives: [
  string,
  <T>(runtime: Runtime, work: () => Generator<symbol, T, void>) => Promise<T>,
][] = [
  ["blockOn", async (runtime, work) => runtime.blockOn(work)],
  ["guest mode", (runtime, work) => runtime.run(work)],
];

test.each(drives)(
  "in %s a virtual clock jumps to each deadline in order, without waiting",
  async (_, drive) => {
    const clock = new VirtualClock(1000);
    using runtime = new Runtime({ clock });
    const log: string[] = [];
    const startMs = performance.now();
    await drive(runtime, function* () {
      const task = (hours: number) =>
        spawn(function* () {
          yield* sleep(hours * HOUR_MS);
          log.push(`${hours} h at ${now()}`);
        });
      yield* join(task(3), task(1), task(2));
    });
    expect(performance.now() - startMs).toBeLessThan(HOUR_MS);
    const deadlines = [1, 2, 3].map((hours) => 1000 + hours * HOUR_MS);
    expect(clock.jumps).toEqual(deadlines);
    expect(log).toEqual(deadlines.map((deadlineMs, index) => `${index + 1} h at ${deadlineMs}`));
    expect(runtime.metrics().timers).toBe(0);
  },
);

test.each(drives)("in %s a virtual clock does not jump while a task is ready", async (_, drive) => {
  const clock = new VirtualClock();
  using runtime = new Runtime({ clock });
  await drive(runtime, function* () {
    const sleeper = spawn(sleep(1));
    for (let round = 0; round < 1000; round++) yield* sleep(0); // each round checks epoll
    expect([now(), sleeper.isFinished]).toEqual([0, false]);
    yield* sleeper;
    expect(now()).toBe(1);
  });
});

test.each(drives)(
  "in %s a read that is ready completes before a virtual clock jumps",
  async (_, drive) => {
    const clock = new VirtualClock();
    using runtime = new Runtime({ clock });
    await drive(runtime, function* () {
      const [near, far] = yield* streamPair();
      using _near = near;
      using _far = far;
      yield* near.writeAll("ping");
      expect(yield* timeout(HOUR_MS, far.read(new Uint8Array(8)))).toBe(4);
      expect(now()).toBe(0);
    });
  },
);

test.each(drives)("in %s a timeout and an interval follow a virtual clock", async (_, drive) => {
  const clock = new VirtualClock();
  using runtime = new Runtime({ clock });
  await drive(runtime, function* () {
    const late = timeout(HOUR_MS, sleep(2 * HOUR_MS));
    expect(yield* failureOf(late)).toBeInstanceOf(TimeoutError);
    expect(now()).toBe(HOUR_MS);
    const ticks = interval(HOUR_MS);
    yield* ticks.tick();
    yield* ticks.tick();
    expect(now()).toBe(3 * HOUR_MS);
    expect(clock.jumps).toEqual([1, 2, 3].map((hours) => hours * HOUR_MS));
  });
});

test("a sleep on a virtual clock that was moved from outside completes without a jump", () => {
  const clock = new VirtualClock();
  using runtime = new Runtime({ clock });
  const sleeper = runtime.spawn(sleep(HOUR_MS));
  runtime.blockOn(sleep(0));
  clock.nowMs = 2 * HOUR_MS;
  runtime.blockOn(sleeper);
  expect(clock.jumps).toEqual([]);
});

test("sleep(Infinity) on a virtual clock causes no jump, and blockOn reports a deadlock", () => {
  const clock = new VirtualClock();
  using runtime = new Runtime({ clock });
  const error = caught(() => runtime.blockOn(sleep(Number.POSITIVE_INFINITY)));
  expect(error).toMatchObject({ name: "DeadlockError" });
  expect(clock.jumps).toEqual([]);
});

test("a virtual clock opens no timerfd", () => {
  const before = countFds("timerfd");
  using runtime = new Runtime({ clock: new VirtualClock() });
  runtime.blockOn(function* () {
    yield* sleep(HOUR_MS);
    expect(countFds("timerfd")).toBe(before);
  });
});

test.each(drives)(
  "in %s a virtual clock does not jump while a blocking call runs",
  async (_, drive) => {
    const clock = new VirtualClock();
    const runtime = new Runtime({ clock });
    const value = await drive(runtime, function* () {
      const call = runtime.spawnBlocking((ms: number) => Bun.sleepSync(ms) ?? "done", 20);
      return yield* timeout(HOUR_MS, call);
    });
    expect(value).toBe("done");
    expect(clock.jumps).toEqual([]);
    await runtime[Symbol.asyncDispose]();
  },
);
