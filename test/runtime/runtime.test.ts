// Runtime: blockOn, block, disposal, options, spinning, the order of polls, and JoinHandle.

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

setDefaultTimeout(60_000); // the machine may be slow

const EINTR = -4;
const boom = new Error("boom");

function* failing(): Coroutine<never> {
  yield* yieldNow();
  throw boom;
}

describe("blockOn", () => {
  test("returns the value of its work, or throws its error", () => {
    using runtime = new Runtime();
    expect(
      runtime.blockOn(function* () {
        yield* sleep(1);
        return 42;
      }),
    ).toBe(42);
    expect(caught(() => runtime.blockOn(failing))).toBe(boom);
    expect(runtime.blockOn(async () => "usable")).toBe("usable");
  });

  test("returns when its work has ended, and continues other tasks in the next call", () => {
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

  test("throws inside a poll of the same runtime, and says why", () => {
    using runtime = new Runtime();
    const coroutine = function* () {
      yield* yieldNow();
      return caught(() => runtime.blockOn(sleep(1)));
    };
    const asynchronous = async () => {
      await yieldNow();
      return caught(() => runtime.block());
    };
    for (const work of [coroutine, asynchronous]) {
      const error = runtime.blockOn(
        runtime.spawn(work as () => Coroutine<unknown>, { name: "me" }),
      );
      expect(error).toMatchObject({
        code: "ERR_RUNTIME_BUSY",
        message: expect.stringContaining(
          "task me of this runtime runs this code, so the runtime would wait for itself; write `yield*` or `await`",
        ),
      });
    }
  });

  test("throws in foreign code that continues inside a turn of a guest, and says why", async () => {
    await using runtime = new Runtime();
    const gate = Promise.withResolvers<void>();
    const foreign = gate.promise.then(() => caught(() => runtime.blockOn(sleep(1))));
    await runtime.run(async () => {
      await yieldNow();
      gate.resolve();
      for (let count = 0; count < 3; count++) await yieldNow();
    });
    expect(await foreign).toMatchObject({
      code: "ERR_RUNTIME_BUSY",
      message: expect.stringContaining(
        "this runtime has the thread for a turn, and runs this code",
      ),
    });
  });

  test("throws in a request handler that continues inside the blockOn of another handler, and says why", async () => {
    const runtime = Runtime.ambient();
    const gate = Promise.withResolvers<void>();
    const waits = Promise.withResolvers<void>();
    using server = Bun.serve({
      port: 0,
      hostname: "127.0.0.1",
      async fetch({ url }) {
        const isFirst = url.endsWith("/first");
        if (!isFirst) {
          waits.resolve();
          await gate.promise;
        }
        try {
          return new Response(
            runtime.blockOn(function* () {
              if (isFirst) gate.resolve();
              yield* yieldNow();
              yield* sleep(0); // by then, the microtasks have run
              return "done";
            }),
          );
        } catch (error) {
          const { code, message } = error as Error & { code: string };
          return Response.json({ code, message });
        }
      },
    });
    const second = fetch(`${server.url}second`);
    await waits.promise;
    const first = await fetch(`${server.url}first`);
    expect(await first.text()).toBe("done");
    expect(await (await second).json()).toEqual({
      code: "ERR_RUNTIME_BUSY",
      message:
        "Runtime.blockOn: a `blockOn` of this runtime holds the thread, and runs this code because a promise that it awaits has settled; `await` the work here, or use a runtime of your own",
    });
  });

  test("works inside a poll of another runtime, and each runtime has its own budget", () => {
    using outer = new Runtime();
    using inner = new Runtime();
    const order: string[] = [];
    const value = outer.blockOn(function* () {
      spawn(function* () {
        order.push("the other task of outer");
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
    expect(order).toEqual(["inner", "the other task of outer"]); // inner held the thread
  });
});

test("block returns when no task is left", () => {
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
  runtime.block(); // returns at once
});

test("a loop of blockOns that each end after one poll still runs reactor rounds", () => {
  using runtime = new Runtime();
  const { rounds } = runtime.reactor;
  const task = runtime.spawn(sleep(0.001));
  while (!task.isFinished) runtime.blockOn(yieldNow()); // only a reactor round ends the sleep
  expect(runtime.reactor.rounds).toBeGreaterThan(rounds);
});

describe("a disposal", () => {
  test("cancels all tasks, runs their cleanup, and closes all fds", () => {
    const before = openFds();
    const log: string[] = [];
    const closed: number[] = [];
    const kernel = new FaultSys().on("close", (_, fd) => {
      closed.push(fd);
      return null;
    });
    {
      using runtime = new Runtime({ eventfd: "eager", sys: kernel.sys });
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
      expect(newFds(before)).not.toEqual([]);
    }
    expect(log).toEqual(["a", "b"]);
    expect(newFds(before)).toEqual([]);
    expect(closed.filter((fd) => before.has(fd))).toEqual([]); // only its own
  });

  test("cancels every task, even when the drop of one task aborts others", () => {
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

  test("lets cleanup spawn tasks and use scopes", () => {
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

  test("makes later calls throw, and may be repeated", () => {
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
      expect(use).toThrow("this runtime is disposed; create a new one");
    }
  });

  test("throws inside a poll of its runtime", () => {
    using runtime = new Runtime();
    expect(() =>
      runtime.blockOn(function* () {
        runtime[Symbol.dispose]();
      }),
    ).toThrow("task blockOn of this runtime runs this code");
  });

  test("abandons cleanup that can never end, and reports it", () => {
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
  ['options.eventfd must be "lazy" or "eager"; got "greedy"', { eventfd: "greedy" }],
  ["options.spinMicros must be a number >= 0; got -1", { spinMicros: -1 }],
  ["options.spinMicros must be a number >= 0; got NaN", { spinMicros: Number.NaN }],
  ['options.onUncaught must be "throw", "report", or a function', { onUncaught: "ignore" }],
  ["options.blockingThreads must be a positive integer; got 0", { blockingThreads: 0 }],
  ["options.debug must be a boolean; got 1", { debug: 1 }],
  ["options must be an object; got null", null],
  ["options must be an object; got 5", 5],
])("new Runtime rejects a bad option: %s", (message, options) => {
  expect(() => new Runtime(options as never)).toThrow(message);
});

test("spawn rejects bad options and spawns nothing", () => {
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

test("a constructor that throws after it has opened fds closes them", () => {
  const before = openFds();
  const { sys } = new FaultSys().on("eventfd", () => -24); // EMFILE
  expect(() => new Runtime({ sys, watchdogMs: 500 })).toThrow("open a Worker EMFILE");
  const { GUILLOTINE_DUMP = "" } = process.env;
  try {
    for (const name of ["USR2", "SIGKILL", "SIGKILL"]) {
      process.env.GUILLOTINE_DUMP = name;
      expect(() => new Runtime()).toThrow("GUILLOTINE_DUMP must be the name of a signal");
    }
  } finally {
    process.env.GUILLOTINE_DUMP = GUILLOTINE_DUMP;
  }
  expect(newFds(before)).toEqual([]);
});

test("a runtime busy-polls epoll for spinMicros before it sleeps", () => {
  using runtime = new Runtime({ spinMicros: 200 });
  while (runtime.metrics().parks === 0) runtime.blockOn(sleep(5));
  expect(runtime.metrics().rounds).toBeGreaterThan(runtime.metrics().parks);
});

test("a runtime stops spinning after eight fruitless spins, until a wait is short again", () => {
  let nonblockingPolls = 0;
  let interrupts = 0;
  const faults = new FaultSys();
  faults.on("epollWait", (_, _epoll, _events, timeoutMs) => {
    if (timeoutMs === 0) nonblockingPolls++;
    else if (interrupts-- > 0) return EINTR;
    return null;
  });
  using runtime = new Runtime({ sys: faults.sys, spinMicros: 100 });
  for (let count = 0; count < 8; count++) runtime.blockOn(sleep(5));
  expect(nonblockingPolls).toBeGreaterThanOrEqual(8);
  do {
    nonblockingPolls = 0; // repeat if the scheduler delayed this thread for longer than a sleep
    for (let count = 0; count < 5; count++) runtime.blockOn(sleep(5));
  } while (nonblockingPolls > 0);
  interrupts = 1000; // these waits end at once
  runtime.blockOn(sleep(50));
  expect(nonblockingPolls).toBeGreaterThan(0);
});

test("a million tasks run in one blockOn without an fd", () => {
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

describe("a JoinHandle", () => {
  test("returns the result to any task, any number of times, before and after the task has ended", () => {
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

  test("throws what the task threw, at each await and at each poll by hand", () => {
    using runtime = new Runtime();
    const handle = runtime.spawn(failing);
    for (let count = 0; count < 2; count++)
      expect(caught(() => runtime.blockOn(handle))).toBe(boom);
    class Polling extends Future<never> {
      override poll(cx: Context): Poll<never> {
        return handle.poll(cx); // by hand
      }
    }
    for (let count = 0; count < 2; count++)
      expect(caught(() => runtime.blockOn(new Polling()))).toBe(boom);
  });

  test("has a unique id, and a name that is #id by default", () => {
    using runtime = new Runtime();
    const [a, b] = [runtime.spawn(sleep(0)), runtime.spawn(sleep(0), { name: "b" })];
    expect(a.id).not.toBe(b.id);
    expect([a.name, b.name]).toEqual([`#${a.id}`, "b"]);
    runtime.block();
  });

  test("throws an AbortError once the cleanup of its aborted task is done", () => {
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

  test("abort does nothing once the task has ended", () => {
    using runtime = new Runtime();
    const handle = runtime.spawn(async () => 1);
    runtime.block();
    handle.abort();
    expect(runtime.blockOn(handle)).toBe(1);
    expect(handle.isAborted).toBe(false);
  });

  test.each(["value", "error"])(
    "is not aborted if its task ends before the cancellation begins: %s",
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

  test("throws an AbortError even if the drop of its future throws, and that error is reported", () => {
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

  test("waits for the cleanup of a future that was polled before it was spawned", () => {
    using runtime = new Runtime();
    const log: string[] = [];
    runtime.blockOn(function* () {
      const future = intoFuture(function* () {
        try {
          yield* sleep(1e9);
        } finally {
          yield* sleep(1);
          log.push("cleaned up");
        }
      });
      future.next();
      const handle = spawn(future);
      handle.abort();
      log.push(((yield* failureOf(handle)) as Error).name);
    });
    expect(log).toEqual(["cleaned up", "AbortError"]);
  });

  test("is finished at the next suspension after its task aborts itself", () => {
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

  test("keeps its task running when a joiner is aborted and the handle is detached", () => {
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

test("a task that throws does not end the other tasks", () => {
  using runtime = new Runtime({ onUncaught: () => {} });
  const log: string[] = [];
  for (let count = 0; count < 3; count++) {
    runtime.spawn(failing);
    runtime.spawn(function* () {
      yield* sleep(1);
      log.push("ended");
    });
  }
  runtime.block();
  expect(log).toHaveLength(3);
});

test("yieldNow polls all other ready tasks first, in order", () => {
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

test("a task that is always ready yields after 128 operations", () => {
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

test("a task that is always ready does not delay the timers of other tasks", () => {
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

test("blockOn returns as soon as its work has ended, although another task is always ready", () => {
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
