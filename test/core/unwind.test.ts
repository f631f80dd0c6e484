// How a cancelled coroutine is unwound. The logs show which cleanup ran, and when.

import { expect, setDefaultTimeout, test } from "bun:test";
import fc from "fast-check";
import {
  AbortError,
  type Coroutine,
  type Future,
  intoFuture,
  Pending,
  Runtime,
  sleep,
  spawn,
  yieldNow,
} from "../../src/index.ts";
import { failureOf } from "../support/caught.ts";
import { Counting } from "../support/counting.ts";
import { untilIdle } from "../support/idle.ts";
import { captureConsoleError } from "../support/output.ts";
import { root, run } from "../support/program.ts";

setDefaultTimeout(60_000); // a slow machine must not fail the test

const GeneratorPrototype = Object.getPrototypeOf(
  Object.getPrototypeOf((function* (): Coroutine<void> {})()),
);

/** Starts `work`, aborts it while it waits, and returns what awaiting it throws. */
function aborted(work: () => Coroutine<unknown>): unknown {
  using runtime = new Runtime();
  return runtime.blockOn(function* () {
    const handle = spawn(work);
    yield* yieldNow();
    handle.abort();
    return yield* failureOf(handle);
  });
}

/** Returns a plain iterator over `generator` that returns copies of its results. */
function wrapped(generator: Coroutine<void>): Coroutine<void> {
  return {
    next: () => ({ ...generator.next() }),
    return: () => ({ ...generator.return() }),
    [Symbol.iterator]() {
      return this;
    },
  } as unknown as Coroutine<void>;
}

test("a cancelled coroutine finishes the cleanup of each inner coroutine before the outer cleanup begins", () => {
  const log: string[] = [];
  function* level(name: string, inner?: () => Coroutine<void>): Coroutine<void> {
    try {
      if (inner === undefined) yield* sleep(1e9);
      else yield* inner();
      log.push(`${name} ran on`);
    } catch {
      log.push(`${name} caught`);
    } finally {
      log.push(`${name} begins`);
      yield* sleep(1);
      log.push(`${name} ends`);
    }
    log.push(`${name} ran on after`);
  }
  const error = aborted(() => level("outer", () => level("middle", () => level("inner"))));
  expect(error).toBeInstanceOf(AbortError);
  expect((error as Error).name).toBe("AbortError");
  expect(log).toEqual(
    ["inner", "middle", "outer"].flatMap((name) => [`${name} begins`, `${name} ends`]),
  );
});

test("cancelling a coroutine disposes its `using` resources in reverse order", () => {
  const log: string[] = [];
  const resource = (name: string): Disposable => ({ [Symbol.dispose]: () => void log.push(name) });
  aborted(function* () {
    using _a = resource("a");
    using _b = resource("b");
    yield* (function* (): Coroutine<void> {
      using _c = resource("c");
      yield* sleep(1e9);
    })();
  });
  expect(log).toEqual(["c", "b", "a"]);
});

test("a second abort during the cleanup has no effect", () => {
  using runtime = new Runtime();
  const log: string[] = [];
  runtime.blockOn(function* () {
    const gate = new Counting<void>();
    const handle = spawn(function* () {
      try {
        yield* sleep(1e9);
      } finally {
        log.push("begins");
        yield* gate;
        log.push("ends");
      }
    });
    yield* untilIdle();
    handle.abort();
    yield* untilIdle();
    handle.abort();
    yield* untilIdle();
    expect(handle.isFinished).toBe(false);
    gate.complete();
    try {
      yield* handle;
    } catch {}
  });
  expect(log).toEqual(["begins", "ends"]);
});

test("a coroutine that is dropped by its own cleanup still finishes that cleanup", () => {
  const log: string[] = [];
  const holder: { future?: Future<void> } = {};
  function* level(name: string, wait: Coroutine<void>): Coroutine<void> {
    try {
      yield* wait;
    } finally {
      holder.future?.drop();
      log.push(`${name} begins`);
      yield* sleep(1);
      holder.future?.[Symbol.dispose]();
      log.push(`${name} ends`);
    }
  }
  const suspended = (function* (): Coroutine<void> {
    yield Pending; // its cleanup begins while unwinding probes for the chain
  })();
  const future = intoFuture(level("outer", level("inner", suspended)));
  holder.future = future;
  aborted(function* () {
    yield* future;
  });
  expect(log).toEqual(["inner begins", "inner ends", "outer begins", "outer ends"]);
});

test("dropping a coroutine from inside its own poll throws, and the coroutine continues", () => {
  using runtime = new Runtime();
  const holder: { future?: Future<string> } = {};
  holder.future = intoFuture(function* () {
    yield* yieldNow();
    expect(() => holder.future?.drop()).toThrow("dropped from inside its own poll");
    yield* yieldNow();
    return "goes on";
  });
  expect(runtime.blockOn(holder.future)).toBe("goes on");
});

test("an error thrown by a cleanup is reported, and the outer cleanups still run", () => {
  using report = captureConsoleError();
  const log: string[] = [];
  const broken = new Error("broken cleanup");
  aborted(function* () {
    try {
      yield* (function* (): Coroutine<void> {
        try {
          yield* sleep(1e9);
        } finally {
          yield* yieldNow();
          // biome-ignore lint/correctness/noUnsafeFinally: the case under test
          throw broken;
        }
      })();
    } finally {
      log.push("outer");
    }
  });
  expect(log).toEqual(["outer"]);
  expect(report.mock.calls.map((call) => call[1])).toEqual([broken]);
});

test("a `yield` without a star in a cleanup is reported and does not suspend it", () => {
  using print = captureConsoleError();
  const log: string[] = [];
  function* clean(): Coroutine<void> {
    try {
      yield* sleep(1e9);
    } finally {
      yield* yieldNow();
      // @ts-expect-error: the case under test
      yield sleep(1);
      log.push("inner ran on");
    }
  }
  const error = aborted(function* () {
    try {
      yield* clean();
    } finally {
      yield* yieldNow();
      log.push("outer is clean");
    }
  });
  expect(error).toBeInstanceOf(AbortError);
  expect(log).toEqual(["outer is clean"]);
  expect(String(print.mock.calls[0]?.[1])).toContain("write `yield* future`, with the star");
});

test("aborting a coroutine that was never polled runs none of its code", () => {
  using runtime = new Runtime();
  const log: string[] = [];
  const handle = runtime.spawn(function* () {
    try {
      log.push("ran");
      yield* sleep(1);
    } finally {
      log.push("cleaned up");
    }
  });
  handle.abort();
  runtime.block();
  expect(log).toEqual([]);
  expect(handle.isFinished).toBe(true);
});

test("a coroutine of a function* with a replaced prototype is unwound like any other", () => {
  const log: unknown[] = [];
  function* work(): Coroutine<void> {
    try {
      yield sleep(1) as unknown as symbol;
    } catch (error) {
      log.push((error as Error).message);
    }
    try {
      yield* sleep(1e9);
    } finally {
      yield* yieldNow();
      log.push("cleaned up");
    }
  }
  work.prototype = Object.create(null);
  expect(aborted(work)).toBeInstanceOf(AbortError);
  expect(log).toEqual(["yield of a future: write `yield* future`, with the star", "cleaned up"]);
  using _ = intoFuture(work); // never started
  expect(
    aborted(function* () {
      yield* intoFuture(work);
    }),
  ).toBeInstanceOf(AbortError);
  expect(log.length).toBe(4);
});

test("the awaited future is dropped once, before the cleanup begins", () => {
  const leaf = new Counting<void>();
  const drops: number[] = [];
  aborted(function* () {
    try {
      yield* leaf;
    } finally {
      drops.push(leaf.drops);
    }
  });
  expect(drops).toEqual([1]);
  expect(leaf.drops).toBe(1);
  expect(leaf.polls).toBe(1);
});

test("the intrinsic `return` of generators is restored before the cleanup runs", () => {
  const real = GeneratorPrototype.return;
  let seen: unknown;
  aborted(function* () {
    try {
      yield* sleep(1e9);
    } finally {
      seen = GeneratorPrototype.return;
      const other = (function* (): Coroutine<number> {
        yield* sleep(1e9);
        return 1;
      })();
      other.return(7);
    }
  });
  expect(seen).toBe(real);
  expect(GeneratorPrototype.return).toBe(real);
});

test("a cleanup that begins at a bare yield may close generators and then suspend", () => {
  const log: string[] = [];
  const leaves = [new Counting<void>(), new Counting<void>()];
  function* items() {
    try {
      yield 1;
      yield 2;
    } finally {
      log.push("items closed");
    }
  }
  aborted(function* () {
    const waits = leaves.map((leaf) =>
      (function* () {
        yield* leaf;
      })(),
    );
    for (const wait of waits) wait.next();
    try {
      yield Pending;
    } finally {
      for (const wait of waits) wait.return();
      for (const _ of items()) break;
      yield* sleep(1);
      log.push("end");
    }
  });
  expect(leaves.map((leaf) => leaf.drops)).toEqual([1, 1]);
  expect(log).toEqual(["items closed", "end"]);
});

test("a cleanup that ends without suspending may close a generator", () => {
  const log: string[] = [];
  aborted(function* () {
    try {
      yield Pending;
    } finally {
      const [first] = (function* () {
        try {
          yield 1;
        } finally {
          log.push("closed");
        }
      })();
      log.push(`took ${first}`);
    }
  });
  expect(log.sort()).toEqual(["closed", "took 1"]);
});

test("runtime.block() finishes the cleanup of a task that was aborted when blockOn returned", () => {
  using runtime = new Runtime();
  const log: string[] = [];
  runtime.blockOn(function* () {
    const handle = spawn(function* () {
      using _ = {
        [Symbol.dispose]: () => log.push("inner disposed"),
      };
      try {
        yield* sleep(1e9);
      } finally {
        yield* sleep(1);
        log.push("cleanup ended");
      }
    });
    yield* yieldNow();
    handle.abort();
  });
  expect(log).toEqual([]);
  runtime.block();
  expect(log).toEqual(["cleanup ended", "inner disposed"]);
});

const freeze = "Object.freeze(Object.getPrototypeOf(Object.getPrototypeOf((function* () {})())));";

test.each([
  ["before", freeze, ""],
  ["after", "", freeze],
])(
  "with intrinsics frozen %s the import, `catch` sees an AbortError and cleanup still runs",
  async (_, before, after) => {
    const code = `
${before}
const { Runtime, sleep, spawn, yieldNow } = await import("${root}src/index.ts");
${after}
const runtime = new Runtime();
runtime.blockOn(function* () {
  const handle = spawn(function* () {
    try { yield* (function* () { try { yield* sleep(1e9) } finally { console.log("inner") } })(); }
    finally { yield* sleep(1); console.log("outer"); }
  });
  yield* yieldNow();
  handle.abort();
  try { yield* handle } catch (error) { console.log(error.name) }
});`;
    expect(await run(["bun", "-e", code])).toEqual({
      code: 0,
      output: "inner\nouter\nAbortError\n",
    });
  },
);

/**
 * Nested coroutines: how each is awaited, whether its cleanup closes a generator, how often the cleanup
 * suspends, and whether it throws.
 */
const levels = fc.array(
  fc.record({
    as: fc.constantFrom("generator", "iterator", "future"),
    closes: fc.boolean(),
    waits: fc.nat(2),
    throws: fc.boolean(),
  }),
  { minLength: 1, maxLength: 8 },
);

test.each([
  ["aborted", "a sleep"],
  ["aborted", "a bare yield"],
  ["dropped", "a sleep"],
  ["dropped", "a bare yield"],
  ["disposed with its runtime", "a sleep"],
])(
  "property: each cleanup of a coroutine %s at %s runs to its end, from the inside out",
  (how, where) => {
    using report = captureConsoleError();
    fc.assert(
      fc.property(levels, fc.nat(3), (shape, turns) => {
        const log: string[] = [];
        report.mockClear();
        function* level(depth: number): Coroutine<void> {
          const here = shape[depth];
          if (here === undefined) {
            yield* sleep(1e9);
            return;
          }
          const inner = level(depth + 1);
          try {
            if (where === "a bare yield" && depth === shape.length - 1) yield Pending;
            else if (here.as === "future") yield* intoFuture(inner);
            else yield* here.as === "iterator" ? wrapped(inner) : inner;
            log.push(`${depth} ran on`);
          } catch {
            log.push(`${depth} caught`);
          } finally {
            log.push(`${depth} begins`);
            if (here.closes) for (const _ of level(shape.length)) break;
            for (let count = 0; count < here.waits; count++) yield* yieldNow();
            log.push(`${depth} ends`);
            // biome-ignore lint/correctness/noUnsafeFinally: the case under test
            if (here.throws) throw new Error(`${depth}`);
          }
        }
        using runtime = new Runtime();
        const future = intoFuture(level(0));
        if (how === "dropped") {
          runtime.blockOn(function* () {
            future.next();
            future.drop();
          });
          runtime.block();
        } else {
          const handle = runtime.spawn(future);
          for (let turn = 0; turn <= turns; turn++) runtime.blockOn(yieldNow());
          if (how === "aborted") {
            handle.abort();
            expect(() => runtime.blockOn(handle)).toThrow(AbortError);
          } else runtime[Symbol.dispose]();
        }
        const depths = shape.map((_, index) => shape.length - 1 - index);
        expect(log).toEqual(depths.flatMap((depth) => [`${depth} begins`, `${depth} ends`]));
        const thrown = depths.filter((depth) => shape[depth]?.throws).map(String);
        expect(report.mock.calls.map((call) => (call[1] as Error).message)).toEqual(thrown);
        expect(runtime.tasks()).toEqual([]);
        expect(runtime.metrics().timers).toBe(0);
      }),
      { numRuns: 300 },
    );
  },
);
