// Async functions and promises as work.

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { AsyncLocalStorage } from "node:async_hooks";
import {
  AbortError,
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
  timeout,
  type Waker,
  yieldNow,
} from "../../../src/index.ts";
import { caught } from "../../support/caught.ts";
import { Counting } from "../../support/counting.ts";
import { untilIdle } from "../../support/idle.ts";
import { captureConsoleError, silenceWarnings } from "../../support/output.ts";

setDefaultTimeout(60_000); // a slow machine is no failure

test("blockOn of an async function is synchronous", () => {
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
  // biome-ignore lint/suspicious/noThenProperty: it is what is tested
  ["a thenable", { then: (f: (n: number) => unknown) => f(1) } as unknown as Promise<number>],
];

test.each(kinds)("%s is taken wherever work is", (_, work) => {
  using runtime = new Runtime();
  const fresh = (): IntoFuture<number> => work;
  expect(runtime.blockOn(fresh())).toBe(1);
  expect(runtime.blockOn(runtime.spawn(fresh()))).toBe(1);
  expect(runtime.blockOn(join(fresh(), fresh()))).toEqual([1, 1]);
  expect(runtime.blockOn(race(fresh()))).toBe(1);
  expect(runtime.blockOn(timeout(1000, fresh()))).toBe(1);
  expect(runtime.blockOn(scope(() => fresh()))).toBe(1);
});

test("the context is right after each await, however tasks interleave", () => {
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

/** Completes in its first poll, with the context of that; how, `last` tells. */
class Once extends Future<Context> {
  readonly #last: (cx: Context) => void;

  constructor(last: (cx: Context) => void = () => {}) {
    super();
    this.#last = last;
  }

  override poll(cx: Context): Poll<Context> {
    this.#last(cx);
    return cx;
  }
}

test("what awaits one future after the other has one child; not one that could still be woken", () => {
  const kept: Waker[] = [];
  new Runtime().blockOn(async () => {
    const first = await new Once();
    expect(await new Once()).toBe(first);
    for (const last of [
      (cx: Context): void => cx.target.wake(), // it is queued already
      (cx: Context): void => void kept.push(cx.waker.clone()),
      (cx: Context): void => void kept.push(cx.waker),
    ]) {
      const known = await new Once(last);
      const counting = new Counting<Context | null>();
      const completes = spawn(function* () {
        for (const waker of kept) waker.wakeByRef(); // none of the next one's
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

test("nested plain async functions await for the one that was given as work", () => {
  using runtime = new Runtime();
  const depth = async (left: number): Promise<number> => {
    await yieldNow();
    return left === 0 ? 0 : 1 + (await depth(left - 1));
  };
  expect(runtime.blockOn(() => depth(50))).toBe(50);
  expect(runtime.metrics().tasksEnded).toBe(1);
});

test("then may be called many times: the future is performed once", () => {
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

test("a handle is awaited by many: one that is cancelled takes nothing from the others", () => {
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

test("a function that awaits, and returns a future or a coroutine", () => {
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

test("an async function that is called in a work function of another kind awaits for itself", async () => {
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
  expect(await left?.then(null, (error) => error.name)).toBe("AbortError");
});

test("a thenable is taken as await takes it: once, flattened, also when it throws", () => {
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

test("a value whose then throws rejects the await of it, and no other", () => {
  class Unlucky extends Future<unknown> {
    override poll(): Poll<unknown> {
      return {
        // biome-ignore lint/suspicious/noThenProperty: it is what is tested
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

test("returning a future from an async function performs it", () => {
  using runtime = new Runtime();
  expect(runtime.blockOn(async () => race(sleep(1e6), async () => 5))).toBe(5);
});

test("yieldNow lets other tasks go first, also in an async function", () => {
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

test("awaits that are ready at once are bounded by the budget", () => {
  using runtime = new Runtime();
  const done = Array.from({ length: 1000 }, () => runtime.spawn(async () => {}));
  runtime.block();
  let awaits = 0;
  let seen = 0;
  runtime.spawn(async () => {
    for (; awaits < 1000; awaits++) await done[awaits];
  });
  runtime.spawn(async () => {
    seen = awaits;
  });
  runtime.block();
  expect(seen).toBeGreaterThan(0);
  expect(seen).toBeLessThanOrEqual(128);
});

describe("cancelling", () => {
  test("what it awaits is dropped and rejects; later awaits reject; a shield is awaited", () => {
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
    expect(log).toEqual(["first AbortError", "later AbortError", "shield done"]);
    expect(handle.isAborted).toBe(true);
  });

  test("it waits for the cleanup of what was awaited", () => {
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

  test("one that waits for a promise of others is abandoned; what it throws late is reported", async () => {
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

  test("an AbortError in its `await using`, on top of the first, is no failure; another error is", () => {
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

  test("one that catches every AbortError and awaits again is abandoned, and told why", () => {
    using print = captureConsoleError();
    using runtime = new Runtime();
    let count = 0;
    const handle = runtime.spawn(async () => {
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
    expect(count).toBe(1001);
    expect(print.mock.calls.map((call) => `${call[1]}`)).toEqual([
      expect.stringContaining("Leave the loop when an await throws an AbortError"),
    ]);
  });

  test("dropped by its own microtask, it leaves nothing behind, and its owner hears of it", () => {
    using runtime = new Runtime();
    const { promise } = Promise.withResolvers<void>();
    const work = race(async () => {
      await yieldNow();
      work.drop();
      await promise;
    });
    expect(() => runtime.blockOn(work)).toThrow("polled after it had completed or been dropped");
    expect(runtime.foreignPromises).toBe(0);
  });

  test("shields that are done at once, one after the other in its cleanup, are bounded by the budget", () => {
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

  test("a race drops it like any other work", () => {
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

test("what is still awaited when the function ends is dropped, and told why", () => {
  using runtime = new Runtime();
  const leaf = new Counting<void>();
  let left: unknown;
  runtime.blockOn(async () => {
    leaf.then(null, (error: unknown) => {
      left = error;
    });
    await yieldNow();
  });
  runtime.blockOn(async () => {});
  expect(leaf.drops).toBe(1);
  expect(left).toBeInstanceOf(AbortError);
  expect((left as Error).message).toContain("what it left behind is dropped");
});

test("a promise that only Bun's loop can settle: blockOn says so, and warns where it may wait", () => {
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

test("a promise that another task settles is waited for", () => {
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

test("a promise that is awaited again and again, and given up, has one reaction", () => {
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

test("what goes on in another task's turn awaits futures all the same", () => {
  using runtime = new Runtime();
  const { promise, resolve } = Promise.withResolvers<void>();
  const leaf = new Counting<string>();
  const waits = runtime.spawn(async () => {
    await promise; // settled, it goes on while the other function's microtasks run
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

test("an error shows where it was thrown, through yield*, await and tasks", () => {
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

test("the AsyncLocalStorage of where a task was spawned is seen inside, in coroutines too", () => {
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

test("what is awaited sees the AsyncLocalStorage of the await, as an async function that is called does", () => {
  using runtime = new Runtime();
  const storage = new AsyncLocalStorage<string>();
  const seen: unknown[] = [];
  const look = (): void => void seen.push(storage.getStore());
  const coroutine = function* () {
    look();
    try {
      yield* sleep(0);
      look();
    } finally {
      look();
    }
  };
  const work = async () => {
    look();
    await sleep(0);
    look();
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
      await set.spawn(work);
      await set.joinNext();
      look();
    });
    expect(storage.getStore()).toBeUndefined();
  });
  expect(seen).toHaveLength(19);
  expect(new Set(seen)).toEqual(new Set(["inner"]));
});
