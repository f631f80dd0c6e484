// spawnBlocking: its arguments, results and errors, and how its workers start and end.

import { expect, setDefaultTimeout, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Coroutine, joinAll, Runtime, sleep, spawnBlocking } from "../../../src/index.ts";
import { EMFILE } from "../../../src/sys/index.ts";
import { failureOf } from "../../support/caught.ts";
import { FaultSys } from "../../support/fault-sys.ts";
import { root, run } from "../../support/program.ts";

setDefaultTimeout(60_000); // a slow machine must not fail the test

const programs = `${root}test/support/programs/blocking.ts`;

/** Runs a program of programs/blocking.ts in a process of its own. */
function program(name: string): Promise<{ code: number; output: string }> {
  return run(["timeout", "9", "bun", programs, name]);
}

function blockOn<T>(work: () => Coroutine<T>, blockingThreads = 2): T {
  using runtime = new Runtime({ blockingThreads });
  return runtime.blockOn(work);
}

test("fifty jobs run while the main thread is blocked, at most blockingThreads at once", () => {
  blockOn(function* () {
    const running = new Int32Array(new SharedArrayBuffer(8));
    const handles = Array.from({ length: 50 }, (_, index) =>
      spawnBlocking(
        (shared: Int32Array, value: number) => {
          const now = Atomics.add(shared, 0, 1) + 1;
          if (now > Atomics.load(shared, 1)) Atomics.store(shared, 1, now);
          Bun.sleepSync(1);
          Atomics.sub(shared, 0, 1);
          return value * 2;
        },
        running,
        index,
      ),
    );
    const values: number[] = [];
    for (const handle of handles) values.push(yield* handle);
    expect(values).toEqual(Array.from({ length: 50 }, (_, index) => index * 2));
    expect(running[1]).toBeLessThanOrEqual(3);
    expect(running[1]).toBeGreaterThan(0);
  }, 3);
});

test("an async function and cloned arguments work as a job", () => {
  blockOn(function* () {
    const value = yield* spawnBlocking(
      async (map: Map<string, Date>) => [...map.keys()],
      new Map([["k", new Date(0)]]),
    );
    expect(value).toEqual(["k"]);
    expect(yield* spawnBlocking(() => undefined)).toBeUndefined();
  });
});

test("an error arrives with its class, message, name, stack and code", () => {
  blockOn(function* () {
    const range = yield* failureOf<Error>(
      (function* () {
        yield* spawnBlocking(function faulty() {
          throw Object.assign(new RangeError("too far"), { code: "E_FAR" });
        });
      })(),
    );
    expect(range).toBeInstanceOf(RangeError);
    expect(range).toMatchObject({ message: "too far", name: "RangeError", code: "E_FAR" });
    expect(range.stack).toContain("faulty");
    const custom = yield* failureOf<Error>(
      (function* () {
        yield* spawnBlocking(() => {
          throw Object.assign(new Error("mine"), { name: "CustomError" });
        });
      })(),
    );
    expect(custom).toMatchObject({ message: "mine", name: "CustomError" });
    const named = yield* failureOf<Error>(
      (function* () {
        yield* spawnBlocking(() => {
          throw Object.assign(new Error("named like a method"), { name: "toString" });
        });
      })(),
    );
    expect(named).toMatchObject({ message: "named like a method", name: "toString" });
    const thrown = yield* failureOf(
      spawnBlocking(() => {
        throw { plain: "object" };
      }),
    );
    expect(thrown).toEqual({ plain: "object" });
  });
});

function thrownBy(fn: () => unknown): Error {
  return blockOn(() =>
    failureOf<Error>(
      (function* () {
        yield* spawnBlocking(fn);
      })(),
    ),
  );
}

test("an error arrives with its chain of causes and its own properties", () => {
  const error = thrownBy(() => {
    const root = Object.assign(new RangeError("root"), { at: new Date(0) });
    const middle = new TypeError("middle", { cause: root });
    class Custom extends TypeError {
      override readonly name = "Custom";
      readonly items = [1, 2];
    }
    throw Object.assign(new Custom("top", { cause: middle }), { code: "E_TOP", errno: -7 });
  });
  expect(error).toBeInstanceOf(TypeError);
  expect(error).toMatchObject({ name: "Custom", message: "top", code: "E_TOP", errno: -7 });
  expect(error).toMatchObject({ items: [1, 2] });
  expect(Object.keys(error).sort()).toEqual(["code", "errno", "items", "name"]);
  const middle = error.cause as Error;
  expect(middle).toBeInstanceOf(TypeError);
  expect(middle.message).toBe("middle");
  expect(middle.cause).toBeInstanceOf(RangeError);
  expect(middle.cause).toMatchObject({ message: "root", at: new Date(0) });
  expect((middle.cause as Error).stack).toContain("RangeError: root");
  expect(
    thrownBy(() => process.getBuiltinModule("node:fs").readFileSync("/no/such/file")),
  ).toMatchObject({
    ...{ code: "ENOENT", syscall: "open", path: "/no/such/file" },
    errno: -2,
  });
  const thrown = thrownBy(() => {
    throw new Error("top", { cause: { plain: ["data"] } });
  });
  expect(thrown.cause).toEqual({ plain: ["data"] });
  const none = thrownBy(() => {
    throw new Error("top");
  });
  expect("cause" in none).toBe(false);
});

test("an AggregateError, a SuppressedError and an error that is its own cause arrive whole", () => {
  const aggregate = thrownBy(() => {
    throw new AggregateError([new RangeError("first"), "second", () => {}], "several");
  }) as AggregateError;
  expect(aggregate).toBeInstanceOf(AggregateError);
  expect(aggregate).toMatchObject({ name: "AggregateError", message: "several" });
  expect(aggregate.errors).toEqual([new RangeError("first"), "second", undefined]);
  expect(aggregate.errors[0]).toBeInstanceOf(RangeError);
  const suppressed = thrownBy(() => {
    throw new SuppressedError(new Error("later"), new TypeError("earlier"), "both");
  }) as SuppressedError;
  expect(suppressed).toBeInstanceOf(SuppressedError);
  expect(suppressed.error).toMatchObject({ message: "later" });
  expect(suppressed.suppressed).toBeInstanceOf(TypeError);
  const circular = thrownBy(() => {
    const error = new Error("round");
    error.cause = error;
    throw error;
  });
  expect(circular.cause).toBe(circular);
});

test("an error arrives without those of its properties that cannot be cloned", () => {
  const error = thrownBy(() => {
    throw Object.defineProperties(
      Object.assign(new Error("top", { cause: () => {} }), { fn: () => {}, kept: 1 }),
      {
        broken: {
          enumerable: true,
          get() {
            throw new Error("a getter");
          },
        },
      },
    );
  });
  expect(error).toMatchObject({ message: "top", kept: 1 });
  expect("cause" in error || "fn" in error).toBe(false);
  const odd = thrownBy(() => {
    throw Object.assign(new Error("odd"), { name: Object.create(null) });
  });
  expect(odd).toMatchObject({ name: "Error", message: "odd" });
});

test("a job whose result cannot be cloned throws an error that says so", () => {
  blockOn(function* () {
    const error = yield* failureOf<Error>(
      (function* () {
        yield* spawnBlocking(() => () => 1);
      })(),
    );
    expect(error).toBeInstanceOf(TypeError);
    expect(error.message).toContain("its result cannot be cloned");
    expect(yield* spawnBlocking(() => "and the worker goes on")).toBe("and the worker goes on");
  });
});

class Box {
  value = 1;
  method(): number {
    return this.value;
  }
  static get accessor(): number {
    return 1;
  }
}

test.each([
  ["a native function", Math.max, "is native or bound"],
  ["a bound function", (() => 1).bind(null), "is native or bound"],
  ["a method", new Box().method, "is a method"],
  ["a class", Box, "is a class"],
  [
    "an accessor",
    Object.getOwnPropertyDescriptor(Box, "accessor")?.get,
    "is a method or an accessor",
  ],
  ["a function that uses import.meta", () => import.meta.url, "uses import.meta"],
  ["a number", 42, "fn must be a function, or the URL of a module; got 42"],
])("spawnBlocking throws for %s, with the reason", (_, fn, message) => {
  using runtime = new Runtime();
  expect(() => runtime.spawnBlocking(fn as () => void)).toThrow(TypeError);
  expect(() => runtime.spawnBlocking(fn as () => void)).toThrow(message);
});

test("spawnBlocking throws for an argument that cannot be cloned, and names its index", () => {
  using runtime = new Runtime();
  expect(() =>
    runtime.spawnBlocking(
      (_fine: string, fn: () => number) => fn(),
      "fine",
      () => 2,
    ),
  ).toThrow("argument 1 must be cloneable");
  const shared = { a: 1 };
  const same = (a: unknown, b: unknown): boolean => a === b;
  expect(runtime.blockOn(runtime.spawnBlocking(same, shared, shared))).toBe(true);
});

test("a function that uses a name of its module fails with an error that explains why", () => {
  blockOn(function* () {
    const outside = process.pid; // the transpiler would inline a constant
    const error = yield* failureOf<Error>(
      (function* () {
        yield* spawnBlocking(() => outside);
      })(),
    );
    expect(error).toBeInstanceOf(ReferenceError);
    expect(error.message).toContain("outside is not defined in the worker");
    expect(error.message).toContain("as an argument");
  });
});

test("a worker that ends fails its job, and the next job gets a new worker", () => {
  blockOn(function* () {
    const exited = yield* failureOf<Error>(
      (function* () {
        yield* spawnBlocking(() => process.exit(3));
      })(),
    );
    expect(exited.message).toContain("process.exit(3)");
    expect(yield* spawnBlocking(() => 7)).toBe(7);
  }, 1);
});

test("a job runs as strict code, like a module", () => {
  blockOn(function* () {
    const isStrict = yield* spawnBlocking(function (this: unknown) {
      return this === undefined;
    });
    expect(isStrict).toBe(true);
  });
});

test("a job whose worker crashes throws an error that names the cause", async () => {
  const { output } = await program("crashing workers");
  const ended = "spawnBlocking: the worker ended before its job: an uncaught error: Error: in a";
  expect(output).toBe(`${ended} timer\n${ended} promise\n7\n`);
});

test("a job can be a function that a module exports", () => {
  const url = new URL("../../support/jobs.ts", import.meta.url);
  blockOn(function* () {
    expect(yield* spawnBlocking(url, "sum", 1, 2, 3)).toBe(6);
    expect(yield* spawnBlocking(url.href, "sum")).toBe(0);
    for (const [name, message] of [
      ["missing", "exports no function named missing"],
      ["notAFunction", "exports no function"],
    ]) {
      const error = yield* failureOf<Error>(
        (function* () {
          yield* spawnBlocking(url, name ?? "");
        })(),
      );
      expect(error.message).toContain(message ?? "");
    }
    expect(() => spawnBlocking("./jobs.ts", "sum")).toThrow("moduleUrl must be absolute");
    expect(() => spawnBlocking(url, 7 as never)).toThrow("exportName must be a string");
  });
});

test("a job that is aborted before it begins never runs; the result of an aborted running job is discarded", () => {
  blockOn(function* () {
    const memory = new Int32Array(new SharedArrayBuffer(8));
    const first = spawnBlocking((shared: Int32Array) => {
      Atomics.store(shared, 0, 1);
      Atomics.wait(shared, 1, 0);
    }, memory);
    const queued = spawnBlocking((shared: Int32Array) => Atomics.add(shared, 0, 100), memory);
    while (Atomics.load(memory, 0) === 0) yield* sleep(1);
    queued.abort();
    first.abort();
    Atomics.store(memory, 1, 1);
    Atomics.notify(memory, 1);
    expect(yield* spawnBlocking(() => "next")).toBe("next");
    expect(memory[0]).toBe(1);
  }, 1);
});

test("a runtime can be disposed while jobs run", () => {
  const memory = new Int32Array(new SharedArrayBuffer(4));
  using runtime = new Runtime();
  const handle = runtime.spawnBlocking((shared: Int32Array) => {
    Atomics.store(shared, 0, 1);
    Bun.sleepSync(60_000);
  }, memory);
  runtime.blockOn(function* () {
    while (Atomics.load(memory, 0) === 0) yield* sleep(1);
  });
  runtime[Symbol.dispose]();
  expect(handle.isFinished).toBe(true);
});

test("the process ends after the last job, although workers are idle", async () => {
  expect(await program("sum of squares")).toEqual({ code: 0, output: "14\n" });
});

test("spawnBlocking works in an executable from bun build --compile --minify", async () => {
  const directory = mkdtempSync(join(tmpdir(), "guillotine-compiled-"));
  try {
    const executable = join(directory, "program");
    const built = await run([
      ...["bun", "build", "--compile", "--minify", programs, "--outfile", executable],
    ]);
    expect(built.output + built.code).toEndWith("0");
    expect(await run(["timeout", "9", executable])).toEqual({ code: 0, output: "14\n" });
  } finally {
    rmSync(directory, { recursive: true });
  }
});

test("a module's URL without an extension works from source, in a bundle, and in an executable", async () => {
  const directory = mkdtempSync(join(tmpdir(), "guillotine-bundled-"));
  try {
    const [main, work] = [join(directory, "main.ts"), join(directory, "work.ts")];
    await Bun.write(work, "export const twice = (value: number): number => value * 2;\n");
    await Bun.write(
      main,
      `import { Runtime } from "${root}src/index.ts";
using runtime = new Runtime();
console.log(runtime.blockOn(runtime.spawnBlocking(new URL("./work", import.meta.url), "twice", 7)));
`,
    );
    const out = join(directory, "out");
    const program = join(directory, "program");
    const build = ["bun", "build", "--minify", "--target=bun", main, work];
    expect((await run([...build, "--outdir", out])).code).toBe(0);
    expect((await run([...build, "--compile", "--outfile", program])).code).toBe(0);
    for (const command of [["bun", main], ["bun", join(out, "main.js")], [program]]) {
      expect(await run(["timeout", "9", ...command])).toEqual({ code: 0, output: "14\n" });
    }
  } finally {
    rmSync(directory, { recursive: true });
  }
});

test("no worker starts without free fds; a running worker then does all jobs", () => {
  const faults = new FaultSys();
  using runtime = new Runtime({ sys: faults.sys });
  const echo = (value: number): number => value;
  let opened = 0;
  faults.on("eventfd", () => (opened++ === 0 ? null : -EMFILE)); // the first eventfd is the doorbell
  const refused = runtime.spawnBlocking(echo, 1);
  expect(() => runtime.blockOn(refused)).toThrow("spawnBlocking EMFILE");
  faults.heal("eventfd");
  expect(runtime.blockOn(runtime.spawnBlocking(echo, 2))).toBe(2);
  // The running worker does the jobs one after another.
  faults.on("eventfd", () => -EMFILE);
  const handles = [3, 4, 5].map((value) => runtime.spawnBlocking(echo, value));
  expect(runtime.blockOn(joinAll(handles))).toEqual([3, 4, 5]);
});
