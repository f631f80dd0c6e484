import { describe, expect, setDefaultTimeout, test } from "bun:test";
import {
  AbortError,
  type Context,
  type Coroutine,
  Future,
  intoFuture,
  type JoinHandle,
  Pending,
  type Poll,
  Runtime,
  scope,
  sleep,
  spawn,
  yieldNow,
} from "../../src/index.ts";
import { caught, failureOf } from "../support/caught.ts";
import { Counting } from "../support/counting.ts";
import { FaultSys } from "../support/fault-sys.ts";
import { countFds, newFds, openFds } from "../support/fds.ts";
import { untilIdle } from "../support/idle.ts";
import { captureConsoleError } from "../support/output.ts";

setDefaultTimeout(60_000); // a slow machine is no failure

const EINTR = -4;
const boom = new Error("boom");

function* failing(): Coroutine<never> {
  yield* yieldNow();
  throw boom;
}

describe("blockOn", () => {
  test("gives what its work gives, or throws what it throws", () => {
    using runtime = new Runtime();
    expect(
      runtime.blockOn(function* () {
        yield* sleep(1);
        return 42;
      }),
    ).toBe(42);
    expect(caught(() => runtime.blockOn(failing))).toBe(boom);
    expect(runtime.blockOn(async () => "and goes on")).toBe("and goes on");
  });

  test("returns when its work is done; the others go on in the next one", () => {
    using runtime = new Runtime();
    const log: string[] = [];
    const other = runtime.spawn(function* () {
      log.push("begins");
      yield* sleep(5);
      log.push("ends");
    });
    runtime.blockOn(sleep(0));
    expect(log).toEqual(["begins"]);
    expect(other.isFinished).toBe(false);
    runtime.blockOn(other);
    expect(log).toEqual(["begins", "ends"]);
  });

  test("of the same runtime, inside a poll: refused, with the reason", () => {
    using runtime = new Runtime();
    const message = runtime.blockOn(function* () {
      yield* yieldNow();
      return (caught(() => runtime.blockOn(sleep(1))) as Error).message;
    });
    expect(message).toContain("it would wait for itself");
    expect(() =>
      runtime.blockOn(function* () {
        runtime.block();
      }),
    ).toThrow("being driven already");
  });

  test("of another runtime, inside a poll: works, and the budget is each its own", () => {
    using outer = new Runtime();
    using inner = new Runtime();
    const order: string[] = [];
    const value = outer.blockOn(function* () {
      spawn(function* () {
        order.push("the outer's other task");
      });
      const handles: JoinHandle<void>[] = [];
      const value = inner.blockOn(function* () {
        for (let count = 0; count < 500; count++) handles.push(spawn(yieldNow()));
        for (const handle of handles) yield* handle;
        return "inner";
      });
      order.push(value);
      yield* yieldNow();
      return value;
    });
    expect(value).toBe("inner");
    expect(order).toEqual(["inner", "the outer's other task"]); // the thread was blocked
  });
});

test("block runs until no task is left", () => {
  using runtime = new Runtime();
  let count = 0;
  function* chain(left: number): Coroutine<void> {
    yield* sleep(0);
    count++;
    if (left > 1) spawn(chain(left - 1)).detach();
  }
  runtime.spawn(chain(10));
  runtime.block();
  expect(count).toBe(10);
  expect(runtime.tasks()).toEqual([]);
  runtime.block(); // nothing to do
});

test("many short blockOns come to a reactor round, too", () => {
  using runtime = new Runtime();
  const { rounds } = runtime.reactor;
  const task = runtime.spawn(sleep(0.001));
  while (!task.isFinished) runtime.blockOn(yieldNow()); // a sleep ends with a round of the reactor
  expect(runtime.reactor.rounds).toBeGreaterThan(rounds);
});

describe("dispose", () => {
  test("drops all tasks, drives their cleanup, closes all fds", () => {
    const before = countFds();
    const log: string[] = [];
    {
      using runtime = new Runtime({ eventfd: "eager" });
      for (const name of ["a", "b"]) {
        runtime.spawn(function* () {
          try {
            yield* sleep(1e9);
          } finally {
            yield* sleep(1);
            log.push(name);
          }
        });
      }
      runtime.blockOn(sleep(1));
      expect(countFds()).toBeGreaterThan(before);
    }
    expect(log).toEqual(["a", "b"]);
    expect(countFds()).toBe(before);
  });

  test("a drop that aborts others hides no task from it", () => {
    const runtime = new Runtime();
    const handles: JoinHandle<void>[] = [];
    class Aborting extends Future<void> {
      override poll(): Poll<void> {
        return Pending;
      }
      override drop(): void {
        for (const handle of handles) handle.abort();
      }
    }
    runtime.spawn(new Aborting());
    handles.push(runtime.spawn(sleep(1)));
    let ran = false;
    runtime.spawn(function* () {
      ran = true;
    });
    runtime[Symbol.dispose]();
    expect(ran).toBe(false);
  });

  test("a cleanup may spawn, and use scopes, while its runtime is disposed", () => {
    const runtime = new Runtime();
    const log: string[] = [];
    runtime.spawn(function* () {
      try {
        yield* sleep(1e9);
      } finally {
        yield* scope(function* (s) {
          s.spawn(function* () {
            yield* sleep(1);
            log.push("in the scope");
          });
        });
        log.push(yield* spawn(() => Promise.resolve("spawned")));
      }
    });
    untilIdle(runtime);
    runtime[Symbol.dispose]();
    expect(log).toEqual(["in the scope", "spawned"]);
    expect(() => runtime.spawn(sleep(1))).toThrow("is disposed");
  });

  test("what is disposed says so; twice is once", () => {
    const runtime = new Runtime();
    runtime[Symbol.dispose]();
    runtime[Symbol.dispose]();
    for (const use of [
      () => runtime.blockOn(sleep(1)),
      () => runtime.block(),
      () => runtime.spawn(sleep(1)),
      () => runtime.run(sleep(1)),
      () => runtime.spawnBlocking(() => 1),
    ]) {
      expect(use).toThrow("this runtime is disposed; make a new one");
    }
  });

  test("inside its own poll it is refused", () => {
    using runtime = new Runtime();
    expect(() =>
      runtime.blockOn(function* () {
        runtime[Symbol.dispose]();
      }),
    ).toThrow("being driven already");
  });

  test("cleanup that can never end does not keep it", () => {
    using report = captureConsoleError();
    const before = countFds();
    {
      using runtime = new Runtime();
      runtime.spawn(function* () {
        try {
          yield* sleep(1e9);
        } finally {
          yield* new Counting<void>();
        }
      });
      untilIdle(runtime);
    }
    expect(report).toHaveBeenCalledTimes(1);
    expect(countFds()).toBe(before);
  });
});

test.each([
  [{ eventfd: "greedy" }, 'options.eventfd must be "lazy" or "eager"; got "greedy"'],
  [{ spinMicros: -1 }, "options.spinMicros must be 0 or more; got -1"],
  [{ spinMicros: Number.NaN }, "got NaN"],
  [{ onUncaught: "ignore" }, "options.onUncaught must be"],
  [{ blockingThreads: 0 }, "options.blockingThreads must be a positive integer; got 0"],
  [{ debug: 1 }, "options.debug must be a boolean; got 1"],
  [null, "options must be an object; got null"],
  [5, "options must be an object; got 5"],
])("%p is refused, by name", (options, message) => {
  expect(() => new Runtime(options as never)).toThrow(message);
});

test("spawn's options are checked", () => {
  using runtime = new Runtime();
  expect(() => runtime.spawn(sleep(1), { name: 7 as never })).toThrow(
    "options.name must be a string; got 7",
  );
  expect(() => runtime.spawn(sleep(1), { signal: {} as never })).toThrow("options.signal must be");
  expect(() => runtime.spawn(sleep(1), null as never)).toThrow(
    "options must be an object; got null",
  );
  expect(runtime.tasks()).toEqual([]);
});

test("spinMicros looks at epoll without sleeping, and then sleeps", () => {
  using runtime = new Runtime({ spinMicros: 200 });
  while (runtime.metrics().parks === 0) runtime.blockOn(sleep(5));
  expect(runtime.metrics().rounds).toBeGreaterThan(runtime.metrics().parks);
});

test("it spins no more after some spins in vain, until a wait is short again", () => {
  let looks = 0;
  let interrupts = 0;
  const faults = new FaultSys();
  faults.on("epollWait", (_, _epoll, _events, timeoutMs) => {
    if (timeoutMs === 0) looks++;
    else if (interrupts-- > 0) return EINTR;
    return null;
  });
  using runtime = new Runtime({ sys: faults.sys, spinMicros: 100 });
  for (let count = 0; count < 8; count++) runtime.blockOn(sleep(5));
  expect(looks).toBeGreaterThanOrEqual(8);
  do {
    looks = 0; // not the first time, if the machine took the thread away for longer than it sleeps
    for (let count = 0; count < 5; count++) runtime.blockOn(sleep(5));
  } while (looks > 0);
  interrupts = 1000; // waits that are over at once
  runtime.blockOn(sleep(50));
  expect(looks).toBeGreaterThan(0);
});

test("a million tasks in one blockOn, and no fd for any", () => {
  using runtime = new Runtime();
  const before = openFds();
  let ended = 0;
  function* task(): Coroutine<void> {
    yield* yieldNow();
    ended++;
  }
  runtime.blockOn(function* () {
    for (let count = 0; count < 1_000_000; count++) spawn(task);
    while (ended < 1_000_000) yield* yieldNow();
  });
  expect(newFds(before)).toEqual([]);
  expect(runtime.metrics().tasksEnded).toBe(1_000_001);
});

describe("JoinHandle", () => {
  test("gives the result to any task, as often as it is asked, whenever the task ended", () => {
    using runtime = new Runtime();
    const future = new Counting<string>();
    const handle = runtime.spawn(future, { name: "shared" });
    const got: string[] = [];
    const awaiters = Array.from({ length: 3 }, () =>
      runtime.spawn(function* () {
        got.push(yield* handle);
        got.push(yield* handle);
      }),
    );
    untilIdle(runtime);
    future.complete("done");
    runtime.blockOn(function* () {
      for (const awaiter of awaiters) yield* awaiter;
      got.push(yield* handle);
    });
    expect(got).toEqual(new Array(7).fill("done"));
    expect(future.polls).toBe(2);
    expect(handle.name).toBe("shared");
    expect(handle.isFinished).toBe(true);
    using other = new Runtime();
    expect(other.blockOn(handle)).toBe("done");
  });

  test("throws what the task threw, to each", () => {
    using runtime = new Runtime();
    const handle = runtime.spawn(failing);
    for (let count = 0; count < 2; count++)
      expect(caught(() => runtime.blockOn(handle))).toBe(boom);
    class Polling extends Future<never> {
      override poll(cx: Context): Poll<never> {
        return handle.poll(cx); // by hand, it throws as often
      }
    }
    for (let count = 0; count < 2; count++)
      expect(caught(() => runtime.blockOn(new Polling()))).toBe(boom);
  });

  test("has an id of its own, and a name", () => {
    using runtime = new Runtime();
    const [a, b] = [runtime.spawn(sleep(0)), runtime.spawn(sleep(0), { name: "b" })];
    expect(a.id).not.toBe(b.id);
    expect([a.name, b.name]).toEqual([`#${a.id}`, "b"]);
    runtime.block();
  });

  test("abort: when awaiting it throws, cleanup that waits is over", () => {
    using runtime = new Runtime();
    let isClean = false;
    const error = runtime.blockOn(function* () {
      const handle = spawn(function* () {
        try {
          yield* sleep(1e9);
        } finally {
          yield* sleep(1);
          isClean = true;
        }
      });
      yield* yieldNow();
      handle.abort();
      return [yield* failureOf(handle), isClean, handle.isAborted];
    });
    expect(error).toEqual([expect.any(AbortError), true, true]);
  });

  test("abort of a task that has ended changes nothing", () => {
    using runtime = new Runtime();
    const handle = runtime.spawn(async () => 1);
    runtime.block();
    handle.abort();
    expect(runtime.blockOn(handle)).toBe(1);
    expect(handle.isAborted).toBe(false);
  });

  test.each(["value", "error"])(
    "one that ends before its abort begins was not aborted: %s",
    (how) => {
      const uncaught: unknown[] = [];
      using runtime = new Runtime({ onUncaught: (error) => void uncaught.push(error) });
      const handle: JoinHandle<string> = runtime.spawn(function* () {
        yield* yieldNow();
        handle.abort();
        if (how === "error") throw how;
        return how;
      });
      runtime.block();
      expect(handle.isAborted).toBe(false);
      expect(uncaught).toEqual(how === "error" ? [how] : []);
    },
  );

  test("a drop that throws is reported, and changes nothing else", () => {
    using report = captureConsoleError();
    using runtime = new Runtime();
    const error = new Error("in drop");
    class Leaf extends Future<void> {
      override poll(): Poll<void> {
        return Pending;
      }
      override drop(): void {
        throw error;
      }
    }
    const started = runtime.spawn(new Leaf());
    untilIdle(runtime);
    const handles = [started, runtime.spawn(new Leaf())];
    for (const handle of handles) {
      handle.abort();
      expect(() => runtime.blockOn(handle)).toThrow(AbortError);
    }
    expect(report.mock.calls.map((call) => call[1])).toEqual([error, error]);
  });

  test("of a future that was begun elsewhere, before its first turn: it waits for the cleanup", () => {
    using runtime = new Runtime();
    const log: string[] = [];
    runtime.blockOn(function* () {
      const future = intoFuture(function* () {
        try {
          yield* sleep(1e9);
        } finally {
          yield* sleep(1);
          log.push("cleanup over");
        }
      });
      future.next();
      const handle = spawn(future);
      handle.abort();
      log.push(((yield* failureOf(handle)) as Error).name);
    });
    expect(log).toEqual(["cleanup over", "AbortError"]);
  });

  test("a task that aborts itself ends at its next suspension", () => {
    using runtime = new Runtime();
    const log: string[] = [];
    const handle: JoinHandle<void> = runtime.spawn(function* () {
      handle.abort();
      log.push("still runs");
      try {
        yield* sleep(1e9);
        log.push("never");
      } finally {
        log.push("cleans up");
      }
    });
    runtime.block();
    expect(log).toEqual(["still runs", "cleans up"]);
    expect(caught(() => runtime.blockOn(handle))).toBeInstanceOf(AbortError);
  });

  test("a wait that was dropped leaves nothing; the task goes on", () => {
    using runtime = new Runtime();
    const future = new Counting<number>();
    const handle = runtime.spawn(future);
    const waiter = runtime.spawn(handle);
    untilIdle(runtime);
    waiter.abort();
    untilIdle(runtime);
    handle.detach();
    future.complete(7);
    expect(runtime.blockOn(handle)).toBe(7);
  });
});

test("a throw in a poll ends that task only", () => {
  using runtime = new Runtime({ onUncaught: () => {} });
  const log: string[] = [];
  for (let count = 0; count < 3; count++) {
    runtime.spawn(failing);
    runtime.spawn(function* () {
      yield* sleep(1);
      log.push("goes on");
    });
  }
  runtime.block();
  expect(log).toHaveLength(3);
});

test("yieldNow lets the others go first, in order", () => {
  using runtime = new Runtime();
  const log: string[] = [];
  for (const name of ["a", "b", "c"]) {
    runtime.spawn(function* () {
      for (let round = 1; round <= 2; round++) {
        log.push(`${name}${round}`);
        yield* yieldNow();
      }
    });
  }
  runtime.block();
  expect(log).toEqual(["a1", "b1", "c1", "a2", "b2", "c2"]);
});

test("one that is always ready yields after 128 operations", () => {
  using runtime = new Runtime();
  const done = runtime.spawn(async () => {});
  runtime.block();
  let operations = 0;
  const seen: number[] = [];
  runtime.spawn(function* () {
    for (; operations < 1000; operations++) yield* done;
  });
  runtime.spawn(function* () {
    for (let count = 0; count < 3; count++) {
      seen.push(operations);
      yield* yieldNow();
    }
  });
  runtime.block();
  expect(seen).toEqual([128, 256, 384]);
});

test("ready tasks do not starve the reactor: a deadline that has passed is seen", () => {
  using runtime = new Runtime();
  let isOver = false;
  runtime.spawn(function* () {
    while (!isOver) yield* yieldNow();
  });
  runtime.blockOn(function* () {
    yield* sleep(1);
    isOver = true;
  });
});

test("blockOn ends with its work: who else is ready waits for the next one", () => {
  using runtime = new Runtime();
  let polls = 0;
  runtime.spawn(function* () {
    for (;;) {
      polls++;
      yield* yieldNow();
    }
  });
  for (let count = 1; count <= 3; count++) {
    runtime.blockOn(function* () {});
    expect(polls).toBe(count);
  }
});
