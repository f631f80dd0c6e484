// hedge: compared with a model on a virtual clock, and its cancellation at each moment.

import { expect, setDefaultTimeout, test } from "bun:test";
import fc from "fast-check";
import { type Coroutine, hedge, now, Runtime, sleep, timeout } from "../../src/index.ts";
import { caught } from "../support/caught.ts";
import { VirtualClock } from "../support/virtual-clock.ts";

setDefaultTimeout(60_000); // a slow machine must not fail the test

interface Attempt {
  readonly ms: number;
  readonly fails: boolean;
}

const scenario = fc.record({
  attempts: fc.array(fc.record({ ms: fc.integer({ min: 1, max: 60 }), fails: fc.boolean() }), {
    minLength: 1,
    maxLength: 5,
  }),
  afterMs: fc.integer({ min: 1, max: 30 }),
});

/** With fractions of which no two sums are equal, so that no two events of the model happen together. */
const durationOf = ({ ms }: Attempt, n: number): number => ms + 2 ** -(n + 4);

/** Returns when each attempt starts, and the outcome with its time. */
function model(attempts: readonly Attempt[], afterMs: number) {
  const starts = [0];
  const failed = new Set<number>();
  for (;;) {
    const nextStartMs =
      starts.length < attempts.length ? starts.at(-1)! + afterMs : Number.POSITIVE_INFINITY;
    const ends = starts
      .map((startMs, n) => ({ n, atMs: startMs + durationOf(attempts[n]!, n) }))
      .filter(({ n }) => !failed.has(n))
      .toSorted((a, b) => a.atMs - b.atMs);
    const [first] = ends;
    if (first === undefined || nextStartMs < first.atMs) {
      starts.push(nextStartMs);
      continue;
    }
    if (!attempts[first.n]!.fails) return { starts, atMs: first.atMs, winner: first.n };
    failed.add(first.n);
    if (failed.size === attempts.length) return { starts, atMs: first.atMs, winner: null };
    if (starts.length < attempts.length) starts.push(first.atMs);
  }
}

function workOf(attempts: readonly Attempt[]) {
  const log = { starts: [] as number[], ends: 0 };
  const work = function* (attempt: number): Coroutine<number> {
    const n = attempt - 1;
    log.starts.push(now());
    try {
      yield* sleep(durationOf(attempts[n]!, n));
      if (attempts[n]!.fails) throw new Error(`attempt ${n}`);
      return n;
    } finally {
      log.ends++;
    }
  };
  return { work, log };
}

test("hedge starts the attempts, and has the outcome, of the model", () => {
  fc.assert(
    fc.property(scenario, ({ attempts, afterMs }) => {
      using runtime = new Runtime({ clock: new VirtualClock() });
      const { work, log } = workOf(attempts);
      const expected = model(attempts, afterMs);
      const outcome: unknown = runtime.blockOn(async () => {
        try {
          return await hedge(work, { afterMs, max: attempts.length });
        } catch (error) {
          return error;
        }
      });
      if (expected.winner !== null) expect(outcome).toBe(expected.winner);
      else if (attempts.length === 1) expect((outcome as Error).message).toBe("attempt 0");
      else {
        expect(outcome).toBeInstanceOf(AggregateError);
        const messages = (outcome as AggregateError).errors.map((error: Error) => error.message);
        expect(messages).toEqual(attempts.map((_, n) => `attempt ${n}`));
      }
      expect(log.starts.length).toBe(expected.starts.length);
      for (const [n, startMs] of log.starts.entries()) {
        expect(startMs).toBeCloseTo(expected.starts[n]!, 6);
      }
      expect(runtime.blockOn(async () => now())).toBeCloseTo(expected.atMs, 6);
      expect([log.ends, runtime.metrics().timers]).toEqual([log.starts.length, 0]);
    }),
    { numRuns: 300 },
  );
});

test("a hedge that is cancelled at any moment ends all attempts with their cleanup", () => {
  fc.assert(
    fc.property(scenario, fc.nat(80), ({ attempts, afterMs }, limitMs) => {
      using runtime = new Runtime({ clock: new VirtualClock() });
      const { work, log } = workOf(attempts);
      const hedged = hedge(work, { afterMs, max: attempts.length });
      runtime.blockOn(async () => await timeout(limitMs, hedged).catch(() => null));
      expect([log.ends, runtime.metrics().timers]).toEqual([log.starts.length, 0]);
      expect(runtime.tasks()).toEqual([]);
    }),
    { numRuns: 200 },
  );
});

test("the value arrives after the cleanup of the losers, and fast work starts once", () => {
  using runtime = new Runtime({ clock: new VirtualClock() });
  const log: string[] = [];
  const work = async (attempt: number): Promise<number> => {
    try {
      await sleep(attempt === 1 ? 1000 : 5);
      return attempt;
    } finally {
      await sleep(10);
      log.push(`${attempt} ended at ${now()}`);
    }
  };
  expect(runtime.blockOn(hedge(work, { afterMs: 20 }))).toBe(2);
  expect(log).toEqual(["2 ended at 35", "1 ended at 45"]);
  expect(runtime.blockOn(hedge(async (attempt) => attempt, { afterMs: 20, max: 9 }))).toBe(1);
});

test("hedge throws at once for work that can run only once, and for bad options", () => {
  expect(() => hedge(sleep(0) as never, { afterMs: 1 })).toThrow("hedge: work must be a function");
  const work = async (): Promise<void> => {};
  expect(caught(() => hedge(work, undefined as never))).toBeInstanceOf(TypeError);
  expect(() => hedge(work, {} as never)).toThrow("hedge: options.afterMs must be a number >= 0");
  expect(() => hedge(work, { afterMs: 1, max: 0 })).toThrow(
    "hedge: options.max must be a positive integer; got 0",
  );
});
