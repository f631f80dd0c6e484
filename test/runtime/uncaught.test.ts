// Failures that nobody took.

import { expect, setDefaultTimeout, test } from "bun:test";
import {
  type Coroutine,
  type IntoFuture,
  type JoinHandle,
  join,
  Runtime,
  race,
  scope,
  sleep,
  spawn,
  type TaskInfo,
  UncaughtTaskError,
  yieldNow,
} from "../../src/index.ts";
import { caught, failureOf } from "../support/caught.ts";
import { untilIdle } from "../support/idle.ts";
import { captureConsoleError } from "../support/output.ts";

setDefaultTimeout(60_000); // a slow machine is no failure

const boom = new Error("boom");
const failing = async (): Promise<never> => {
  throw boom;
};

function uncaught(call: () => unknown): UncaughtTaskError {
  const error = caught(call);
  expect(error).toBeInstanceOf(UncaughtTaskError);
  return error as UncaughtTaskError;
}

test("throw: when blockOn would return, with the cause, and the others", () => {
  using runtime = new Runtime();
  const second = new Error("second");
  const log: string[] = [];
  const error = uncaught(() =>
    runtime.blockOn(function* () {
      spawn(failing, { name: "first" });
      spawn(async () => {
        throw second;
      });
      yield* sleep(1);
      log.push("went on");
    }),
  );
  expect(log).toEqual(["went on"]);
  expect(error.message).toContain(
    "task first failed, and nobody joined it (and 1 more): Error: boom",
  );
  expect(error.cause).toBe(boom);
  expect(error.errors).toEqual([boom, second]);
  expect(runtime.blockOn(async () => "told once")).toBe("told once");
  runtime.spawn(failing);
  expect(uncaught(() => runtime.block()).cause).toBe(boom);
});

test("throw: who gave up waiting did not take it; one who still waits does", () => {
  using runtime = new Runtime();
  function* late(): Coroutine<never> {
    for (let turn = 0; turn < 5; turn++) yield* yieldNow();
    throw boom;
  }
  const lost = runtime.spawn(late);
  runtime.blockOn(race(lost, yieldNow()));
  expect(uncaught(() => runtime.block()).cause).toBe(boom);

  const joined = runtime.spawn(late);
  const joiner = runtime.spawn(failureOf(joined));
  runtime.blockOn(race(joined, yieldNow()));
  runtime.block();
  expect(runtime.blockOn(joiner)).toBe(boom);

  const detached = runtime.spawn(late);
  runtime.blockOn(function* () {
    expect(detached.next().done).toBe(false);
    detached.detach();
  });
  expect(uncaught(() => runtime.block()).cause).toBe(boom);
});

test("throw: a handle that is polled in time, before or after the failure, is no case of it", () => {
  using runtime = new Runtime();
  const error = runtime.blockOn(function* () {
    const late = spawn(failing);
    yield* sleep(1);
    return yield* failureOf(late);
  });
  expect(error).toBe(boom);
  expect(runtime.blockOn(spawnAndJoin(runtime))).toBe(boom);
});

function spawnAndJoin(runtime: Runtime) {
  return async () => await runtime.spawn(failing).then(null, (error: unknown) => error);
}

/** Until a failure before it is one that nobody has joined for long. */
function* longAfter(): Coroutine<void> {
  for (let poll = 0; poll < 10_100; poll++) yield* yieldNow();
}

test("throw: a blockOn that goes on and on prints them, keeps some, and throws those in the end", () => {
  using print = captureConsoleError();
  using runtime = new Runtime();
  const alive = (): number => runtime.metrics().tasksAlive;
  const errors = Array.from({ length: 100 }, (_, index) => new Error(`boom ${index}`));
  const error = uncaught(() =>
    runtime.blockOn(function* () {
      const joined = spawn(failing, { name: "joined in time" });
      for (const each of errors) spawn(() => Promise.reject(each), { name: "lost" });
      while (alive() > 1) yield* yieldNow();
      expect(yield* failureOf(joined)).toBe(boom);
      expect(print.mock.calls).toEqual([]);
      yield* longAfter();
      expect(print.mock.calls).toEqual(
        errors.map((each) => [
          "guillotine: task lost, which nobody has joined so far, failed:",
          each,
        ]),
      );
      yield* longAfter();
    }),
  );
  expect(error.errors).toEqual(errors.slice(0, 64));
  runtime.block(); // told once
  runtime.spawn(failing);
  expect(() =>
    runtime.blockOn(function* () {
      yield* longAfter();
      throw new Error("own");
    }),
  ).toThrow("own");
  runtime[Symbol.dispose](); // it has been printed
  expect(print.mock.calls).toHaveLength(101);
});

test("throw: failures that were taken after all are let go of, though blockOn goes on", () => {
  using print = captureConsoleError();
  using runtime = new Runtime();
  const errors: WeakRef<Error>[] = [];
  const fail = function* (): Coroutine<never> {
    const error = new Error("boom");
    errors.push(new WeakRef(error));
    throw error;
  };
  const failLate = function* (): Coroutine<void> {
    const handle = spawn(fail);
    yield* sleep(0);
    try {
      yield* handle;
    } catch {}
  };
  const lost = uncaught(() =>
    runtime.blockOn(function* () {
      spawn(failing);
      for (let round = 0; round < 1000; round++) yield* failLate();
      yield* longAfter();
      for (let look = 0; look < 20; look++) {
        yield* sleep(1); // WeakRefs hold until the job is over
        Bun.gc(true);
        if (errors.filter((ref) => ref.deref() !== undefined).length < 200) return;
      }
      throw new Error("they are still there");
    }),
  );
  expect(lost.errors).toEqual([boom]);
  expect(print.mock.calls.map((call) => call[1])).toEqual([boom]); // told while blockOn went on
});

test("throw: blockOn's own error goes first, and the other is not lost", () => {
  using runtime = new Runtime();
  const own = new Error("own");
  runtime.spawn(failing);
  expect(() =>
    runtime.blockOn(function* () {
      yield* sleep(1);
      throw own;
    }),
  ).toThrow(own);
  expect(uncaught(() => runtime.blockOn(sleep(0))).cause).toBe(boom);
});

test("throw: what is left when the runtime is disposed is printed", () => {
  using print = captureConsoleError();
  {
    using runtime = new Runtime();
    runtime.spawn(failing, { name: "left" });
    expect(() =>
      runtime.blockOn(async () => {
        await sleep(1);
        throw new Error("own");
      }),
    ).toThrow("own");
  }
  expect(print.mock.calls).toEqual([["guillotine: task left, which nobody joined, failed:", boom]]);
});

test.each([[Symbol("thrown")], [Object.create(null)], [null], [undefined]])(
  "throw: what was thrown may be anything: %p",
  (thrown) => {
    using runtime = new Runtime();
    runtime.spawn(function* () {
      throw thrown;
    });
    expect(uncaught(() => runtime.block()).cause).toBe(thrown);
  },
);

test("an abort is no failure", () => {
  using runtime = new Runtime();
  const signal = AbortSignal.abort(new Error("reason"));
  runtime.spawn(sleep(1e6)).abort();
  runtime.spawn(sleep(1e6), { signal });
  runtime.block();
});

test("report: it is printed, once, and the runtime goes on", () => {
  using print = captureConsoleError();
  using runtime = new Runtime({ onUncaught: "report" });
  runtime.spawn(failing, { name: "lost" }).detach();
  expect(runtime.blockOn(async () => (await sleep(1)) ?? "goes on")).toBe("goes on");
  runtime.block();
  expect(print.mock.calls).toEqual([["guillotine: task lost, which nobody joined, failed:", boom]]);
});

test("a function is told the error and the task; what it throws is printed", () => {
  using print = captureConsoleError();
  const told: [unknown, TaskInfo][] = [];
  const broken = new Error("handler");
  using runtime = new Runtime({
    onUncaught: (error, task) => {
      told.push([error, task]);
      throw broken;
    },
  });
  runtime.spawn(failing, { name: "told" });
  runtime.block();
  expect(told).toEqual([[boom, expect.objectContaining({ name: "told", state: "ended" })]]);
  expect(print.mock.calls).toEqual([["guillotine: onUncaught failed:", broken]]);
});

test("a failure stays its owner's when another gives up on the handle", async () => {
  const heard: unknown[] = [];
  using runtime = new Runtime({ onUncaught: (error) => void heard.push(error) });
  let thrown: unknown;
  function* failAtOnce(): Coroutine<never> {
    throw boom;
  }
  function* ready(): Coroutine<void> {}
  try {
    runtime.blockOn(
      scope(function* (s) {
        yield* race(s.spawn(failAtOnce), ready()); // before the scope has polled it
        yield* sleep(1e6);
      }),
    );
  } catch (error) {
    thrown = error;
  }
  expect(thrown).toBe(boom);
  const given = runtime.blockOn(function* () {
    const handle = spawn(failAtOnce);
    const promises = [handle.then(null, (error) => error)];
    yield* race(handle, ready()); // before that promise has begun
    yield* untilIdle();
    return promises;
  });
  expect(await given[0]).toBe(boom);
  expect(heard).toEqual([]);
});

test("who joined with his budget used up, and gave up, did not take it either", () => {
  const heard: unknown[] = [];
  using runtime = new Runtime({ onUncaught: (error) => void heard.push(error) });
  runtime.blockOn(function* () {
    const done = spawn(async () => {});
    yield* done;
    const late = spawn(function* () {
      for (let turn = 0; turn < 5; turn++) yield* yieldNow();
      throw boom;
    });
    const waiter = spawn(function* () {
      while (runtime.budget > 0) yield* done;
      yield* late;
    });
    yield* yieldNow();
    waiter.abort();
    yield* untilIdle();
  });
  expect(heard).toEqual([boom]);
});

test("one who was woken by a failure, and is cancelled before it is given it, did not take it", () => {
  const told: unknown[] = [];
  using runtime = new Runtime({ onUncaught: (error) => void told.push(error) });
  let joiner: JoinHandle<unknown>;
  function* late(): Coroutine<never> {
    for (let turn = 0; turn < 5; turn++) yield* yieldNow();
    joiner.abort(); // it is cancelled in the turn in which it would be given the failure
    throw boom;
  }
  const ways: ((handle: JoinHandle<never>) => IntoFuture<unknown>)[] = [
    (handle) => handle,
    (handle) => join(handle, sleep(1e6)),
    (handle) => async () => await handle,
    (handle) => () => race(handle, handle),
  ];
  for (const way of ways) {
    joiner = runtime.spawn(way(runtime.spawn(late)));
    runtime.block();
    expect(told.splice(0)).toEqual([boom]);
  }
  // Another is given it; or it is its scope's, which is cancelled, and reports it.
  const shared = runtime.spawn(late);
  joiner = runtime.spawn(shared);
  const other = runtime.spawn(shared);
  expect(() => runtime.blockOn(other)).toThrow(boom);
  using log = captureConsoleError();
  joiner = runtime.spawn(
    scope(function* (s) {
      s.spawn(late);
      yield* sleep(1e6);
    }),
  );
  runtime.block();
  expect([told, log.mock.calls.length]).toEqual([[], 1]);
});

test("throw: a failure that was to be taken, and was not, is told once", () => {
  using runtime = new Runtime();
  const handle = runtime.spawn(failing);
  const giveUp = function* () {
    while (!handle.isFinished) yield* yieldNow();
    const cx = Runtime.current();
    const join = handle[Symbol.iterator]();
    cx.budget = 0; // it is asked for, and cannot be given yet
    expect(join.next().done).toBe(false);
    join.drop();
  };
  const error = uncaught(() => runtime.blockOn(giveUp));
  expect(error.errors).toEqual([boom]);
  runtime.blockOn(giveUp);
  expect(() => runtime.blockOn(handle)).toThrow(boom);
});
