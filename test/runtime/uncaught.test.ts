// Uncaught failures: what happens when a task fails and nobody joins it, per `onUncaught`.

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

setDefaultTimeout(60_000); // the machine may be slow

const boom = new Error("boom");
const failing = async (): Promise<never> => {
  throw boom;
};

/** The UncaughtTaskError that `call` throws. */
function uncaught(call: () => unknown): UncaughtTaskError {
  const error = caught(call);
  expect(error).toBeInstanceOf(UncaughtTaskError);
  return error as UncaughtTaskError;
}

test("blockOn and block throw an UncaughtTaskError on return, with all failures and the first as its cause", () => {
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
      log.push("continued");
    }),
  );
  expect(log).toEqual(["continued"]);
  expect(error.message).toContain(
    "task first failed, and nobody joined it (and 1 more): Error: boom",
  );
  expect(error.cause).toBe(boom);
  expect(error.errors).toEqual([boom, second]);
  expect(runtime.blockOn(async () => "thrown once")).toBe("thrown once");
  runtime.spawn(failing);
  expect(uncaught(() => runtime.block()).cause).toBe(boom);
});

test("a failure is uncaught when every joiner has given up, and caught when one still waits", () => {
  using runtime = new Runtime();
  function* late(): Coroutine<never> {
    yield* sleep(1);
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

test("a failure is not uncaught when its handle is polled before blockOn returns", () => {
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

/** Polls until every earlier failure is overdue: more than 10,000 polls old. */
function* graceOver(): Coroutine<void> {
  for (let poll = 0; poll < 10_100; poll++) yield* yieldNow();
}

test("a long blockOn prints overdue failures once, and throws the first 64 of them when it returns", () => {
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
      yield* graceOver();
      expect(print.mock.calls).toEqual(
        errors.map((each) => [
          "guillotine: task lost, which nobody has joined so far, failed:",
          each,
        ]),
      );
      yield* graceOver();
    }),
  );
  expect(error.errors).toEqual(errors.slice(0, 64));
  runtime.block(); // throws nothing: they were thrown once
  runtime.spawn(failing);
  expect(() =>
    runtime.blockOn(function* () {
      yield* graceOver();
      throw new Error("own");
    }),
  ).toThrow("own");
  runtime[Symbol.dispose](); // prints nothing: the failure was printed already
  expect(print.mock.calls).toHaveLength(101);
});

test("a long blockOn releases the errors of failures that were joined late", () => {
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
      yield* graceOver();
      for (let look = 0; look < 20; look++) {
        yield* sleep(1); // a WeakRef keeps its target until the current job ends
        Bun.gc(true);
        if (errors.filter((ref) => ref.deref() !== undefined).length < 200) return;
      }
      throw new Error("the errors were not collected");
    }),
  );
  expect(lost.errors).toEqual([boom]);
  expect(print.mock.calls.map((call) => call[1])).toEqual([boom]); // printed while blockOn was running
});

test("blockOn throws the error of its own work, and the next blockOn throws the uncaught one", () => {
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

test("the disposal of a runtime prints the failures that no blockOn has thrown", () => {
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
  "an UncaughtTaskError has any thrown value as its cause: %p",
  (thrown) => {
    using runtime = new Runtime();
    runtime.spawn(function* () {
      throw thrown;
    });
    expect(uncaught(() => runtime.block()).cause).toBe(thrown);
  },
);

test("an aborted task is not an uncaught failure", () => {
  using runtime = new Runtime();
  const signal = AbortSignal.abort(new Error("reason"));
  runtime.spawn(sleep(1e6)).abort();
  runtime.spawn(sleep(1e6), { signal });
  runtime.block();
});

test('with "report", a failure is printed once and the runtime keeps running', () => {
  using print = captureConsoleError();
  using runtime = new Runtime({ onUncaught: "report" });
  runtime.spawn(failing, { name: "lost" }).detach();
  expect(runtime.blockOn(async () => (await sleep(1)) ?? "still running")).toBe("still running");
  runtime.block();
  expect(print.mock.calls).toEqual([["guillotine: task lost, which nobody joined, failed:", boom]]);
});

test("a function receives the error and the task, and an error that it throws is printed", () => {
  using print = captureConsoleError();
  const received: [unknown, TaskInfo][] = [];
  const broken = new Error("handler");
  using runtime = new Runtime({
    onUncaught: (error, task) => {
      received.push([error, task]);
      throw broken;
    },
  });
  runtime.spawn(failing, { name: "lost" });
  runtime.block();
  expect(received).toEqual([[boom, expect.objectContaining({ name: "lost", state: "ended" })]]);
  expect(print.mock.calls).toEqual([["guillotine: onUncaught failed:", broken]]);
});

test("a failure reaches its owner even if a race has given up on the handle", async () => {
  const reported: unknown[] = [];
  using runtime = new Runtime({ onUncaught: (error) => void reported.push(error) });
  let thrown: unknown;
  function* failAtOnce(): Coroutine<never> {
    throw boom;
  }
  function* ready(): Coroutine<void> {}
  try {
    runtime.blockOn(
      scope(function* (s) {
        yield* race(s.spawn(failAtOnce), ready()); // ends before the scope has polled the task
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
    yield* race(handle, ready()); // ends before the promise has been polled
    yield* untilIdle();
    return promises;
  });
  expect(await given[0]).toBe(boom);
  expect(reported).toEqual([]);
});

test("a failure is uncaught when its joiner had no coop budget left and was then aborted", () => {
  const reported: unknown[] = [];
  using runtime = new Runtime({ onUncaught: (error) => void reported.push(error) });
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
  expect(reported).toEqual([boom]);
});

test("a failure is uncaught when its joiner was woken by it, and aborted before it received it", () => {
  const reported: unknown[] = [];
  using runtime = new Runtime({ onUncaught: (error) => void reported.push(error) });
  let joiner: JoinHandle<unknown>;
  function* late(): Coroutine<never> {
    yield* sleep(1);
    joiner.abort(); // cancels it in the turn in which it would receive the failure
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
    expect(reported.splice(0)).toEqual([boom]);
  }
  // The failure is not uncaught when another joiner receives it, or when its cancelled scope reports it.
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
  expect([reported, log.mock.calls.length]).toEqual([[], 1]);
});

test("a failure is thrown once although a joiner has claimed it and given up", () => {
  using runtime = new Runtime();
  const handle = runtime.spawn(failing);
  const giveUp = function* () {
    while (!handle.isFinished) yield* yieldNow();
    const cx = Runtime.current();
    const join = handle[Symbol.iterator]();
    cx.budget = 0; // the join claims the failure, and cannot receive it yet
    expect(join.next().done).toBe(false);
    join.drop();
  };
  const error = uncaught(() => runtime.blockOn(giveUp));
  expect(error.errors).toEqual([boom]);
  runtime.blockOn(giveUp);
  expect(() => runtime.blockOn(handle)).toThrow(boom);
});

test("a long blockOn prints an overdue failure although a joiner has just given up on an older one", () => {
  using print = captureConsoleError();
  using runtime = new Runtime();
  const second = new Error("second");
  const error = uncaught(() =>
    runtime.blockOn(function* () {
      const older = spawn(failing);
      spawn(() => Promise.reject(second));
      for (let poll = 0; poll < 9000; poll++) yield* yieldNow();
      runtime.budget = 0; // the join claims the failure, and cannot receive it yet
      const join = older[Symbol.iterator]();
      join.next();
      join.drop();
      for (let poll = 0; poll < 1100; poll++) yield* yieldNow();
      expect(print.mock.calls.map((call) => call[1])).toEqual([second]);
    }),
  );
  expect(error.errors).toEqual([second, boom]);
});
