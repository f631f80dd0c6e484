// join, race, select and timeout: values, failures, cancellation and fairness.

import { expect, setDefaultTimeout, test } from "bun:test";
import { writeSync } from "node:fs";
import {
  type Context,
  type Coroutine,
  Future,
  type IntoFuture,
  join,
  joinAll,
  Mutex,
  Pending,
  type Poll,
  Runtime,
  race,
  Semaphore,
  select,
  sleep,
  spawn,
  TimeoutError,
  timeout,
  type Waker,
  withSignal,
  yieldNow,
} from "../../src/index.ts";
import { failureOf } from "../support/caught.ts";
import { Counting } from "../support/counting.ts";
import { untilIdle } from "../support/idle.ts";

setDefaultTimeout(60_000); // a slow machine must not fail the test

/** Waits for `leaf`. Its cleanup suspends, and then logs `name`. */
function* careful<T>(name: string, log: string[], leaf: Future<T>): Coroutine<T> {
  try {
    return yield* leaf;
  } finally {
    yield* yieldNow();
    log.push(`${name} is clean`);
  }
}

function* fail(error: unknown): Coroutine<never> {
  yield* yieldNow();
  throw error;
}

function blockOn<T>(work: IntoFuture<T>): T {
  using runtime = new Runtime();
  const value = runtime.blockOn(work);
  expect(runtime.tasks()).toEqual([]);
  expect(runtime.metrics().timers).toBe(0);
  return value;
}

test("join returns all values in the given order", () => {
  const values = blockOn(() =>
    join(
      sleep(2),
      function* () {
        yield* sleep(1);
        return "a";
      },
      async () => 2,
      Promise.resolve(true),
    ),
  );
  expect(values).toEqual([undefined, "a", 2, true]);
});

test("join and joinAll without work complete at once", () => {
  blockOn(function* () {
    expect(yield* join()).toEqual([]);
    expect(yield* joinAll([])).toEqual([]);
  });
});

test("when one piece of work fails, join cancels the others and then throws the error", () => {
  const log: string[] = [];
  const boom = new Error("boom");
  const leaf = new Counting<void>();
  blockOn(function* () {
    try {
      yield* join(careful("a", log, leaf), fail(boom), careful("b", log, sleep(1e6)));
    } catch (error) {
      log.push(`caught ${(error as Error).message}`);
    }
  });
  expect(log.sort()).toEqual(["a is clean", "b is clean", "caught boom"]);
  expect([leaf.polls, leaf.drops]).toEqual([1, 1]);
});

test("joinAll throws TypeError for a single future and for a value that is not iterable", () => {
  for (const wrong of [sleep(1), 5, null, undefined, {}]) {
    expect(() => joinAll(wrong as never)).toThrow(TypeError);
    expect(() => joinAll(wrong as never)).toThrow(
      "joinAll: work must be an iterable of work, such as an array of futures; got",
    );
  }
});

test("waking one child polls only that child: joinAll of 10,000 futures makes 20,000 polls", () => {
  const futures = Array.from({ length: 10_000 }, () => new Counting<number>());
  using runtime = new Runtime();
  const all = runtime.spawn(joinAll(futures));
  untilIdle(runtime);
  expect(futures.every((future) => future.polls === 1)).toBe(true);
  for (const [index, future] of futures.entries()) {
    future.complete(index);
    if (index % 1000 === 0) runtime.blockOn(yieldNow());
  }
  expect(runtime.blockOn(all)).toEqual(futures.map((_, index) => index));
  expect(futures.every((future) => future.polls === 2)).toBe(true);
});

test("race returns after the cleanup of the losers", () => {
  const log: string[] = [];
  const leaf = new Counting<string>();
  blockOn(function* () {
    const winner = yield* race(careful("loser", log, leaf), async () => {
      await sleep(1);
      return "winner";
    });
    log.push(winner);
  });
  expect(log).toEqual(["loser is clean", "winner"]);
  expect(leaf.drops).toBe(1);
});

test("a race of several that are ready at the first poll returns the first listed and never starts the others", () => {
  let begun = 0;
  const value = blockOn(function* () {
    return yield* race(
      async () => "first",
      async () => ++begun,
    );
  });
  expect(value).toBe("first");
  expect(begun).toBe(0);
});

test("a race or a timeout with several futures woken before a poll returns the value of the first listed", () => {
  using runtime = new Runtime();
  const [first, second, work] = ["", "", ""].map(() => new Counting<string>()) as [
    Counting<string>,
    Counting<string>,
    Counting<string>,
  ];
  const handle = runtime.spawn(race(first, second));
  const timed = runtime.spawn(timeout(1, work));
  runtime.blockOn(yieldNow()); // one turn, in which the timeout starts
  second.complete("second");
  first.complete("first");
  expect(runtime.blockOn(handle)).toBe("first");
  runtime.blockOn(function* () {
    while (runtime.metrics().timers > 0) yield* yieldNow(); // until the clock has been woken
    work.complete("in time");
  });
  expect(runtime.blockOn(timed)).toBe("in time");
});

test("a child that always uses up the budget does not starve its siblings", () => {
  using runtime = new Runtime();
  const done = runtime.spawn(async () => {});
  runtime.block();
  function* busy(): Coroutine<void> {
    for (let count = 0; count < 1e7; count++) yield* done;
    throw new Error("starved");
  }
  expect(() => runtime.blockOn(timeout(1, busy()))).toThrow("not done within 1 ms");
  const last = race(busy(), busy(), function* () {
    for (let count = 0; count < 1000; count++) yield* done;
    return "last";
  });
  expect(runtime.blockOn(last)).toBe("last");
  const awaited = runtime.blockOn(async () => {
    const rest = race(busy(), sleep(1)).then();
    for (let count = 0; count < 100; count++) await done;
    await rest;
    return "awaited";
  });
  expect(awaited).toBe("awaited");
});

test("a joinAll of 10,000 ready children polls each child once, over several budgets", () => {
  using runtime = new Runtime();
  const done = runtime.spawn(async () => {});
  runtime.block();
  let polls = 0;
  class Counted extends Future<void> {
    readonly #join: Future<void> = done[Symbol.iterator]();

    override poll(cx: Context): Poll<void> {
      polls++;
      return this.#join.poll(cx);
    }
  }
  runtime.blockOn(joinAll(Array.from({ length: 10_000 }, () => new Counted())));
  expect(polls).toBe(10_000);
});

test("race throws the error of the first future to end if that future fails", () => {
  expect(() =>
    blockOn(function* () {
      yield* race(fail(new Error("first")), sleep(1e6));
    }),
  ).toThrow("first");
});

test("race and select throw for empty work, and race throws for a number", () => {
  expect(() => (race as () => void)()).toThrow("race: needs at least one piece of work; got none");
  expect(() => select({})).toThrow("select: needs at least one piece of work; got none");
  expect(() => race(42 as never)).toThrow("got 42");
});

test("select returns the key and the value of the winner", () => {
  const result = blockOn(function* () {
    return yield* select({ slow: sleep(1e6), fast: async () => 7 });
  });
  expect(result).toEqual({ key: "fast", value: 7 });
});

test("timeout returns the value, or throws the error, of work that ends in time", () => {
  expect(blockOn(() => timeout(1000, async () => "done"))).toBe("done");
  expect(() => blockOn(() => timeout(1000, fail(new Error("own"))))).toThrow("own");
});

test("a TimeoutError says what the work was waiting on, also through nested futures", () => {
  const slots = new Semaphore(1, { name: "slots" });
  using _slot = slots.tryAcquire();
  const late = timeout(1, function* () {
    yield* withSignal(new AbortController().signal, async () => await slots.acquire());
  });
  const text = 'not done within 1 ms; the work was waiting on permits of "slots"';
  expect(() => blockOn(() => late)).toThrow(text);
});

test("timeout throws TimeoutError after the cleanup of the work it cancelled", () => {
  const log: string[] = [];
  blockOn(function* () {
    try {
      yield* timeout(1, careful("late", log, new Counting<void>()));
    } catch (error) {
      expect(error).toBeInstanceOf(TimeoutError);
      expect(error).toMatchObject({
        name: "TimeoutError",
        code: "ERR_TIMEOUT",
        message: "not done within 1 ms; the work was waiting on a wake",
      });
      log.push("thrown");
    }
  });
  expect(log).toEqual(["late is clean", "thrown"]);
  expect(() => timeout(-1, sleep(0))).toThrow("timeout: ms must be a number >= 0; got -1");
});

test("cancelling a combinator cancels all nested work and waits for its cleanup", () => {
  const log: string[] = [];
  const leaves = [new Counting<void>(), new Counting<void>(), new Counting<void>()] as const;
  using runtime = new Runtime();
  const nested = runtime.spawn(
    join(
      careful("a", log, leaves[0]),
      race(careful("b", log, leaves[1]), timeout(1e6, careful("c", log, leaves[2]))),
    ),
  );
  untilIdle(runtime);
  nested.abort();
  runtime.block();
  expect(log.sort()).toEqual(["a is clean", "b is clean", "c is clean"]);
  expect(leaves.map((leaf) => leaf.drops)).toEqual([1, 1, 1]);
  expect(runtime.metrics().timers).toBe(0);
});

test("when the drop of one child throws, the others are still dropped and their values reclaimed", () => {
  class Undroppable extends Future<void> {
    override poll(): Pending {
      return Pending;
    }

    override drop(): void {
      throw new Error("cannot be dropped");
    }
  }
  using runtime = new Runtime();
  runtime.blockOn(function* () {
    const mutex = new Mutex(0);
    const other = new Counting<void>();
    const all = join(mutex.lock(), new Undroppable(), other);
    expect(all.next().done).toBe(false);
    expect(mutex.isLocked).toBe(true);
    expect(() => all.drop()).toThrow("cannot be dropped");
    expect(mutex.isLocked).toBe(false);
    expect(other.drops).toBe(1);
  });
});

test("a child that drops its parent in its own poll and then suspends is dropped when that poll returns", () => {
  using runtime = new Runtime();
  runtime.blockOn(function* () {
    const left = new Counting<void>();
    const log: string[] = [];
    const one: Future<void> = race(() => {
      one.drop();
      return left;
    });
    expect(() => one.next()).toThrow("polled after"); // its owner would never be woken
    expect(left.drops).toBe(1);

    const mutex = new Mutex(0);
    const locked: Future<unknown> = race(() => {
      locked.drop();
      return mutex.lock();
    });
    expect(() => locked.next()).toThrow("polled after");
    expect(mutex.isLocked).toBe(false);

    const other: Future<void> = race(function* () {
      expect(() => other.drop()).toThrow("from inside its own poll");
      yield* careful("child", log, new Counting<void>());
    });
    expect(() => other.next()).toThrow("polled after");
    yield* untilIdle();
    expect(log).toEqual(["child is clean"]);

    const failing: Future<void> = race(() => {
      failing.drop();
      throw new Error("thrown by the child");
    });
    expect(() => failing.next()).toThrow("thrown by the child");
  });
});

test("a cleanup that drops the parent and then suspends still runs to its end", () => {
  using runtime = new Runtime();
  const log: string[] = [];
  runtime.blockOn(function* () {
    const both: Future<unknown> = join(
      function* () {
        try {
          yield* sleep(1e6);
        } finally {
          both.drop();
          yield* sleep(1);
          log.push("clean");
        }
      },
      function* () {
        yield* yieldNow();
        throw new Error("boom");
      },
    );
    yield* failureOf(both);
  });
  runtime.block(); // until the cleanup has ended, too
  expect(log).toEqual(["clean"]);
});

test("writing to the waker.fd of a child polls only that child", () => {
  using runtime = new Runtime();
  const futures = [new Counting<void>(), new Counting<void>()] as const;
  const both = runtime.spawn(join(...futures));
  untilIdle(runtime);
  const fd = (futures[1].waker as Waker).fd;
  expect((futures[0].waker as Waker).fd).not.toBe(fd);
  writeSync(fd, new Uint8Array(new BigUint64Array([1n]).buffer));
  untilIdle(runtime);
  expect(futures.map((future) => future.polls)).toEqual([1, 2]);
  for (const future of futures) future.complete();
  runtime.blockOn(both);
});

test("a join that one task polls first completes in another task", () => {
  const futures = [new Counting<number>(), new Counting<number>()] as const;
  const values = blockOn(function* () {
    const both = join(...futures);
    const result: IteratorResult<Pending | symbol, unknown> = both.next();
    expect(result.done).toBe(false);
    const finisher = spawn(both);
    yield* yieldNow();
    futures[0].complete(1);
    futures[1].complete(2);
    return yield* finisher;
  });
  expect(values).toEqual([1, 2]);
});

test("a child that calls next() of a generator itself is woken when the generator's sleep ends", () => {
  class ByHand extends Future<string> {
    readonly #generator = (function* () {
      yield* sleep(0.01);
      return "woken";
    })();

    override poll(): Poll<string> {
      const result = this.#generator.next(); // without `cx`: in the current context
      return result.done === true ? result.value : Pending;
    }
  }
  using runtime = new Runtime();
  expect(runtime.blockOn(join(new ByHand(), sleep(0)))).toEqual(["woken", undefined]);
});

test("a child that is always ready does not block other tasks", () => {
  using runtime = new Runtime();
  let turns = 0;
  let isOver = false;
  runtime.blockOn(function* () {
    const busy = spawn(
      join(function* () {
        while (!isOver) {
          turns++;
          yield* yieldNow();
        }
      }, sleep(0)),
    );
    yield* sleep(1);
    isOver = true;
    yield* busy;
  });
  expect(turns).toBeGreaterThan(0);
});
