// JoinSet: the order of results, the limit, failures, disposal.

import { expect, test } from "bun:test";
import {
  AbortError,
  type Context,
  Future,
  JoinSet,
  type Poll,
  Runtime,
  sleep,
  spawn,
  yieldNow,
} from "../../src/index.ts";
import { caught, failureOf } from "../support/caught.ts";
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
    for (const future of futures) yield* set.spawn(future);
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

test("spawn waits while the limit is reached, and serves spawners in order", () => {
  using runtime = new Runtime();
  let running = 0;
  let most = 0;
  const order: number[] = [];
  runtime.blockOn(function* () {
    using set = new JoinSet<number>({ limit: 3 });
    spawn(function* () {
      for (let index = 0; index < 20; index++) {
        yield* set.spawn(function* () {
          most = Math.max(most, ++running);
          yield* yieldNow();
          running--;
          return index;
        });
      }
    });
    yield* yieldNow();
    // All three tasks end in one turn. The set is empty then, but not done: a spawn waits.
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

test("joinNext returns `done` when the last waiting spawn is dropped or fails", () => {
  using runtime = new Runtime();
  for (const isAborted of [true, false]) {
    runtime.blockOn(function* () {
      using set = new JoinSet<void>({ limit: 1 });
      const work = new Counting<void>();
      yield* set.spawn(work);
      const waiting = spawn(() => set.spawn(isAborted ? sleep(0) : ("no work" as never)));
      yield* yieldNow(); // until it waits for room
      const joiner = spawn(function* () {
        yield* set.joinNext();
        if (isAborted) waiting.abort(); // it was granted the room, and has not been polled since
        return yield* set.joinNext();
      });
      yield* yieldNow();
      work.complete();
      expect(yield* joiner).toEqual({ done: true });
      const error = yield* failureOf(waiting);
      expect(error).toBeInstanceOf(isAborted ? AbortError : TypeError);
    });
  }
});

test("joinNext throws the error of a failed task and skips an aborted one", () => {
  using runtime = new Runtime();
  const boom = new Error("boom");
  runtime.blockOn(function* () {
    using set = new JoinSet<void>();
    yield* set.spawn(failAfter(1, boom));
    (yield* set.spawn(sleep(1e6))).abort();
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
  runtime.blockOn(set.spawn(failAfter(0, boom)));
  expect(caught(() => runtime.blockOn(set.joinNext()))).toBe(boom);
  expect(uncaught).toEqual([]);
});

test("joinNext skips a task that was spawned with an aborted signal", () => {
  using runtime = new Runtime();
  const set = new JoinSet<void>({ limit: 1 });
  runtime.blockOn(function* () {
    for (let count = 0; count < 2; count++) {
      yield* set.spawn(sleep(1e6), { signal: AbortSignal.abort() });
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
    yield* set.spawn(failAfter(0, boom));
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
    yield* set.spawn(function* () {
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
      await set.spawn(careful("using", log));
      await yieldNow();
    }
    expect(log).toEqual([]);
    {
      await using set = new JoinSet<void>();
      await set.spawn(careful("await using", log));
      await yieldNow();
    }
    expect(log).toContain("await using is clean");
    const set = new JoinSet<void>();
    await set.spawn(careful("shutdown", log));
    await yieldNow();
    await set.shutdown();
    expect(log.at(-1)).toBe("shutdown is clean");
    expect(await set.spawn(sleep(0)).then(null, (error: Error) => error.message)).toContain(
      "was disposed",
    );
  });
});

test("`await using` waits for the cleanup of the tasks in an async function that is cancelled", () => {
  using runtime = new Runtime();
  const log: string[] = [];
  const handle = runtime.spawn(async () => {
    await using set = new JoinSet<void>();
    await set.spawn(careful("task", log));
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
    for (const value of [1, 2, 3]) await set.spawn(async () => value);
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
    yield* set.spawn(future);
    const joiners = [spawn(set.joinNext()), spawn(set.joinNext())] as const;
    yield* yieldNow();
    future.complete(9);
    expect([yield* joiners[0], yield* joiners[1]]).toEqual([
      { done: false, value: 9 },
      { done: true },
    ]);
  });
});

/** Counts the polls of `work`. */
class Polled<T> extends Future<T> {
  polls = 0;
  readonly #work: Future<T>;

  constructor(work: Future<T>) {
    super();
    this.#work = work;
  }

  override poll(cx: Context): Poll<T> {
    this.polls++;
    return this.#work.poll(cx);
  }

  override drop(): void {
    this.#work.drop();
  }
}

test("the end of a task polls only the next waiting spawn, or the one after it if the next is dropped", () => {
  using runtime = new Runtime();
  runtime.blockOn(function* () {
    using set = new JoinSet<void>({ limit: 2 });
    const tasks = Array.from({ length: 7 }, () => new Counting<void>());
    const spawns = tasks.map((task) => new Polled(set.spawn(task)));
    const handles = spawns.map((one) => spawn(one));
    const polls = (): number[] => spawns.map((one) => one.polls);
    yield* untilIdle();
    expect(polls()).toEqual([1, 1, 1, 1, 1, 1, 1]);

    tasks[0]?.complete();
    yield* untilIdle(); // it ends, and the first waiting spawn gets its room
    expect(polls()).toEqual([1, 1, 2, 1, 1, 1, 1]);

    tasks[1]?.complete();
    yield* yieldNow();
    handles[3]?.abort(); // it was granted the room, and has not been polled since
    yield* untilIdle();
    expect(polls()).toEqual([1, 1, 2, 1, 2, 1, 1]);
    expect(handles.map((handle) => handle.isFinished)).toEqual([
      ...[true, true, true, true, true],
      ...[false, false],
    ]);

    set[Symbol.dispose]();
    yield* yieldNow();
    for (const handle of handles.slice(5)) {
      expect(yield* failureOf(handle)).toHaveProperty(
        "message",
        "JoinSet.spawn: this set was disposed",
      );
    }
    expect(polls()).toEqual([1, 1, 2, 1, 2, 2, 2]);
  });
});

test("a spawn of invalid work frees its room, and a granted spawn throws if the set is disposed first", () => {
  using runtime = new Runtime();
  runtime.blockOn(function* () {
    const set = new JoinSet<void>({ limit: 1 });
    const bad = set.spawn(7 as never);
    expect(yield* failureOf(bad)).toBeInstanceOf(TypeError);
    const first = new Counting<void>();
    const second = new Counting<void>();
    yield* set.spawn(first);
    const late = spawn(set.spawn(second));
    yield* yieldNow();
    first.complete();
    yield* yieldNow();
    set[Symbol.dispose](); // `late` was granted the room, and has not been polled since
    expect(yield* failureOf(late)).toHaveProperty(
      "message",
      "JoinSet.spawn: this set was disposed",
    );
    expect(second.polls).toBe(0);
  });
});
