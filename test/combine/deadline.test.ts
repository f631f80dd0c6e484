// deadline, timeRemaining and orUndefined, on a virtual clock.

import { expect, setDefaultTimeout, test } from "bun:test";
import fc from "fast-check";
import {
  AbortError,
  type Coroutine,
  deadline,
  type Future,
  intoFuture,
  join,
  mpsc,
  now,
  orUndefined,
  Runtime,
  race,
  scope,
  shield,
  sleep,
  spawn,
  TimeoutError,
  timeout,
  timeRemaining,
} from "../../src/index.ts";
import { failureOf } from "../support/caught.ts";
import { untilIdle } from "../support/idle.ts";
import { VirtualClock } from "../support/virtual-clock.ts";
import { sleepThen } from "../support/work.ts";

setDefaultTimeout(60_000); // a slow machine must not fail the test

const virtual = (nowMs = 0) => new Runtime({ clock: new VirtualClock(nowMs) });

test("deadline cancels the work at a time on the clock of the runtime, after its cleanup", () => {
  using runtime = virtual(1000);
  const error = runtime.blockOn(function* () {
    const work = function* (): Coroutine<void> {
      try {
        yield* sleep(1e6);
      } finally {
        yield* sleep(5);
      }
    };
    return yield* failureOf<Error>(deadline(1500, work));
  });
  expect(error).toBeInstanceOf(TimeoutError);
  expect(error.message).toStartWith("not done by 1500 on the clock of the runtime; the work was");
  expect(runtime.blockOn(async () => now())).toBe(1505);
  expect(runtime.metrics().timers).toBe(0);
});

test("a TimeoutError leaves out the timers of the timeouts inside the work; tasks() names them as such", () => {
  using runtime = virtual();
  const { receiver } = mpsc<string>(1, { name: "jobs" });
  const work = () => timeout(330, orUndefined(500, deadline(700, receiver.recv())));
  const error = runtime.blockOn(function* () {
    const late = spawn(timeout(20, work()), { name: "late" });
    yield* sleep(5);
    expect(
      Runtime.current()
        .tasks()
        .find(({ name }) => name === "late")?.waitsOn,
    ).toBe(
      'recv on channel "jobs" (timeout, 695 ms left) (timeout, 495 ms left) (timeout, 325 ms left) (timeout, 15 ms left)',
    );
    return yield* failureOf<Error>(late);
  });
  expect(error.message).toBe(
    'not done within 20 ms; the work was waiting on recv on channel "jobs"',
  );
  const joined = runtime.blockOn(function* () {
    return yield* failureOf<Error>(timeout(20, join(timeout(30, sleep(100)), sleep(200))));
  });
  expect(joined.message).toEndWith("waiting on sleep, 80 ms left, sleep, 180 ms left");
});

test("deadline accepts a Date, and converts it once: a step of the wall clock has no effect", () => {
  const clock = new VirtualClock(50);
  let wallMs = Date.UTC(2030, 0, 1);
  using runtime = new Runtime({ clock: Object.assign(clock, { wallNow: () => wallMs }) });
  runtime.blockOn(function* () {
    const late = spawn(deadline(new Date(wallMs + 100), sleep(1e6)));
    yield* untilIdle();
    wallMs += 3_600_000;
    const error = yield* failureOf<Error>(late);
    expect(error.message).toStartWith("not done by 2030-01-01T00:00:00.100Z; the work was");
    expect(now()).toBe(150);
  });
});

test("without wallNow() of its clock, deadline converts a Date by the system's wall clock", () => {
  using runtime = virtual();
  runtime.blockOn(function* () {
    yield* failureOf(deadline(new Date(Date.now() + 1e6), sleep(1e9)));
    expect(now()).toBeGreaterThan(0.9e6);
    expect(now()).toBeLessThanOrEqual(1e6);
  });
});

test("after a deadline that has passed, the outcome of work that is ready counts, and other work is cancelled", () => {
  using runtime = virtual(1000);
  runtime.blockOn(function* () {
    for (const at of [0, 5, 1000, new Date(0)]) {
      expect(yield* deadline(at, async () => "ready")).toBe("ready");
      expect(yield* failureOf(deadline(at, sleep(1)))).toBeInstanceOf(TimeoutError);
    }
    expect(now()).toBe(1000);
  });
});

test("deadline and orUndefined throw for bad arguments", () => {
  expect(() => deadline(-1, sleep(0))).toThrow("deadline: at must be a number >= 0; got -1");
  expect(() => deadline(Number.NaN, sleep(0))).toThrow(RangeError);
  expect(() => deadline(new Date(Number.NaN), sleep(0))).toThrow("must be a valid Date");
  expect(() => deadline("5" as never, sleep(0))).toThrow("a number or a Date; got");
  expect(() => orUndefined(-1, sleep(0))).toThrow("orUndefined: timeoutMs must be a number >= 0");
  expect(() => deadline(5, 5 as never)).toThrow("work must be a future");
});

/** A limit around work. `ms` counts from the start. */
interface Limit {
  readonly kind: "timeout" | "deadline" | "date" | "orUndefined" | "async" | "scope" | "race";
  readonly ms: number;
}

/** No two limits are due together: then the cleanup of the inner work decides which one ends first. */
const limits = fc.uniqueArray(
  fc.record({
    kind: fc.constantFrom<Limit["kind"][]>(
      "timeout",
      "deadline",
      "date",
      "orUndefined",
      "async",
      "scope",
      "race",
    ),
    ms: fc.integer({ min: 1, max: 50 }),
  }),
  { maxLength: 6, selector: ({ ms }) => ms },
);

/** Wraps `work` in `limit`. */
function limited(limit: Limit, work: Future<unknown>): Future<unknown> {
  const { kind, ms } = limit;
  switch (kind) {
    case "timeout":
      return timeout(ms, work);
    case "deadline":
      return deadline(1000 + ms, work);
    case "date":
      return deadline(new Date(5000 + ms), work);
    case "orUndefined":
      return orUndefined(ms, work);
    case "async":
      return intoFuture(async () => await work);
    case "scope":
      return scope(function* (s) {
        return yield* s.spawn(work);
      });
    case "race":
      return race(sleep(1e6), work);
  }
}

const isLimit = ({ kind }: Limit): boolean => !["async", "scope", "race"].includes(kind);

test("of nested limits the earliest ends the work, and timeRemaining() names it at each moment", () => {
  fc.assert(
    fc.property(limits, fc.integer({ min: 1, max: 60 }), (nested, workMs) => {
      const clock = Object.assign(new VirtualClock(1000), { wallNow: () => 4000 + clock.now() });
      using runtime = new Runtime({ clock });
      const seen: [number, number][] = [];
      const work: Future<unknown> = intoFuture(function* () {
        yield* sleep(0.5); // work and deadline never end at the same moment
        for (let ms = 0; ms < workMs; ms++) {
          seen.push([now(), timeRemaining()]);
          yield* sleep(1);
        }
        return "done";
      });
      const earliest = nested
        .filter(isLimit)
        .reduce<Limit | null>(
          (best, limit) => (best === null || limit.ms < best.ms ? limit : best),
          null,
        );
      const future = nested.reduce((inner, limit) => limited(limit, inner), work);
      const outcome: unknown = runtime.blockOn(async () => {
        try {
          return await future;
        } catch (error) {
          return (error as Error).name;
        }
      });
      const deadlineMs = earliest === null ? Number.POSITIVE_INFINITY : 1000 + earliest.ms;
      const isLate = 1000.5 + workMs > deadlineMs;
      const lateOutcome = earliest?.kind === "orUndefined" ? undefined : "TimeoutError";
      expect(outcome).toEqual(isLate ? lateOutcome : "done");
      expect(clock.now()).toBe(Math.min(deadlineMs, 1000.5 + workMs));
      for (const [atMs, remainingMs] of seen) expect(remainingMs).toBe(deadlineMs - atMs);
      expect(runtime.tasks()).toEqual([]);
      expect(runtime.metrics().timers).toBe(0);
    }),
    { numRuns: 300 },
  );
});

test("nested limits that are cancelled at any moment run the cleanup of the work and leave no timer", () => {
  fc.assert(
    fc.property(limits, fc.nat(60), (nested, cancelMs) => {
      using runtime = new Runtime({ clock: new VirtualClock(1000), onUncaught: () => {} });
      let open = 0;
      const work: Future<unknown> = intoFuture(function* () {
        open++;
        try {
          yield* sleep(40);
        } finally {
          open--;
          yield* sleep(1);
        }
      });
      const future = nested.reduce((inner, limit) => limited(limit, inner), work);
      runtime.blockOn(function* () {
        const handle = spawn(future);
        yield* sleep(cancelMs + 0.25);
        handle.abort();
        if (!handle.isFinished) yield* failureOf(handle);
      });
      runtime.block();
      expect([open, runtime.tasks().length, runtime.metrics().timers]).toEqual([0, 0, 0]);
    }),
    { numRuns: 300 },
  );
});

test("timeRemaining() is Infinity outside any work, in a spawned task, and inside a shield", () => {
  expect(timeRemaining()).toBe(Number.POSITIVE_INFINITY);
  using runtime = virtual();
  runtime.blockOn(function* () {
    expect(timeRemaining()).toBe(Number.POSITIVE_INFINITY);
    const read = async (): Promise<number> => timeRemaining();
    const values = yield* timeout(
      100,
      join(read, spawn(read), shield(read), shield(timeout(7, read))),
    );
    expect(values).toEqual([100, Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY, 7]);
  });
});

test("timeRemaining() sees the deadline in async functions, their helpers, scopes and owned tasks", () => {
  using runtime = virtual();
  runtime.blockOn(function* () {
    yield* timeout(100, async () => {
      await sleep(10);
      expect(timeRemaining()).toBe(90);
      const helper = async (): Promise<number> => {
        await sleep(10);
        return timeRemaining();
      };
      expect(await Promise.all([helper(), helper()])).toEqual([80, 80]);
      expect(await intoFuture(helper)).toBe(70);
      expect(await scope((s) => s.spawn(helper))).toBe(60);
      expect(await spawn(helper).abortOnDrop()).toBe(50);
      expect(await timeout(1000, helper)).toBe(40);
      expect(await timeout(15, helper)).toBe(5);
    });
  });
});

test("timeRemaining() is 0 in the cleanup after the deadline", () => {
  using runtime = virtual();
  const seen: number[] = [];
  runtime.blockOn(function* () {
    const work = function* (): Coroutine<void> {
      try {
        yield* sleep(1e6);
      } finally {
        yield* sleep(1);
        seen.push(timeRemaining());
      }
    };
    yield* failureOf(timeout(5, work));
  });
  expect(seen).toEqual([0]);
});

test("orUndefined returns the value of work in time, and undefined after the cleanup of late work", () => {
  using runtime = virtual();
  const log: string[] = [];
  runtime.blockOn(function* () {
    expect(yield* orUndefined(10, sleepThen(5, "value"))).toBe("value");
    const late = function* (): Coroutine<string> {
      try {
        yield* sleep(1e6);
        return "late";
      } finally {
        yield* sleep(3);
        log.push(`clean at ${now()}`);
      }
    };
    expect(yield* orUndefined(10, late)).toBeUndefined();
    expect(now()).toBe(18);
  });
  expect(log).toEqual(["clean at 18"]);
});

test("orUndefined throws a TimeoutError of the work, and gives its own to the work as the cause", () => {
  using runtime = virtual();
  runtime.blockOn(function* () {
    expect(yield* failureOf(orUndefined(10, timeout(5, sleep(1e6))))).toBeInstanceOf(TimeoutError);
    expect(yield* failureOf(orUndefined(10, timeout(5, sleep(1e6))))).toBeInstanceOf(TimeoutError);
    let seen: unknown;
    const work = async (): Promise<void> => {
      await sleep(1e6).catch((error: unknown) => {
        seen = error;
      });
    };
    expect(yield* orUndefined(10, work)).toBeUndefined();
    expect(seen).toBeInstanceOf(AbortError);
    expect((seen as Error).cause).toBeInstanceOf(TimeoutError);
  });
});
