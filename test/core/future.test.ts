// The contract of futures, and what counts as work.

import { describe, expect, test } from "bun:test";
import {
  type Coroutine,
  Future,
  interval,
  intoFuture,
  join,
  Pending,
  Runtime,
  race,
  shield,
  sleep,
  spawn,
  TcpStream,
  timeout,
  UdpSocket,
  yieldNow,
} from "../../src/index.ts";
import { Read, Write, WriteAll } from "../../src/io/transfer.ts";
import { Counting } from "../support/counting.ts";
import { FaultSys } from "../support/fault-sys.ts";
import { manualContext } from "../support/manual.ts";
import { sleepThen } from "../support/work.ts";

test("a coroutine runs no code before its first poll", () => {
  let calls = 0;
  const work = intoFuture(function* () {
    calls++;
    yield* yieldNow();
    return calls;
  });
  expect(calls).toBe(0);
  const { cx } = manualContext();
  expect(work.poll(cx)).toBe(Pending);
  expect(work.poll(cx)).toBe(1);
});

describe("a future runs once", () => {
  const kinds: Record<string, () => Future<unknown>> = {
    coroutine: () => intoFuture(function* () {}),
    "work function": () => intoFuture(() => yieldNow()),
    yieldNow: () => yieldNow(),
    sleep: () => sleep(0),
    join: () => join(yieldNow(), sleep(0)),
    race: () => race(yieldNow(), sleep(0)),
    timeout: () => timeout(1000, yieldNow()),
    shield: () => shield(yieldNow()),
    tick: () => interval(0.01).tick(),
    promise: () => intoFuture(Promise.resolve()),
    "async function": () => intoFuture(async () => {}),
    "join of a task": () => spawn(yieldNow())[Symbol.iterator](),
  };

  test.each(Object.entries(kinds))("%s: a poll after completion throws", (_, make) => {
    using runtime = new Runtime();
    runtime.blockOn(function* () {
      const future = make();
      yield* future;
      expect(() => future.next()).toThrow(/polled after it had completed or been dropped/);
    });
  });

  test("a poll of a socket operation that was dropped throws", () => {
    using runtime = new Runtime();
    using socket = UdpSocket.bind("127.0.0.1:0");
    runtime.blockOn(function* () {
      const future = socket.recv(new Uint8Array(1));
      expect(future.next().done).toBe(false);
      future.drop();
      expect(() => future.next()).toThrow("polled after");
    });
  });

  test("a poll of a connect that was dropped throws and opens no socket", () => {
    const faults = new FaultSys();
    using runtime = new Runtime({ sys: faults.sys });
    runtime.blockOn(function* () {
      const future = TcpStream.connect("127.0.0.1:1");
      future.drop();
      expect(() => future.next()).toThrow("polled after");
    });
    expect(faults.count("socket")).toBe(0);
  });
});

describe("`yield` without a star in a coroutine", () => {
  test.each([
    ["a future", () => sleep(1), "yield* future"],
    ["a coroutine", () => (function* (): Coroutine<void> {})(), "yield* coroutine()"],
    ["any other value", () => 42, "it yielded 42"],
  ])("throws a TypeError that names the mistake, for %s", (_, make, message) => {
    using runtime = new Runtime();
    const work = (function* () {
      yield make();
    })() as unknown as Coroutine<void>;
    expect(() => runtime.blockOn(work)).toThrow(message);
  });

  test("throws at the `yield` itself, where it can be caught", () => {
    using runtime = new Runtime();
    const work = (function* () {
      try {
        yield sleep(1);
      } catch (error) {
        return (error as Error).name;
      }
      return "none";
    })() as unknown as Coroutine<string>;
    expect(runtime.blockOn(work)).toBe("TypeError");
  });

  test.each([
    ["a future", () => sleep(1e9)],
    [
      "a bare yield",
      () =>
        (function* (): Coroutine<void> {
          yield Pending;
        })(),
    ],
  ])("throws also in the cleanup of a task that was aborted while it awaited %s", (_, wait) => {
    using runtime = new Runtime();
    const log: string[] = [];
    runtime.blockOn(function* () {
      const handle = spawn(function* () {
        try {
          yield* wait();
        } finally {
          try {
            yield sleep(1) as never;
          } catch (error) {
            log.push((error as Error).name);
          }
        }
      });
      yield* yieldNow();
      handle.abort();
      try {
        yield* handle;
      } catch (error) {
        log.push((error as Error).name);
      }
    });
    expect(log).toEqual(["TypeError", "AbortError"]);
  });
});

test.each<[name: string, work: unknown, message: string]>([
  ["a number", 42, "got 42"],
  ["null", null, "got null"],
  ["a string", "text", 'got "text"'],
  ["an object", {}, "an instance of Object"],
  ["an async generator function", async function* () {}, "what the work function returned must be"],
  [
    "an array of futures",
    [sleep(1)],
    "got an instance of Array: to run an array of work, use join(work) or race(work)",
  ],
  [
    "an object with a generator's methods",
    { next() {}, return() {}, throw() {} },
    "an instance of Object",
  ],
  ["a function that returns a number", () => 1, "what the work function returned"],
])("%s as work throws an error that names it, and the runtime stays usable", (_, work, message) => {
  using runtime = new Runtime();
  expect(() => runtime.blockOn(work as never)).toThrow(message);
  expect(runtime.blockOn(async () => "still works")).toBe("still works");
});

test("polling a coroutine from inside its own poll throws", () => {
  using runtime = new Runtime();
  const holder: { future?: Future<void> } = {};
  holder.future = intoFuture(function* () {
    yield* holder.future as Future<void>;
  });
  expect(() => runtime.blockOn(holder.future as Future<void>)).toThrow(
    "polled from inside its own poll",
  );
});

test("a work function that drops its own future ends what it returns", () => {
  using runtime = new Runtime();
  const inner = new Counting<void>();
  const work: Future<void> = intoFuture(() => {
    work.drop();
    return inner;
  });
  expect(() => runtime.blockOn(work)).toThrow("a work function was polled after it had completed");
  expect([inner.polls, inner.drops]).toEqual([0, 1]);
});

test("leaving the block of a `using` drops the future", () => {
  const future = new Counting<void>();
  {
    using _ = future;
  }
  expect(future.drops).toBe(1);
});

test("the current runtime is restored after a nested blockOn returns or throws", () => {
  using outer = new Runtime();
  using inner = new Runtime();
  outer.blockOn(function* () {
    expect(Runtime.current()).toBe(outer);
    expect(() =>
      inner.blockOn(function* () {
        expect(Runtime.current()).toBe(inner);
        yield* yieldNow();
        throw new Error("inside");
      }),
    ).toThrow("inside");
    expect(Runtime.current()).toBe(outer);
    yield* yieldNow();
    expect(Runtime.current()).toBe(outer);
  });
  expect(() => Runtime.current()).toThrow("no runtime is polling here");
});

test("catch and finally of a future return promises, as those of a promise do", async () => {
  const boom = new Error("boom");
  const failing = () =>
    intoFuture(function* () {
      yield* sleep(0);
      throw boom;
    });
  const log: string[] = [];
  expect(await failing().catch((error: unknown) => [error])).toEqual([boom]);
  expect(await sleepThen(0, 1).catch(() => 2)).toBe(1);
  expect(await sleepThen(0, 1).finally(() => log.push("value"))).toBe(1);
  const failed = failing().finally(() => log.push("error"));
  expect(await failed.then(null, (error: unknown) => error)).toBe(boom);
  expect(await spawn(() => sleepThen(0, 3)).finally(() => log.push("handle"))).toBe(3);
  expect(log).toEqual(["value", "error", "handle"]);
});

test("a leaf that loops await has the `then` of all futures as its own", () => {
  for (const { prototype } of [Read, Write, WriteAll]) {
    expect(Object.hasOwn(prototype, "then")).toBe(true);
    expect(prototype.then).toBe(Future.prototype.then as never);
  }
});
