// Async functions and promises as work: how they run, await, and are cancelled.

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { AsyncLocalStorage } from "node:async_hooks";
import {
  type Context,
  type Coroutine,
  Future,
  fromPromise,
  type IntoFuture,
  intoFuture,
  JoinSet,
  join,
  type Poll,
  Runtime,
  race,
  scope,
  select,
  shield,
  sleep,
  spawn,
  TcpStream,
  timeout,
  type Waker,
  yieldNow,
} from "../../../src/index.ts";
import { caught } from "../../support/caught.ts";
import { Counting } from "../../support/counting.ts";
import { untilIdle } from "../../support/idle.ts";
import { captureConsoleError, silenceWarnings } from "../../support/output.ts";

setDefaultTimeout(60_000); // the machine may be slow

test("blockOn runs an async function synchronously", () => {
  using runtime = new Runtime();
  let isOver = false;
  const value = runtime.blockOn(async () => {
    await sleep(2);
    isOver = true;
    return 42;
  });
  expect(isOver).toBe(true);
  expect(value).toBe(42);
  expect(() => runtime.blockOn(async () => Promise.reject(new Error("rejected")))).toThrow(
    "rejected",
  );
});

const kinds: [string, IntoFuture<number>][] = [
  ["an async function", async () => (await sleep(0)) ?? 1],
  ["a function that returns a promise", () => Promise.resolve(1)],
  ["a promise", Promise.resolve(1)],
  // biome-ignore lint/suspicious/noThenProperty: the test needs a thenable
  ["a thenable", { then: (f: (n: number) => unknown) => f(1) } as unknown as Promise<number>],
];

test.each(kinds)("%s is accepted wherever work is", (_, work) => {
  using runtime = new Runtime();
  const fresh = (): IntoFuture<number> => work;
  expect(runtime.blockOn(fresh())).toBe(1);
  expect(runtime.blockOn(runtime.spawn(fresh()))).toBe(1);
  expect(runtime.blockOn(join(fresh(), fresh()))).toEqual([1, 1]);
  expect(runtime.blockOn(race(fresh()))).toBe(1);
  expect(runtime.blockOn(timeout(1000, fresh()))).toBe(1);
  expect(runtime.blockOn(scope(() => fresh()))).toBe(1);
});

test("Runtime.current() is right after every await, however tasks interleave", () => {
  using first = new Runtime();
  const work = async (name: string): Promise<void> => {
    for (let round = 0; round < 20; round++) {
      await (round % 3 === 0 ? sleep(0) : yieldNow());
      expect(Runtime.current()).toBe(first);
      expect(await spawn(async () => Runtime.current())).toBe(first);
      await Promise.resolve(name);
      expect(Runtime.current()).toBe(first);
    }
  };
  first.blockOn(async () => {
    await Promise.all(["a", "b", "c"].map((name) => spawn(() => work(name))));
    using second = new Runtime();
    second.blockOn(async () => {
      await sleep(0);
      expect(Runtime.current()).toBe(second);
    });
    expect(Runtime.current()).toBe(first);
  });
  expect(() => Runtime.current()).toThrow("no runtime is polling");
});

/** Calls `onPoll` in its first poll, and completes with the context of that poll. */
class Once extends Future<Context> {
  readonly #onPoll: (cx: Context) => void;

  constructor(onPoll: (cx: Context) => void = () => {}) {
    super();
    this.#onPoll = onPoll;
  }

  override poll(cx: Context): Poll<Context> {
    this.#onPoll(cx);
    return cx;
  }
}

test("an async function reuses one child for successive awaits, unless a waker of the child may still be used", () => {
  const kept: Waker[] = [];
  new Runtime().blockOn(async () => {
    const first = await new Once();
    expect(await new Once()).toBe(first);
    for (const onPoll of [
      (cx: Context): void => cx.target.wake(), // queues the child again
      (cx: Context): void => void kept.push(cx.waker.clone()),
      (cx: Context): void => void kept.push(cx.waker),
    ]) {
      const known = await new Once(onPoll);
      const counting = new Counting<Context | null>();
      const completes = spawn(function* () {
        for (const waker of kept) waker.wakeByRef(); // none of them wakes the next child
        yield* sleep(0.1);
        counting.complete(null);
      });
      expect(await counting).toBeNull();
      expect(counting.polls).toBe(2);
      expect(await new Once()).not.toBe(known);
      await completes;
    }
  });
});

test("nested async functions run in the task of the async function that was given as work", () => {
  using runtime = new Runtime();
  const depth = async (left: number): Promise<number> => {
    await yieldNow();
    return left === 0 ? 0 : 1 + (await depth(left - 1));
  };
  expect(runtime.blockOn(() => depth(50))).toBe(50);
  expect(runtime.metrics().tasksEnded).toBe(1);
});

test("calling `then` several times performs the future once", () => {
  using runtime = new Runtime();
  const leaf = new Counting<number>();
  runtime.blockOn(async () => {
    const all = Promise.all([leaf.then(), leaf.then((n) => n + 1), leaf, leaf.then(null, () => 0)]);
    await yieldNow();
    leaf.complete(1);
    expect(await all).toEqual([1, 2, 1, 1]);
  });
  expect(leaf.polls).toBe(2);
});

test("cancelling one await of a handle leaves the other awaits alone", () => {
  using runtime = new Runtime();
  const leaf = new Counting<number>();
  const handle = runtime.spawn(leaf);
  const cancelled = runtime.spawn(async () => await handle);
  const forgetful = runtime.spawn(async () => void handle.then(null, () => {}));
  untilIdle(runtime);
  cancelled.abort();
  untilIdle(runtime);
  expect([cancelled.isFinished, forgetful.isFinished]).toEqual([true, true]);
  const waits = runtime.spawn(async () => await Promise.all([handle, handle]));
  leaf.complete(42);
  expect(runtime.blockOn(waits)).toEqual([42, 42]);
});

test("a work function may await futures and return a future or a coroutine", () => {
  using runtime = new Runtime();
  const log: string[] = [];
  const start = (): Promise<unknown> => sleep(0).then(() => log.push("awaited"));
  runtime.blockOn(() => fromPromise(start()));
  runtime.blockOn(() => {
    const promise = start();
    return (function* () {
      yield* fromPromise(promise);
    })();
  });
  const leaf = new Counting<number>();
  const handle = runtime.spawn(() => {
    leaf.then((value) => log.push(`${value}`));
    return leaf;
  });
  untilIdle(runtime);
  leaf.complete(7);
  expect(runtime.blockOn(handle)).toBe(7);
  expect(log).toEqual(["awaited", "awaited", "7"]);
});

test("an async function runs as work of its own when a plain work function calls it", async () => {
  using runtime = new Runtime();
  const call = async () => {
    await sleep(0);
    return 5;
  };
  expect(runtime.blockOn(() => fromPromise(call()))).toBe(5);
  expect(runtime.blockOn(timeout(1e6, () => fromPromise(call())))).toBe(5);
  const coroutine = () => {
    const promise = call();
    return (function* () {
      return yield* fromPromise(promise);
    })();
  };
  expect(runtime.blockOn(coroutine)).toBe(5);
  let left: Promise<void> | undefined;
  const throws = (): never => {
    left = sleep(0).then();
    throw new Error("thrown");
  };
  expect(() => runtime.blockOn(throws)).toThrow("thrown");
  expect(await left).toBeUndefined(); // it goes on, as a promise does
});

test("a thenable as work settles once, is flattened, and may throw, as in an await", () => {
  using runtime = new Runtime();
  const thenable = (
    then: (resolve: (value: unknown) => void, reject: (e: Error) => void) => void,
  ) => ({ then }) as PromiseLike<unknown>;
  const twice = thenable((resolve, reject) => {
    resolve(1);
    reject(new Error("second"));
  });
  const nested = thenable((resolve) => resolve(Promise.resolve(2)));
  const throws = thenable(() => {
    throw new Error("thrown");
  });
  const lazy = thenable((resolve) => void sleep(0).then(() => resolve(3)));
  for (const wrap of [(t: PromiseLike<unknown>) => t, (t: PromiseLike<unknown>) => () => t]) {
    expect(runtime.blockOn(wrap(twice))).toBe(1);
    expect(runtime.blockOn(wrap(nested))).toBe(2);
    expect(() => runtime.blockOn(wrap(throws))).toThrow("thrown");
    expect(runtime.blockOn(wrap(lazy))).toBe(3);
  }
});

test("a value whose `then` getter throws rejects its own await and no other", () => {
  class Unlucky extends Future<unknown> {
    override poll(): Poll<unknown> {
      return {
        // biome-ignore lint/suspicious/noThenProperty: the test needs a thenable
        get then(): unknown {
          throw new Error("no then");
        },
      };
    }
  }
  using runtime = new Runtime();
  const results = runtime.blockOn(
    async () => await Promise.allSettled([new Unlucky(), sleep(0), new Unlucky()]),
  );
  expect(results).toEqual([
    { status: "rejected", reason: new Error("no then") },
    { status: "fulfilled", value: undefined },
    { status: "rejected", reason: new Error("no then") },
  ]);
  expect(runtime.metrics()).toMatchObject({ timers: 0 });
});

test("an async function performs the future that it returns", () => {
  using runtime = new Runtime();
  expect(runtime.blockOn(async () => race(sleep(1e6), async () => 5))).toBe(5);
});

test("yieldNow in an async function polls the other ready tasks first", () => {
  using runtime = new Runtime();
  const log: string[] = [];
  for (const name of ["a", "b"]) {
    runtime.spawn(async () => {
      for (let round = 1; round <= 3; round++) {
        log.push(`${name}${round}`);
        await yieldNow();
      }
    });
  }
  runtime.block();
  expect(log).toEqual(["a1", "b1", "a2", "b2", "a3", "b3"]);
});

test("an async function yields when its awaits use up the coop budget", () => {
  using runtime = new Runtime();
  const done = Array.from({ length: 1000 }, () => runtime.spawn(async () => {}));
  runtime.block();
  let awaits = 0;
  let seen = 0;
  runtime.spawn(async () => {
    for (; awaits < 1000; awaits++) await done[awaits];
  });
  runtime.spawn(async () => {
    await yieldNow();
    seen = awaits;
  });
  runtime.block();
  expect(seen).toBeGreaterThan(0);
  expect(seen).toBeLessThanOrEqual(128);
});

describe("cancelling an async function", () => {
  test("drops what the function awaits at that moment, and later awaits work", () => {
    using runtime = new Runtime();
    const leaf = new Counting<void>();
    const log: string[] = [];
    const handle = runtime.spawn(async () => {
      try {
        await leaf;
      } catch (error) {
        log.push(`first ${(error as Error).name}`);
      }
      try {
        await sleep(0);
      } catch (error) {
        log.push(`later ${(error as Error).name}`);
      } finally {
        log.push(`shield ${await shield(async () => (await sleep(1)) ?? "done")}`);
      }
    });
    untilIdle(runtime);
    handle.abort();
    runtime.block();
    expect(leaf.drops).toBe(1);
    expect(log).toEqual(["first AbortError", "shield done"]);
    expect(handle.isAborted).toBe(true);
  });

  test("waits for the cleanup of the pending future", () => {
    using runtime = new Runtime();
    const log: string[] = [];
    const handle = runtime.spawn(async () => {
      try {
        await spawnless();
      } finally {
        log.push("outer");
      }
    });
    const spawnless = () =>
      scope(function* () {
        try {
          yield* sleep(1e6);
        } finally {
          yield* sleep(1);
          log.push("inner");
        }
      });
    untilIdle(runtime);
    handle.abort();
    runtime.block();
    expect(log).toEqual(["inner", "outer"]);
  });

  test("abandons a function that waits for a foreign promise, and reports what it throws later", async () => {
    using print = captureConsoleError();
    using runtime = new Runtime();
    const late = new Error("late");
    const { promise, resolve } = Promise.withResolvers<void>();
    const handle = runtime.spawn(async () => {
      await promise;
      throw late;
    });
    untilIdle(runtime);
    handle.abort();
    runtime.block();
    expect(handle.isAborted).toBe(true);
    resolve();
    await promise;
    await Promise.resolve();
    expect(print.mock.calls.map((call) => call[1])).toEqual([late]);
  });

  test("ignores a second AbortError from an `await using`, and reports any other error", () => {
    using print = captureConsoleError();
    using runtime = new Runtime();
    const boom = new Error("boom");
    for (const cleanup of [() => sleep(1), () => Promise.reject(boom)]) {
      const handle = runtime.spawn(async () => {
        await using _ = {
          async [Symbol.asyncDispose]() {
            await cleanup();
          },
        };
        await sleep(1e6);
      });
      untilIdle(runtime);
      handle.abort();
      runtime.block();
      expect(handle.isAborted).toBe(true);
    }
    expect(print.mock.calls.map((call) => (call[1] as SuppressedError).error)).toEqual([boom]);
  });

  test("reports and abandons a function that catches every AbortError and awaits again", () => {
    using print = captureConsoleError();
    using runtime = new Runtime({ cancelGraceMs: 5 });
    let count = 0;
    const handle = runtime.spawn(async function stubborn() {
      for (;;) {
        try {
          await sleep(1e6);
        } catch {
          count++;
        }
      }
    });
    untilIdle(runtime);
    handle.abort();
    runtime.block();
    expect(handle.isAborted).toBe(true);
    expect(count).toBe(1002); // delivered, at the end of the grace, and refused
    expect(print.mock.calls.map((call) => call.join(" "))).toEqual([
      expect.stringMatching(
        /async function stubborn failed: .*cancelled 5 ms ago.*sleep, \d+ ms left/s,
      ),
      expect.stringContaining("Leave the loop when an await throws an AbortError"),
    ]);
  });

  test("leaves nothing behind when the function drops itself from its own microtask", () => {
    using runtime = new Runtime();
    const { promise } = Promise.withResolvers<void>();
    const work = race(async () => {
      await yieldNow();
      work.drop();
      await promise;
    });
    expect(() => runtime.blockOn(work)).toThrow(
      "was polled after it had completed or been dropped",
    );
    expect(runtime.foreignPromises).toBe(0);
  });

  test("yields when shields in the cleanup use up the coop budget", () => {
    using runtime = new Runtime();
    let shields = 0;
    let seen = -1;
    const handle = runtime.spawn(async () => {
      try {
        await sleep(1e6);
      } finally {
        for (; shields < 1000; shields++) await shield(function* () {});
      }
    });
    untilIdle(runtime);
    handle.abort();
    runtime.spawn(function* () {
      seen = shields;
    });
    runtime.block();
    expect(shields).toBe(1000);
    expect(seen).toBeGreaterThan(0);
    expect(seen).toBeLessThanOrEqual(128);
  });

  test("runs the `finally` of an async function that loses a race", () => {
    using runtime = new Runtime();
    const log: string[] = [];
    const value = runtime.blockOn(
      race(
        async () => {
          try {
            await sleep(1e6);
          } finally {
            log.push("loser is clean");
          }
        },
        async () => (await sleep(1)) ?? "winner",
      ),
    );
    log.push(`${value}`);
    expect(log).toEqual(["loser is clean", "winner"]);
    expect(runtime.metrics().timers).toBe(0);
  });
});

test("an await that a function leaves running goes on after the function has ended", () => {
  using runtime = new Runtime();
  const leaf = new Counting<number>();
  let left = 0;
  runtime.blockOn(async () => {
    leaf.then((value) => {
      left = value;
    });
    await yieldNow();
  });
  expect(runtime.tasks().map(({ name }) => name)).toEqual(["await #2"]);
  leaf.complete(7);
  runtime.block();
  expect(left).toBe(7);
  expect(runtime.tasks()).toEqual([]);
});

test("blockOn throws when only Bun's loop can settle a promise, and warns if another future may end the wait", () => {
  using runtime = new Runtime();
  const foreign = async (): Promise<void> => {
    await new Promise((resolve) => setTimeout(resolve, 1));
  };
  expect(() => runtime.blockOn(foreign)).toThrow("a promise that this runtime did not make");
  expect(() => runtime.blockOn(foreign)).toThrow("guest mode");
  using warn = silenceWarnings();
  for (let round = 0; round < 3; round++) runtime.blockOn(race(foreign, sleep(1)));
  expect(warn.mock.calls).toHaveLength(1);
});

test("blockOn waits for a promise that another task settles", () => {
  using runtime = new Runtime();
  const { promise, resolve } = Promise.withResolvers<string>();
  const waits = runtime.spawn(async () => await promise);
  const coroutine = runtime.spawn(promise);
  runtime.spawn(function* () {
    yield* yieldNow();
    resolve("settled");
  });
  expect(runtime.blockOn(waits)).toBe("settled");
  expect(runtime.blockOn(coroutine)).toBe("settled");
  expect(runtime.foreignPromises).toBe(0);
});

test("awaiting a promise repeatedly and giving up adds one reaction to it", () => {
  using runtime = new Runtime();
  const { promise, resolve } = Promise.withResolvers<string>();
  let reactions = 0;
  // biome-ignore lint/suspicious/noThenProperty: it counts how often it is called
  promise.then = (...args: Parameters<typeof promise.then>) => {
    reactions++;
    return Promise.prototype.then.apply(promise, args) as Promise<never>;
  };
  const winners = runtime.blockOn(function* () {
    const winners: string[] = [];
    for (let round = 0; round < 10; round++) {
      winners.push((yield* select({ promise, turn: yieldNow() })).key);
    }
    resolve("over");
    const [first, second] = yield* join(promise, race(promise));
    return [...winners, first, second];
  });
  expect(winners).toEqual([...new Array(10).fill("turn"), "over", "over"]);
  expect(reactions).toBe(1);
  expect(runtime.blockOn(promise)).toBe("over");
});

test("an async function may await futures when it resumes during the turn of another task", () => {
  using runtime = new Runtime();
  const { promise, resolve } = Promise.withResolvers<void>();
  const leaf = new Counting<string>();
  const waits = runtime.spawn(async () => {
    await promise; // the function resumes here while the microtasks of the other one run
    return await leaf;
  });
  runtime.blockOn(async () => {
    await yieldNow();
    resolve();
    await yieldNow();
  });
  expect(leaf.polls).toBe(1);
  leaf.complete("done");
  expect(runtime.blockOn(waits)).toBe("done");
});

test("the stack of an error shows where it was thrown, through yield*, await and tasks", () => {
  using runtime = new Runtime();
  function* innermost(): Coroutine<never> {
    yield* yieldNow();
    throw new Error("deep");
  }
  function* outer(): Coroutine<never> {
    return yield* innermost();
  }
  const helper = async (): Promise<never> => await spawn(outer);
  for (const work of [outer, () => join(outer()), async () => await helper()]) {
    const error = caught(() => runtime.blockOn<unknown>(work as () => Future<unknown>));
    expect((error as Error).stack).toMatch(/innermost.*async-functions\.test\.ts[\s\S]*outer/);
  }
});

test("a task sees the AsyncLocalStorage of where it was spawned, in coroutines too", () => {
  using runtime = new Runtime();
  const storage = new AsyncLocalStorage<string>();
  const seen: unknown[] = [];
  for (const name of ["a", "b"]) {
    storage.run(name, () => {
      runtime.spawn(function* () {
        seen.push([name, storage.getStore()]);
        yield* sleep(0);
        seen.push([name, storage.getStore()]);
        yield* spawn(async () => {
          await sleep(0);
          seen.push([name, storage.getStore()]);
        });
      });
      runtime.spawn(async () => {
        await yieldNow();
        seen.push([name, storage.getStore()]);
      });
    });
  }
  runtime.block();
  expect(seen).toHaveLength(8);
  for (const [name, store] of seen as [string, string][]) expect(store).toBe(name);
});

test("an awaited future sees the AsyncLocalStorage of its await, as a called async function does", () => {
  using runtime = new Runtime();
  const storage = new AsyncLocalStorage<string>();
  const seen: unknown[] = [];
  const record = (): void => void seen.push(storage.getStore());
  const coroutine = function* () {
    record();
    try {
      yield* sleep(0);
      record();
    } finally {
      record();
    }
  };
  const work = async () => {
    record();
    await sleep(0);
    record();
  };
  runtime.blockOn(async () => {
    await storage.run("inner", async () => {
      await intoFuture(coroutine);
      await timeout(1e6, work);
      await join(coroutine, work);
      await shield(work);
      await scope((tasks) => {
        tasks.spawn(work);
        return work();
      });
      await using set = new JoinSet<void>();
      set.spawn(work);
      await set.joinNext();
      record();
    });
    expect(storage.getStore()).toBeUndefined();
  });
  expect(seen).toHaveLength(19);
  expect(new Set(seen)).toEqual(new Set(["inner"]));
});

test("the stack of an error that an await throws shows the async functions that wait for it", async () => {
  async function connectTo(port: number): Promise<TcpStream> {
    return await TcpStream.connect(`127.0.0.1:${port}`);
  }
  async function handler(): Promise<TcpStream> {
    return await connectTo(1);
  }
  using runtime = new Runtime();
  const errors = [
    await handler().then(null, (error: Error) => error), // on the ambient runtime
    caught(() => runtime.blockOn(handler)),
  ] as Error[];
  for (const { stack } of errors) {
    expect(stack).toMatch(
      /ECONNREFUSED[\s\S]*at async connectTo .*async-functions\.test\.ts[\s\S]*at async handler/,
    );
    expect(stack?.match(/at async connectTo/g)).toHaveLength(1);
  }
});
