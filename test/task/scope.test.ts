import { expect, test } from "bun:test";
import {
  AbortError,
  type Context,
  type Coroutine,
  Future,
  JoinSet,
  type Poll,
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

function* careful(name: string, log: string[]): Coroutine<void> {
  try {
    yield* sleep(1e6);
  } finally {
    yield* yieldNow();
    log.push(`${name} is clean`);
  }
}

function* failAfter(turns: number, error: Error): Coroutine<never> {
  for (let turn = 0; turn < turns; turn++) yield* yieldNow();
  throw error;
}

test("a scope ends with all that was spawned in it, and gives what its body returned", () => {
  using runtime = new Runtime();
  const log: string[] = [];
  const value = runtime.blockOn(
    scope(function* (s) {
      s.spawn(function* () {
        yield* sleep(2);
        s.spawn(function* () {
          yield* sleep(1);
          log.push("grandchild");
        });
        log.push("child");
      });
      yield* yieldNow();
      log.push("body");
      return 7;
    }),
  );
  expect(value).toBe(7);
  expect(log).toEqual(["body", "child", "grandchild"]);
});

test.each([
  [[], "got an instance of Array"],
  [undefined, "got undefined"],
])("%p is no body, and the error says what is", (body, message) => {
  expect(() => scope(body as never)).toThrow(TypeError);
  expect(() => scope(body as never)).toThrow("body must be a function");
  expect(() => scope(body as never)).toThrow(message);
});

test("an async body, and a handle that is awaited inside", () => {
  using runtime = new Runtime();
  const value = runtime.blockOn(
    scope(async (s) => await s.spawn(async () => (await sleep(1)) ?? 5)),
  );
  expect(value).toBe(5);
});

test("the first failure cancels the rest, body and all, and is thrown when they are clean", () => {
  using runtime = new Runtime();
  const log: string[] = [];
  const boom = new Error("boom");
  const error = caught(() =>
    runtime.blockOn(
      scope(function* (s) {
        s.spawn(careful("a", log));
        s.spawn(failAfter(2, boom));
        yield* careful("body", log);
      }),
    ),
  );
  expect(error).toBe(boom);
  expect(log.sort()).toEqual(["a is clean", "body is clean"]);
  expect(runtime.tasks()).toEqual([]);
});

test("a body that fails cancels its tasks; one that awaited the failure makes no second one", () => {
  using runtime = new Runtime();
  const log: string[] = [];
  const boom = new Error("boom");
  expect(
    caught(() =>
      runtime.blockOn(
        scope(function* (s) {
          s.spawn(careful("a", log));
          yield* failAfter(2, boom);
        }),
      ),
    ),
  ).toBe(boom);
  expect(log).toEqual(["a is clean"]);
  expect(
    caught(() =>
      runtime.blockOn(
        scope(function* (s) {
          yield* s.spawn(failAfter(1, boom));
        }),
      ),
    ),
  ).toBe(boom);
});

test("several failures are an AggregateError, in order", () => {
  using runtime = new Runtime();
  const errors = [new Error("first"), new Error("second")] as const;
  const error = caught(() =>
    runtime.blockOn(
      scope(function* (s) {
        s.spawn(failAfter(1, errors[0]));
        s.spawn(failAfter(1, errors[1]));
        yield* sleep(1e6);
      }),
    ),
  );
  expect(error).toBeInstanceOf(AggregateError);
  expect((error as AggregateError).errors).toEqual([...errors]);
});

test("a task that is aborted by its handle is no failure", () => {
  using runtime = new Runtime();
  const log: string[] = [];
  runtime.blockOn(
    scope(function* (s) {
      const handle = s.spawn(careful("aborted", log));
      yield* yieldNow();
      handle.abort();
    }),
  );
  expect(log).toEqual(["aborted is clean"]);
});

test("cancelling a scope cancels all in it, and waits", () => {
  using runtime = new Runtime();
  const log: string[] = [];
  const handle = runtime.spawn(
    scope(function* (s) {
      s.spawn(
        scope((inner) =>
          (function* () {
            inner.spawn(careful("inner", log));
            yield* careful("inner body", log);
          })(),
        ),
      );
      yield* careful("body", log);
    }),
  );
  untilIdle(runtime);
  handle.abort();
  runtime.block();
  expect(log.sort()).toEqual(["body is clean", "inner body is clean", "inner is clean"]);
});

test("a failure that the cancellation of its scope overtakes is reported", () => {
  using print = captureConsoleError();
  using runtime = new Runtime();
  const boom = new Error("boom");
  for (const cancel of ["abort", "drop"] as const) {
    const leaf = new Counting<void>();
    const work = scope(function* (s) {
      s.spawn(leaf);
      yield* sleep(1e6);
    });
    const handle = runtime.spawn(function* () {
      yield* work;
    });
    untilIdle(runtime);
    leaf.fail(boom); // its task's turn is before the scope's
    if (cancel === "abort") handle.abort();
    else {
      runtime.blockOn(async () => {});
      work.drop();
      handle.abort();
    }
    runtime.block();
  }
  const thrown = scope(() => failAfter(0, boom));
  expect(caught(() => runtime.blockOn(thrown))).toBe(boom);
  thrown.drop(); // nothing: it has ended
  expect(print.mock.calls.map((call) => call[1])).toEqual([boom, boom]);
});

test("spawn from outside: where no poll is, and in another runtime", () => {
  using runtime = new Runtime();
  let kept: Scope | undefined;
  const seen: Runtime[] = [];
  const handle = runtime.spawn(
    scope(function* (s) {
      kept = s;
      yield* yieldNow();
      yield* yieldNow();
    }),
  );
  runtime.blockOn(yieldNow());
  kept?.spawn(async () => void seen.push(Runtime.current()));
  using other = new Runtime();
  other.blockOn(async () => void kept?.spawn(async () => void seen.push(Runtime.current())));
  runtime.blockOn(handle);
  expect(seen).toEqual([runtime, runtime]);
});

test("spawn after the end, or while it is cancelled, is refused", () => {
  using runtime = new Runtime();
  let kept: Scope | undefined;
  let during = "";
  runtime.blockOn(
    scope(function* (s) {
      kept = s;
    }),
  );
  expect(() => runtime.blockOn(async () => kept?.spawn(sleep(0)))).toThrow("this scope has ended");
  caught(() =>
    runtime.blockOn(
      scope(function* (s) {
        try {
          s.spawn(failAfter(0, new Error("boom")));
          yield* sleep(1e6);
        } finally {
          try {
            s.spawn(sleep(0));
          } catch (error) {
            during = (error as Error).message;
          }
        }
      }),
    ),
  );
  expect(during).toContain("is being cancelled");
});

test("JoinSet: results in the order in which the tasks end, then that there are none", () => {
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

test("JoinSet: the limit holds the spawner back, in order", () => {
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
    // All three end in one turn, and the set has no task before the spawner's: it is not at its end.
    for (;;) {
      const next = yield* set.joinNext();
      if (next.done) break;
      order.push(next.value);
    }
  });
  expect(most).toBe(3);
  expect(order).toEqual(Array.from({ length: 20 }, (_, index) => index));
  expect(() => new JoinSet({ limit: 0 })).toThrow(
    "options.limit must be a positive integer; got 0",
  );
});

test("JoinSet: a spawn that has got room and comes to nothing leaves the set at its end", () => {
  using runtime = new Runtime();
  for (const isAborted of [true, false]) {
    runtime.blockOn(function* () {
      using set = new JoinSet<void>({ limit: 1 });
      const work = new Counting<void>();
      yield* set.spawn(work);
      const waiting = spawn(() => set.spawn(isAborted ? sleep(0) : ("no work" as never)));
      yield* yieldNow(); // it waits for room
      const taker = spawn(function* () {
        yield* set.joinNext();
        if (isAborted) waiting.abort(); // the room is its own, and it has not been polled since
        return yield* set.joinNext();
      });
      yield* yieldNow();
      work.complete();
      expect(yield* taker).toEqual({ done: true });
      const error = yield* failureOf(waiting);
      expect(error).toBeInstanceOf(isAborted ? AbortError : TypeError);
    });
  }
});

test("JoinSet: a failure is thrown by joinNext; an aborted task is passed over", () => {
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

test("failures of a scope's, or a set's, tasks are theirs: no policy hears of them", () => {
  const heard: unknown[] = [];
  using runtime = new Runtime({ onUncaught: (error) => void heard.push(error) });
  const boom = new Error("boom");
  expect(
    caught(() =>
      runtime.blockOn(
        scope(function* (s) {
          s.spawn(failAfter(0, boom));
          yield* sleep(1e6);
        }),
      ),
    ),
  ).toBe(boom);
  const set = new JoinSet<void>();
  runtime.blockOn(set.spawn(failAfter(0, boom)));
  expect(caught(() => runtime.blockOn(set.joinNext()))).toBe(boom);
  expect(heard).toEqual([]);
});

test("JoinSet: work whose signal was aborted before counts as aborted", () => {
  using runtime = new Runtime();
  const set = new JoinSet<void>({ limit: 1 });
  runtime.blockOn(function* () {
    for (let count = 0; count < 2; count++) {
      yield* set.spawn(sleep(1e6), { signal: AbortSignal.abort() });
    }
    expect(yield* set.joinNext()).toEqual({ done: true });
  });
});

test("JoinSet: disposed by a task that has used up its budget, it reports failures all the same", () => {
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

test("JoinSet: the failure of a task that has disposed of its own set is reported", () => {
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
    yield* set.shutdown(); // it waits for nothing
  });
  expect(print.mock.calls.map((call) => call[1])).toEqual([boom]);
});

test("JoinSet: using aborts; await using and shutdown wait for the cleanup, too", () => {
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

test("JoinSet: await using in an async function that is cancelled", () => {
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

test("JoinSet: for await; several takers; nothing is lost to a taker that was dropped", () => {
  using runtime = new Runtime();
  const values = runtime.blockOn(async () => {
    const set = new JoinSet<number>();
    for (const value of [1, 2, 3]) await set.spawn(async () => value);
    const dropped = spawn(set.joinNext());
    dropped.abort();
    const got: number[] = [];
    for await (const value of set) got.push(value);
    return got;
  });
  expect(values).toEqual([1, 2, 3]);
  runtime.blockOn(function* () {
    const set = new JoinSet<number>();
    const future = new Counting<number>();
    yield* set.spawn(future);
    const takers = [spawn(set.joinNext()), spawn(set.joinNext())] as const;
    yield* yieldNow();
    future.complete(9);
    expect([yield* takers[0], yield* takers[1]]).toEqual([
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

test("JoinSet: the end of a task wakes one spawner, in order; one that is dropped then hands on", () => {
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
    yield* untilIdle(); // it ends, and the first spawner that waits gets its room
    expect(polls()).toEqual([1, 1, 2, 1, 1, 1, 1]);

    tasks[1]?.complete();
    yield* yieldNow();
    handles[3]?.abort(); // it has the room, and has not been polled since
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

test("JoinSet: room that was given is there again when the set was disposed, or the work is none", () => {
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
    set[Symbol.dispose](); // `late` has the room, and has not been polled since
    expect(yield* failureOf(late)).toHaveProperty(
      "message",
      "JoinSet.spawn: this set was disposed",
    );
    expect(second.polls).toBe(0);
  });
});
