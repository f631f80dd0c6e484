// scope: onFailure, limit, cancel, close, size, and which errors it throws in which order.

import { expect, setDefaultTimeout, test } from "bun:test";
import fc from "fast-check";
import {
  AbortError,
  type Coroutine,
  Notify,
  Runtime,
  type Scope,
  scope,
  sleep,
  spawn,
  yieldNow,
} from "../../src/index.ts";
import { caught, failureOf } from "../support/caught.ts";
import { Counting } from "../support/counting.ts";
import { untilIdle } from "../support/idle.ts";
import { captureConsoleError } from "../support/output.ts";
import { careful, failAfter } from "../support/work.ts";

setDefaultTimeout(60_000); // a slow machine must not fail the test

const boom = new Error("boom");

test('with onFailure "report", failures are printed with the name of the task, and the other tasks continue', () => {
  using reported = captureConsoleError();
  using runtime = new Runtime();
  const log: string[] = [];
  const value = runtime.blockOn(
    scope(
      function* (s) {
        s.spawn(failAfter(1, boom), { name: "bad" });
        s.spawn(async () => {
          await sleep(5);
          log.push("good");
        });
        yield* sleep(1);
        return 7;
      },
      { onFailure: "report" },
    ),
  );
  expect([value, log]).toEqual([7, ["good"]]);
  expect(reported.mock.calls).toEqual([["guillotine: task bad of a scope failed:", boom]]);
});

test("an onFailure function receives the error and the name; an error that it throws cancels the scope", () => {
  using runtime = new Runtime();
  const seen: unknown[] = [];
  const fatal = new Error("fatal");
  const log: string[] = [];
  const error = caught(() =>
    runtime.blockOn(
      scope(
        function* (s) {
          s.spawn(failAfter(1, boom), { name: "first" });
          s.spawn(careful("other", log));
          yield* sleep(1);
          s.spawn(failAfter(1, fatal), { name: "second" });
          yield* sleep(1e6);
        },
        {
          onFailure: (error, name) => {
            seen.push([error, name]);
            if (error === fatal) throw error;
          },
        },
      ),
    ),
  );
  expect(error).toBe(fatal);
  expect(seen).toEqual([
    [boom, "first"],
    [fatal, "second"],
  ]);
  expect(log).toEqual(["other is clean"]);
});

const bug = new Error("bug in onFailure");

test.each([
  async () => {
    await sleep(1);
    throw bug;
  },
  function* () {
    yield* sleep(1);
    throw bug;
  },
])(
  "work of onFailure that fails cancels the scope, or is reported once the scope has ended: %p",
  async (onFailure) => {
    using reported = captureConsoleError();
    using runtime = new Runtime({ clock: "virtual" });
    let cleaned = 0;
    const cancelled = scope(
      function* (s) {
        s.spawn(failAfter(0, boom));
        try {
          yield* sleep(1e6);
        } finally {
          cleaned++;
        }
      },
      { onFailure },
    );
    expect(caught(() => runtime.blockOn(cancelled))).toBe(bug);
    expect(cleaned).toBe(1);
    expect(reported.mock.calls).toEqual([]);
    // The last task fails, and the scope ends in the same poll.
    await scope(async (s) => void s.spawn(failAfter(0, boom)), { onFailure });
    while (reported.mock.calls.length === 0) await sleep(1);
    expect(reported.mock.calls.map((call) => call[1])).toEqual([bug]);
  },
);

test("a failure of the body cancels the tasks, whatever onFailure says", () => {
  using runtime = new Runtime();
  const log: string[] = [];
  const work = scope(
    function* (s) {
      s.spawn(careful("task", log));
      yield* failAfter(2, boom);
    },
    { onFailure: "report" },
  );
  expect(caught(() => runtime.blockOn(work))).toBe(boom);
  expect(log).toEqual(["task is clean"]);
});

test("cancel(reason) cancels the body and the tasks, and the scope throws the reason after their cleanup", () => {
  using runtime = new Runtime();
  for (const isInside of [true, false]) {
    const log: string[] = [];
    let kept: Scope | undefined;
    const work = scope(function* (s) {
      kept = s;
      s.spawn(careful("task", log));
      yield* sleep(1);
      if (isInside) s.cancel(boom);
      yield* careful("body", log);
    });
    const error = runtime.blockOn(function* () {
      const handle = spawn(failureOf(work));
      yield* sleep(3);
      if (!isInside) kept?.cancel(boom);
      kept?.cancel(new Error("has no effect"));
      return yield* handle;
    });
    expect(error).toBe(boom);
    expect(log.sort()).toEqual(["body is clean", "task is clean"]);
    kept?.cancel(boom);
    expect(kept?.size).toBe(0);
  }
  const error = caught(() => runtime.blockOn(scope(async (s) => s.cancel())));
  expect(error).toBeInstanceOf(AbortError);
  expect((error as Error).message).toBe("the scope was cancelled");
});

test("the reason of cancel() is no failure to report when the scope itself is cancelled in the same turn", () => {
  for (const reason of [undefined, new Error("enough")]) {
    using reported = captureConsoleError();
    using runtime = new Runtime();
    const go = new Notify();
    const handle = runtime.spawn(async () => {
      await scope(async (s) => {
        s.spawn(function* () {
          yield* go.notified();
          throw boom;
        });
        await go.notified();
        s.cancel(reason);
      });
    });
    untilIdle(runtime);
    go.notifyAll();
    handle.abort();
    untilIdle(runtime);
    expect(handle.isAborted).toBe(true);
    // A failure of a task is reported.
    expect(reported.mock.calls).toEqual([
      ["guillotine: a task of a cancelled scope failed:", boom],
    ]);
  }
});

test("close() refuses later spawns and completes when no task is left", () => {
  using runtime = new Runtime();
  runtime.blockOn(
    scope(function* (s) {
      expect(s.size).toBe(0);
      const tasks = [new Counting<void>(), new Counting<void>()];
      for (const task of tasks) s.spawn(task);
      expect(s.size).toBe(2);
      const closed = s.close();
      expect(() => s.spawn(sleep(0))).toThrow("scope.spawn: close() was called on this scope");
      const waiting = spawn(closed);
      yield* untilIdle();
      tasks[0]?.complete();
      yield* untilIdle();
      expect([s.size, waiting.isFinished]).toEqual([1, false]);
      tasks[1]?.complete();
      yield* waiting;
      expect(s.size).toBe(0);
      yield* s.close();
    }),
  );
});

test("close() completes when the last task was aborted", () => {
  using runtime = new Runtime();
  runtime.blockOn(
    scope(function* (s) {
      const handle = s.spawn(sleep(1e6));
      const closed = spawn(s.close());
      yield* untilIdle();
      handle.abort();
      yield* closed;
    }),
  );
});

test("with a limit, tasks wait for a place, and ready() is backpressure", () => {
  using runtime = new Runtime();
  let running = 0;
  let most = 0;
  const work = function* (): Coroutine<void> {
    most = Math.max(most, ++running);
    yield* sleep(1);
    running--;
  };
  runtime.blockOn(
    scope(
      async (s) => {
        for (let n = 0; n < 10; n++) s.spawn(work);
        for (let n = 0; n < 10; n++) {
          await s.ready();
          s.spawn(work);
          expect(running).toBeLessThanOrEqual(3);
        }
      },
      { limit: 3 },
    ),
  );
  expect([running, most]).toEqual([0, 3]);
});

test("scope throws for bad options", () => {
  const body = async (): Promise<void> => {};
  expect(() => scope(body, null as never)).toThrow("scope: options must be an object; got null");
  expect(() => scope(body, { limit: 0 })).toThrow(
    "scope: options.limit must be a positive integer",
  );
  expect(() => scope(body, { onFailure: "ignore" as never })).toThrow(
    'scope: options.onFailure must be "cancel", "report", or a function; got "ignore"',
  );
});

test("a scope throws the failure that cancelled it first, then those that had happened, in the order of the spawns", () => {
  fc.assert(
    fc.property(
      fc.array(fc.nat(3), { minLength: 1, maxLength: 6 }),
      fc.option(fc.nat(3), { nil: null }),
      (turns, bodyTurns) => {
        using runtime = new Runtime();
        const errors = turns.map((_, index) => new Error(`task ${index}`));
        const ofBody = new Error("body");
        const thrown = caught(() =>
          runtime.blockOn(
            scope(function* (s) {
              for (const [index, turn] of turns.entries()) s.spawn(failAfter(turn, errors[index]!));
              if (bodyTurns !== null) yield* failAfter(bodyTurns, ofBody);
              yield* sleep(1e6);
            }),
          ),
        );
        const all = thrown instanceof AggregateError ? thrown.errors : [thrown];
        const places = all.map((error) => (error === ofBody ? -1 : errors.indexOf(error)));
        expect(places.slice(1)).toEqual(places.slice(1).toSorted((a, b) => a - b));
        expect(new Set(places).size).toBe(places.length);
        if (all.length === 1) expect(thrown).not.toBeInstanceOf(AggregateError);
        // The first error is of work that failed in the earliest turn.
        const [first = -1] = places;
        const turnOf = (place: number): number => (place === -1 ? bodyTurns! : turns[place]!);
        for (const place of places) expect(turnOf(first)).toBeLessThanOrEqual(turnOf(place) + 1);
        expect(runtime.tasks()).toEqual([]);
      },
    ),
    { numRuns: 200 },
  );
});

test("cancelling a scope at each suspension ends all tasks and runs each cleanup", () => {
  for (let turns = 0; turns < 12; turns++) {
    for (const options of [{}, { limit: 2 }, { onFailure: "report" as const }]) {
      using _reported = captureConsoleError();
      using runtime = new Runtime();
      let open = 0;
      const task = function* (): Coroutine<void> {
        open++;
        try {
          for (let n = 0; n < 3; n++) yield* yieldNow();
        } finally {
          open--; // first: a cancellation may end a `finally` that runs because the work ended by itself
          yield* yieldNow();
        }
      };
      const handle = runtime.spawn(
        scope(async (s) => {
          for (let n = 0; n < 5; n++) s.spawn(task);
          await s.ready();
          await s.close();
        }, options),
      );
      runtime.blockOn(function* () {
        for (let turn = 0; turn < turns; turn++) yield* yieldNow();
        handle.abort();
        if (!handle.isFinished) yield* failureOf(handle);
        expect(open).toBe(0);
      });
      runtime.block();
      expect(runtime.tasks()).toEqual([]);
    }
  }
});
