// retry: its attempts and pauses compared with a model, and its cancellation at each suspension.

import { expect, setDefaultTimeout, test } from "bun:test";
import fc from "fast-check";
import {
  AbortError,
  type Coroutine,
  now,
  type RetryOptions,
  Runtime,
  retry,
  sleep,
  TimeoutError,
  timeout,
} from "../../src/index.ts";
import { caught, failureOf } from "../support/caught.ts";
import { VirtualClock } from "../support/virtual-clock.ts";

setDefaultTimeout(60_000); // a slow machine must not fail the test

/** Work with attempts that take `ms` each and fail except for the last one. Logs what happens. */
class Flaky {
  readonly starts: number[] = [];
  ends = 0;
  readonly #failures: number;
  readonly #ms: number;

  constructor(failures: number, ms: number) {
    this.#failures = failures;
    this.#ms = ms;
  }

  readonly coroutine = (attempt: number): Coroutine<string> => this.#run(attempt);

  readonly asynchronous = async (attempt: number): Promise<string> => {
    this.starts.push(now());
    try {
      await sleep(this.#ms);
      return this.#outcome(attempt);
    } finally {
      this.ends++;
    }
  };

  *#run(attempt: number): Coroutine<string> {
    this.starts.push(now());
    try {
      yield* sleep(this.#ms);
      return this.#outcome(attempt);
    } finally {
      this.ends++;
    }
  }

  #outcome(attempt: number): string {
    expect(attempt).toBe(this.starts.length);
    if (attempt <= this.#failures) throw new Error(`attempt ${attempt}`);
    return `value ${attempt}`;
  }
}

const scenario = fc.record({
  failures: fc.nat(6),
  ms: fc.nat(20),
  times: fc.integer({ min: 1, max: 6 }),
  backoffMs: fc.nat(50),
  factor: fc.constantFrom(1, 1.5, 2, 10),
  maxMs: fc.nat(200),
  isAsync: fc.boolean(),
});

/** When each attempt starts, and when the last one ends. */
function model(given: RetryOptions & { failures: number; ms: number }): number[] {
  const { failures, ms, times = 3, backoffMs = 100, factor = 2, maxMs = 30_000 } = given;
  const attempts = Math.min(failures + 1, times);
  const moments = [0];
  for (let n = 1; n < attempts; n++) {
    const pauseMs = Math.min(maxMs, backoffMs * factor ** (n - 1));
    moments.push(moments[n - 1]! + ms + pauseMs);
  }
  moments.push(moments.at(-1)! + ms);
  return moments;
}

test("retry makes the attempts, pauses and outcome of the model", () => {
  fc.assert(
    fc.property(scenario, ({ isAsync, failures, ms, ...options }) => {
      using runtime = new Runtime({ clock: new VirtualClock() });
      const flaky = new Flaky(failures, ms);
      const work = isAsync ? flaky.asynchronous : flaky.coroutine;
      const outcome = runtime.blockOn(async () => {
        const settled = await retry(work, options).catch((error: Error) => error.message);
        return [settled, now()];
      });
      const moments = model({ failures, ms, ...options });
      const attempts = moments.length - 1;
      const isDone = attempts === failures + 1;
      expect(outcome[0]).toBe(`${isDone ? "value" : "attempt"} ${attempts}`);
      expect(outcome[1]).toBeCloseTo(moments.at(-1)!, 6);
      for (const [n, startMs] of flaky.starts.entries())
        expect(startMs).toBeCloseTo(moments[n]!, 6);
      expect(flaky.starts).toHaveLength(attempts);
    }),
    { numRuns: 200 },
  );
});

test("a retry that is cancelled at any moment ends the attempt with its cleanup and leaves no timer", () => {
  fc.assert(
    fc.property(scenario, fc.nat(400), ({ isAsync, failures, ms, ...options }, limitMs) => {
      using runtime = new Runtime({ clock: new VirtualClock() });
      const flaky = new Flaky(failures, ms);
      const work = isAsync ? flaky.asynchronous : flaky.coroutine;
      const moments = model({ failures, ms, ...options });
      runtime.blockOn(async () => {
        await timeout(limitMs + 0.123, retry(work, options)).catch(() => null);
        expect(now()).toBeCloseTo(Math.min(limitMs + 0.123, moments.at(-1)!), 6);
      });
      expect(flaky.ends).toBe(flaky.starts.length);
      const started = moments.slice(0, -1).filter((startMs) => startMs < limitMs + 0.123);
      expect(flaky.starts).toHaveLength(started.length);
      expect([runtime.tasks().length, runtime.metrics().timers]).toEqual([0, 0]);
    }),
    { numRuns: 200 },
  );
});

test("without a first pause there is none, whatever the factor is", () => {
  for (const options of [{ backoffMs: 0 }, { maxMs: 0 }]) {
    using runtime = new Runtime({ clock: new VirtualClock() });
    const flaky = new Flaky(9, 0);
    const failing = retry(flaky.coroutine, {
      times: 4,
      factor: Number.POSITIVE_INFINITY,
      ...options,
    });
    expect(() => runtime.blockOn(failing)).toThrow("attempt 4");
    expect(flaky.starts).toEqual([0, 0, 0, 0]);
  }
});

test("jitter shortens each pause by a random part, from the clock of the runtime", () => {
  const randoms = [0, 0.5, 0.25];
  const clock = Object.assign(new VirtualClock(), { random: () => randoms.shift()! });
  using runtime = new Runtime({ clock });
  const flaky = new Flaky(3, 0);
  runtime.blockOn(retry(flaky.coroutine, { times: 4, backoffMs: 100, jitter: 0.5 }));
  expect(flaky.starts).toEqual([0, 100, 100 + 150, 100 + 150 + 350]);
});

test("without random() of the clock, jitter uses the system's random numbers, and stays in its range", () => {
  using runtime = new Runtime({ clock: new VirtualClock() });
  const flaky = new Flaky(30, 0);
  const options = { times: 31, backoffMs: 100, factor: 1, jitter: 0.25 };
  runtime.blockOn(retry(flaky.coroutine, options));
  const pauses = flaky.starts.slice(1).map((startMs, n) => startMs - flaky.starts[n]!);
  for (const pauseMs of pauses) expect(pauseMs).toBeWithin(74.999, 100.001);
  expect(new Set(pauses).size).toBeGreaterThan(1);
});

test("retry tries again only while `when` says so, and by default never after an AbortError", () => {
  using runtime = new Runtime({ clock: new VirtualClock() });
  const seen: unknown[] = [];
  const flaky = new Flaky(9, 0);
  const when = (error: unknown, attempt: number): boolean => {
    seen.push([(error as Error).message, attempt]);
    return attempt < 2;
  };
  expect(() => runtime.blockOn(retry(flaky.coroutine, { times: 9, when }))).toThrow("attempt 2");
  expect(seen).toEqual([
    ["attempt 1", 1],
    ["attempt 2", 2],
  ]);
  let calls = 0;
  const abort = async (): Promise<never> => {
    calls++;
    throw new AbortError("aborted");
  };
  expect(() => runtime.blockOn(retry(abort))).toThrow("aborted");
  expect(calls).toBe(1);
  const bug = new Error("bug");
  const badWhen = (): never => {
    throw bug;
  };
  expect(caught(() => runtime.blockOn(retry(new Flaky(9, 0).coroutine, { when: badWhen })))).toBe(
    bug,
  );
});

test("a signal ends the pause or the attempt, and retry throws its reason", () => {
  using runtime = new Runtime({ clock: new VirtualClock() });
  const reason = new Error("reason");
  for (const abortAtMs of [5, 50]) {
    const controller = new AbortController();
    const flaky = new Flaky(9, 10);
    runtime.spawn(function* () {
      yield* sleep(abortAtMs);
      controller.abort(reason);
    });
    const options = { signal: controller.signal, backoffMs: 1000 };
    expect(caught(() => runtime.blockOn(retry(flaky.coroutine, options)))).toBe(reason);
    expect([flaky.starts.length, flaky.ends]).toEqual([1, 1]);
  }
});

test("a timeout inside the work limits each attempt", () => {
  using runtime = new Runtime({ clock: new VirtualClock() });
  let attempts = 0;
  const work = () => timeout(10, sleep(++attempts < 3 ? 1e6 : 1));
  runtime.blockOn(retry(work, { backoffMs: 1 }));
  expect(attempts).toBe(3);
  const error = runtime.blockOn(() => failureOf(retry(() => timeout(1, sleep(1e6)))));
  expect(error).toBeInstanceOf(TimeoutError);
});

test("retry throws TypeError for a `when` that returns a promise, which would count as true", () => {
  using runtime = new Runtime();
  let attempts = 0;
  const work = async (): Promise<void> => {
    attempts++;
    throw new Error("failed");
  };
  const when = (async () => false) as never;
  expect(() => runtime.blockOn(retry(work, { when }))).toThrow(
    "retry: options.when must return a boolean, not a promise",
  );
  expect(attempts).toBe(1);
});

test("retry throws at once for work that can run only once, and for bad options", () => {
  const coroutine = new Flaky(0, 0).coroutine(1);
  for (const work of [coroutine, sleep(0), Promise.resolve()]) {
    expect(() => retry(work as never)).toThrow(
      "retry: work must be a function, because it may run several times: pass the `function*`",
    );
  }
  const work = async (): Promise<void> => {};
  for (const [options, message] of [
    [null, "retry: options must be an object"],
    [{ times: 0 }, "retry: options.times must be a positive integer; got 0"],
    [{ backoffMs: -1 }, "retry: options.backoffMs must be a number >= 0"],
    [{ maxMs: Number.NaN }, "retry: options.maxMs must be a number >= 0"],
    [{ factor: 0.5 }, "retry: options.factor must be a number >= 1; got 0.5"],
    [{ jitter: 2 }, "retry: options.jitter must be a number from 0 to 1; got 2"],
    [{ when: 5 }, "retry: options.when must be a function; got 5"],
    [{ signal: 5 }, "retry: options.signal must be an AbortSignal; got 5"],
  ]) {
    expect(() => retry(work, options as never)).toThrow(message as string);
  }
});
