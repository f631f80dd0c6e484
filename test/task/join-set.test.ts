// JoinSet: the order of results, the limit, failures, disposal.

import { expect, test } from "bun:test";
import { AbortError, JoinSet, Runtime, sleep, spawn, yieldNow } from "../../src/index.ts";
import { caught } from "../support/caught.ts";
import { Counting } from "../support/counting.ts";
import { untilIdle } from "../support/idle.ts";
import { captureConsoleError } from "../support/output.ts";
import { careful, failAfter } from "../support/work.ts";

test("joinNext returns results in the order in which the tasks end, then `done`", () => {
  using runtime = new Runtime();
  const futures = ["a", "b", "c"].map(() => new Counting<string>());
  runtime.blockOn(function* () {
    using set = new JoinSet<string>();
    expect(yield* set.joinNext()).toEqual({ done: true });
    for (const future of futures) set.spawn(future);
    expect(set.size).toBe(3);
    yield* yieldNow();
    for (const index of [1, 2, 0]) {
      const next = spawn(set.joinNext());
      yield* yieldNow();
      futures[index]?.complete(`${index}`);
      expect(yield* next).toEqual({ done: false, value: `${index}` });
    }
    expect(yield* set.joinNext()).toEqual({ done: true });
  });
});

test("with a limit, tasks wait for a place and start in the order of their spawns", () => {
  using runtime = new Runtime();
  let running = 0;
  let most = 0;
  const order: number[] = [];
  runtime.blockOn(function* () {
    using set = new JoinSet<number>({ limit: 3 });
    for (let index = 0; index < 20; index++) {
      set.spawn(function* () {
        most = Math.max(most, ++running);
        yield* yieldNow();
        running--;
        return index;
      });
    }
    expect(set.size).toBe(20);
    yield* untilIdle();
    expect(set.size).toBe(20);
    for (;;) {
      const next = yield* set.joinNext();
      if (next.done) break;
      order.push(next.value);
    }
  });
  expect(most).toBe(3);
  expect(order).toEqual(Array.from({ length: 20 }, (_, index) => index));
  expect(() => new JoinSet({ limit: 0 })).toThrow(
    "JoinSet: options.limit must be a positive integer; got 0",
  );
});

test("ready() waits until a spawn would start at once, so a loop never has a task that waits", () => {
  using runtime = new Runtime();
  runtime.blockOn(function* () {
    using set = new JoinSet<void>({ limit: 2 });
    const tasks = Array.from({ length: 6 }, () => new Counting<void>());
    const producer = spawn(function* () {
      for (const task of tasks) {
        yield* set.ready();
        set.spawn(task);
      }
    });
    for (let ended = 0; ended < tasks.length; ended++) {
      yield* untilIdle();
      const started = Math.min(ended + 2, tasks.length);
      expect(tasks.filter(({ polls }) => polls > 0)).toHaveLength(started);
      expect(set.size).toBe(started);
      tasks[ended]?.complete();
    }
    yield* producer;
    const unlimited = new JoinSet<void>();
    yield* unlimited.ready();
    const waiting = new JoinSet<void>({ limit: 1 });
    waiting.spawn(sleep(1e6)).abort();
    const dropped = spawn(waiting.ready());
    dropped.abort();
    yield* waiting.ready();
  });
});

test("joinNext throws the error of a failed task and skips an aborted one", () => {
  using runtime = new Runtime();
  const boom = new Error("boom");
  runtime.blockOn(function* () {
    using set = new JoinSet<void>();
    set.spawn(failAfter(1, boom));
    set.spawn(sleep(1e6)).abort();
    let error: unknown;
    try {
      yield* set.joinNext();
    } catch (caught) {
      error = caught;
    }
    expect(error).toBe(boom);
    expect(yield* set.joinNext()).toEqual({ done: true });
  });
});

test("the failure of a set's task does not reach onUncaught", () => {
  const uncaught: unknown[] = [];
  using runtime = new Runtime({ onUncaught: (error) => void uncaught.push(error) });
  const boom = new Error("boom");
  const set = new JoinSet<void>();
  runtime.blockOn(async () => void set.spawn(failAfter(0, boom)));
  expect(caught(() => runtime.blockOn(set.joinNext()))).toBe(boom);
  expect(uncaught).toEqual([]);
});

test("joinNext skips a task that was spawned with an aborted signal", () => {
  using runtime = new Runtime();
  const set = new JoinSet<void>({ limit: 1 });
  runtime.blockOn(function* () {
    for (let count = 0; count < 2; count++) {
      set.spawn(sleep(1e6), { signal: AbortSignal.abort() });
    }
    expect(yield* set.joinNext()).toEqual({ done: true });
  });
});

test("disposing a set reports failures even if the caller has used up its budget", () => {
  using print = captureConsoleError();
  using runtime = new Runtime();
  const done = runtime.spawn(async () => {});
  const boom = new Error("boom");
  runtime.blockOn(function* () {
    const set = new JoinSet<void>();
    set.spawn(failAfter(0, boom));
    yield* yieldNow();
    while (runtime.budget > 0) yield* done;
    set[Symbol.dispose]();
    expect(set.size).toBe(0);
  });
  expect(print.mock.calls.map((call) => call[1])).toEqual([boom]);
});

test("the failure of a task that disposed its own set is reported", () => {
  using print = captureConsoleError();
  using runtime = new Runtime();
  const boom = new Error("boom");
  runtime.blockOn(function* () {
    const set = new JoinSet<void>();
    set.spawn(function* () {
      set[Symbol.dispose]();
      throw boom;
    });
    yield* yieldNow();
    expect(set.size).toBe(0);
    yield* set.shutdown(); // completes at once
  });
  expect(print.mock.calls.map((call) => call[1])).toEqual([boom]);
});

test("`using` aborts the tasks of a set; `await using` and shutdown also wait for their cleanup", () => {
  using runtime = new Runtime();
  const log: string[] = [];
  runtime.blockOn(async () => {
    {
      using set = new JoinSet<void>();
      set.spawn(careful("using", log));
      await yieldNow();
    }
    expect(log).toEqual([]);
    {
      await using set = new JoinSet<void>();
      set.spawn(careful("await using", log));
      await yieldNow();
    }
    expect(log).toContain("await using is clean");
    const set = new JoinSet<void>();
    set.spawn(careful("shutdown", log));
    await yieldNow();
    await set.shutdown();
    expect(log.at(-1)).toBe("shutdown is clean");
    expect(() => set.spawn(sleep(0))).toThrow("was disposed");
  });
});

test("`await using` waits for the cleanup of the tasks in an async function that is cancelled", () => {
  using runtime = new Runtime();
  const log: string[] = [];
  const handle = runtime.spawn(async () => {
    await using set = new JoinSet<void>();
    set.spawn(careful("task", log));
    try {
      await sleep(1e6);
    } finally {
      log.push("cancelled");
    }
  });
  untilIdle(runtime);
  handle.abort();
  expect(caught(() => runtime.blockOn(handle))).toBeInstanceOf(AbortError);
  expect(log).toEqual(["cancelled", "task is clean"]);
  expect(runtime.tasks()).toEqual([]);
});

test("`for await` and concurrent joinNext calls receive every result, even after an earlier call was dropped", () => {
  using runtime = new Runtime();
  const values = runtime.blockOn(async () => {
    const set = new JoinSet<number>();
    for (const value of [1, 2, 3]) set.spawn(async () => value);
    const dropped = spawn(set.joinNext());
    dropped.abort();
    const received: number[] = [];
    for await (const value of set) received.push(value);
    return received;
  });
  expect(values).toEqual([1, 2, 3]);
  runtime.blockOn(function* () {
    const set = new JoinSet<number>();
    const future = new Counting<number>();
    set.spawn(future);
    const joiners = [spawn(set.joinNext()), spawn(set.joinNext())] as const;
    yield* yieldNow();
    future.complete(9);
    expect([yield* joiners[0], yield* joiners[1]]).toEqual([
      { done: false, value: 9 },
      { done: true },
    ]);
  });
});

test("the end of a task starts only the next waiting task, or the one after it if the next is aborted", () => {
  using runtime = new Runtime();
  runtime.blockOn(function* () {
    using set = new JoinSet<void>({ limit: 2 });
    const tasks = Array.from({ length: 6 }, () => new Counting<void>());
    const handles = tasks.map((task) => set.spawn(task));
    const polls = (): number[] => tasks.map((task) => task.polls);
    yield* untilIdle();
    expect(polls()).toEqual([1, 1, 0, 0, 0, 0]);

    tasks[0]?.complete();
    yield* untilIdle();
    expect(polls()).toEqual([2, 1, 1, 0, 0, 0]);

    tasks[1]?.complete();
    yield* yieldNow();
    handles[3]?.abort(); // it was granted the place, and has not been polled since
    handles[4]?.abort(); // it waits in the queue
    yield* untilIdle();
    expect(polls()).toEqual([2, 2, 1, 0, 0, 1]);

    set[Symbol.dispose]();
    yield* untilIdle();
    expect(set.size).toBe(0);
    expect(tasks.map(({ drops }) => drops)).toEqual([0, 0, 1, 1, 1, 1]);
  });
});

test("a task holds its place until its cleanup is done", () => {
  using runtime = new Runtime();
  const log: string[] = [];
  runtime.blockOn(function* () {
    using set = new JoinSet<void>({ limit: 1 });
    const first = set.spawn(careful("first", log));
    set.spawn(async () => void log.push("second"));
    yield* untilIdle();
    first.abort();
    yield* set.joinNext();
  });
  expect(log).toEqual(["first is clean", "second"]);
});

test("a spawn that throws takes no place", () => {
  using runtime = new Runtime();
  runtime.blockOn(function* () {
    const set = new JoinSet<string>({ limit: 1 });
    expect(() => set.spawn(7 as never)).toThrow(TypeError);
    expect(() => set.spawn(async () => "a", { name: 7 as never })).toThrow(TypeError);
    set.spawn(async () => "a");
    expect(yield* set.joinNext()).toEqual({ done: false, value: "a" });
    set[Symbol.dispose]();
    expect(() => set.spawn(async () => "b")).toThrow("JoinSet.spawn: this set was disposed");
  });
});
