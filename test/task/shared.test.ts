// lazy, shared, singleFlight: one run for many callers, and what the cancellation of a caller does.

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import fc from "fast-check";
import {
  AbortError,
  type Coroutine,
  type Future,
  join,
  type Lazy,
  lazy,
  now,
  Runtime,
  race,
  shared,
  singleFlight,
  sleep,
  spawn,
  TimeoutError,
  timeout,
  timeRemaining,
} from "../../src/index.ts";
import { caught, failureOf } from "../support/caught.ts";
import { untilIdle } from "../support/idle.ts";
import { captureConsoleError } from "../support/output.ts";
import { VirtualClock } from "../support/virtual-clock.ts";

setDefaultTimeout(60_000); // a slow machine must not fail the test

const virtual = (): Runtime => new Runtime({ clock: new VirtualClock() });

/** Work that takes 10 ms, with a cleanup of 2 ms when it is cancelled. Its runs and cleanups are counted. */
class Counted {
  runs = 0;
  cancelled = 0;
  failures = 0;

  readonly work = function* (this: Counted): Coroutine<number> {
    const run = ++this.runs;
    let isDone = false;
    try {
      yield* sleep(10);
      isDone = true;
      if (run <= this.failures) throw new Error(`run ${run}`);
      return run;
    } finally {
      if (!isDone) {
        yield* sleep(2);
        this.cancelled++;
      }
    }
  }.bind(this);
}

/** The same calls on each of the three. */
const kinds: Record<string, (counted: Counted) => () => Future<number>> = {
  lazy: ({ work }) => lazy(work),
  shared: ({ work }) => {
    const future = shared(work);
    return () => future;
  },
  singleFlight: ({ work }) => {
    const once = singleFlight<string, number>();
    return () => once("key", work);
  },
};

describe.each(Object.entries(kinds))("%s", (_, create) => {
  test("runs the work once for all concurrent callers, in coroutines and async functions", () => {
    using runtime = virtual();
    const counted = new Counted();
    const call = create(counted);
    expect(counted.runs).toBe(0);
    const asynchronous = async (): Promise<number> => await call();
    const values = runtime.blockOn(join(call(), call(), asynchronous, asynchronous));
    expect([values, counted.runs]).toEqual([[1, 1, 1, 1], 1]);
  });

  test("the run survives the caller that started it, also when the caller is an async function", () => {
    using runtime = virtual();
    for (const start of [
      (call: () => Future<number>) => call(),
      (call: () => Future<number>) => async () => await call(),
    ]) {
      const counted = new Counted();
      const call = create(counted);
      runtime.blockOn(function* () {
        const first = spawn(failureOf(timeout(3, start(call) as Future<number>)));
        yield* sleep(1);
        const second = spawn(call());
        expect(yield* first).toBeInstanceOf(TimeoutError);
        expect(yield* second).toBe(1);
      });
      expect([counted.runs, counted.cancelled]).toEqual([1, 0]);
    }
  });

  test("when the last caller is cancelled, the run is cancelled, and the canceller waits for its cleanup", () => {
    using runtime = virtual();
    const counted = new Counted();
    const call = create(counted);
    runtime.blockOn(function* () {
      const startMs = now();
      const both = join(failureOf(timeout(3, call())), failureOf(timeout(5, call())));
      yield* both;
      expect([now() - startMs, counted.cancelled]).toEqual([7, 1]);
      expect(yield* call()).toBe(2); // a new run
    });
    expect(runtime.tasks()).toEqual([]);
  });

  test("a caller that comes while an abandoned run cleans up starts a new run", () => {
    using runtime = virtual();
    const counted = new Counted();
    const call = create(counted);
    runtime.blockOn(function* () {
      const first = spawn(call());
      yield* sleep(1);
      first.abort();
      yield* untilIdle();
      expect([counted.runs, counted.cancelled]).toEqual([1, 0]);
      expect(yield* call()).toBe(2);
      expect(counted.cancelled).toBe(1);
    });
  });

  test("all callers receive the failure, which is not unhandled", () => {
    const uncaught: unknown[] = [];
    using runtime = new Runtime({
      clock: new VirtualClock(),
      onUncaught: (error) => void uncaught.push(error),
    });
    const counted = new Counted();
    counted.failures = 1;
    const call = create(counted);
    runtime.blockOn(function* () {
      const errors = yield* join(failureOf(call()), failureOf(call()));
      expect(errors[0]).toBe(errors[1]);
      expect(errors[0]).toMatchObject({ message: "run 1" });
    });
    expect(uncaught).toEqual([]);
  });

  test("a dropped caller leaves, also before its first poll, and the deadline of a caller is not that of the run", () => {
    using runtime = virtual();
    const counted = new Counted();
    const call = create(counted);
    call()[Symbol.iterator]().drop();
    runtime.blockOn(function* () {
      yield* race(call(), sleep(1));
      expect([counted.runs, counted.cancelled]).toEqual([1, 1]);
      yield* timeout(50, call());
    });
    let remainingMs = 0;
    const read = lazy(async () => {
      remainingMs = timeRemaining();
    });
    runtime.blockOn(timeout(50, read));
    expect(remainingMs).toBe(Number.POSITIVE_INFINITY);
  });
});

test("lazy keeps the value, tries again after a failure, and forgets the value on reset()", () => {
  using runtime = virtual();
  const counted = new Counted();
  counted.failures = 1;
  const value = lazy(counted.work);
  expect(caught(() => runtime.blockOn(value))).toMatchObject({ message: "run 1" });
  expect([runtime.blockOn(value), runtime.blockOn(value)]).toEqual([2, 2]);
  value.reset();
  expect(runtime.blockOn(value)).toBe(3);
  runtime.blockOn(function* () {
    value.reset();
    const early = spawn(value);
    yield* sleep(1);
    value.reset();
    const late = spawn(value);
    expect([yield* early, yield* late, yield* value()]).toEqual([4, 5, 5]);
  });
});

test("lazy with ttlMs creates a new value once the old one has expired", () => {
  using runtime = virtual();
  const counted = new Counted();
  const value = lazy(counted.work, { ttlMs: 100 });
  runtime.blockOn(function* () {
    expect(yield* value()).toBe(1); // at 10 ms
    yield* sleep(99);
    expect(yield* value()).toBe(1);
    yield* sleep(1);
    expect(yield* value()).toBe(2);
  });
});

test("lazy with keep lets the run continue when no caller is left", () => {
  using runtime = virtual();
  const counted = new Counted();
  const value = lazy(counted.work, { keep: true });
  runtime.blockOn(function* () {
    yield* failureOf(timeout(1, value));
    yield* sleep(20);
    expect([yield* value(), counted.runs]).toEqual([1, 1]);
  });
});

test.each(["lazy", "lazy with keep", "singleFlight"] as const)(
  "%s starts a new run after one that was aborted before its first poll",
  (name) => {
    const counted = new Counted();
    const call = kinds[name]?.(counted) ?? lazy(counted.work, { keep: true });
    using second = virtual();
    using first = virtual();
    const starter = first.spawn(failureOf(call()));
    first.blockOn(async () => {}); // polls the starter, and not yet the run
    const waiter = second.spawn(failureOf<Error>(call()));
    untilIdle(second);
    first[Symbol.dispose]();
    expect(starter.isAborted).toBe(true);
    expect(second.blockOn(waiter).message).toContain("its runtime was disposed");
    expect(second.blockOn(call())).toBe(1); // the aborted run never began
  },
);

test("a value of undefined is a value", () => {
  using runtime = virtual();
  let runs = 0;
  const value = lazy(async () => void runs++);
  runtime.blockOn(value);
  runtime.blockOn(value);
  expect(runs).toBe(1);
});

test("shared keeps the outcome of the work, also a failure", () => {
  using runtime = virtual();
  const counted = new Counted();
  counted.failures = 1;
  const future = shared(counted.work);
  for (let n = 0; n < 2; n++) {
    expect(caught(() => runtime.blockOn(future))).toMatchObject({ message: "run 1" });
  }
  expect(counted.runs).toBe(1);
});

test("shared work that is not a function cannot run again after it was cancelled", () => {
  using runtime = virtual();
  const future = shared(new Counted().work());
  runtime.blockOn(function* () {
    yield* failureOf(timeout(1, future));
    const error = yield* failureOf<Error>(future);
    expect(error).toBeInstanceOf(AbortError);
    expect(error.message).toContain("because nobody waited for it any more; pass a function");
  });
});

test("in debug mode each await of shared work is still a call of its own, and the handle is not reported", async () => {
  using reported = captureConsoleError();
  {
    using runtime = new Runtime({ clock: new VirtualClock(), debug: true });
    const counted = new Counted();
    const future = shared(counted.work);
    const wait = async (): Promise<number> => await future;
    runtime.blockOn(function* () {
      const hasty = spawn(failureOf(timeout(1, wait)));
      const patient = spawn(wait);
      expect(yield* hasty).toBeInstanceOf(TimeoutError);
      expect(yield* patient).toBe(1);
    });
  }
  Bun.gc(true);
  await Bun.sleep(1); // finalizers run in a later task of Bun's loop
  expect(reported).not.toHaveBeenCalled();
});

test("singleFlight runs different keys separately, and caches nothing", () => {
  using runtime = virtual();
  const once = singleFlight<number, number>();
  const counted = new Counted();
  const values = runtime.blockOn(
    join(once(1, counted.work), once(2, counted.work), once(1, counted.work)),
  );
  expect(values).toEqual([1, 2, 1]);
  expect(runtime.blockOn(once(1, counted.work))).toBe(3);
});

test("lazy, shared and singleFlight throw at once for bad arguments", () => {
  expect(() => lazy(sleep(0) as never)).toThrow("lazy: init must be a function");
  expect(() => lazy(async () => {}, null as never)).toThrow("lazy: options must be an object");
  expect(() => lazy(async () => {}, { ttlMs: -1 })).toThrow("lazy: options.ttlMs must be a number");
  expect(() => lazy(async () => {}, { keep: 1 as never })).toThrow(
    "options.keep must be a boolean",
  );
  expect(() => shared(5 as never)).toThrow("work must be a future");
  expect(() => singleFlight()("a", sleep(0) as never)).toThrow("singleFlight: work must be");
});

test("lazy compared with a model: callers that come and go at random moments", () => {
  const caller = fc.record({ atMs: fc.nat(60), limitMs: fc.option(fc.nat(30), { nil: null }) });
  fc.assert(
    fc.property(fc.array(caller, { maxLength: 8 }), fc.boolean(), (callers, keep) => {
      using runtime = virtual();
      let running = 0;
      let most = 0;
      const init = function* (): Coroutine<string> {
        most = Math.max(most, ++running);
        try {
          yield* sleep(20.5);
          return "value";
        } finally {
          running--;
        }
      };
      const value: Lazy<string> = lazy(init, { keep });
      // The model: a run begins with the first caller and ends 20.5 ms later, or when its last caller leaves.
      const sorted = callers
        .map((one, n) => ({ ...one, n, atMs: one.atMs + n / 100 }))
        .toSorted((a, b) => a.atMs - b.atMs);
      const leavesAt = ({ atMs, limitMs }: { atMs: number; limitMs: number | null }): number =>
        limitMs === null ? Number.POSITIVE_INFINITY : atMs + limitMs + 0.123;
      const expected = new Map<number, number | null>();
      let readyMs = Number.POSITIVE_INFINITY;
      for (let index = 0; index < sorted.length; ) {
        const startMs = sorted[index]!.atMs;
        let lastMs = 0;
        let end = index;
        // All that come before the run ends share it.
        const endOf = (): number => (keep ? startMs + 20.5 : Math.min(startMs + 20.5, lastMs));
        while (end < sorted.length && (end === index || sorted[end]!.atMs < endOf())) {
          lastMs = Math.max(lastMs, leavesAt(sorted[end]!));
          end++;
        }
        const doneMs = startMs + 20.5;
        const isDone = keep || lastMs > doneMs;
        for (const one of sorted.slice(index, end)) {
          expected.set(one.n, isDone && leavesAt(one) > doneMs ? doneMs : null);
        }
        index = end;
        if (isDone) {
          readyMs = doneMs;
          for (const one of sorted.slice(index)) expected.set(one.n, one.atMs);
          break;
        }
      }
      const seen = new Map<number, number | null>();
      runtime.blockOn(async () => {
        await Promise.all(
          sorted.map(({ atMs, limitMs, n }) =>
            spawn(async () => {
              await sleep(atMs);
              const limit = limitMs === null ? Number.POSITIVE_INFINITY : limitMs + 0.123;
              try {
                await timeout(limit, value);
                seen.set(n, now());
              } catch {
                seen.set(n, null);
              }
            }),
          ),
        );
        if (readyMs < Number.POSITIVE_INFINITY) await sleep(100);
      });
      for (const [n, atMs] of expected) {
        if (atMs === null) expect(seen.get(n)).toBeNull();
        else expect(seen.get(n)).toBeCloseTo(atMs, 6);
      }
      expect(most).toBeLessThanOrEqual(1);
      expect([running, runtime.tasks().length, runtime.metrics().timers]).toEqual([0, 0, 0]);
    }),
    { numRuns: 300 },
  );
});
