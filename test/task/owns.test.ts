// spawn(work, { owns }): the resource is disposed when the task ends, however it ends.

import { expect, setDefaultTimeout, test } from "bun:test";
import { type Coroutine, Runtime, sleep, spawn, yieldNow } from "../../src/index.ts";
import { caught, failureOf } from "../support/caught.ts";
import { untilIdle } from "../support/idle.ts";
import { captureConsoleError } from "../support/output.ts";

setDefaultTimeout(60_000); // a slow machine must not fail the test

const boom = new Error("boom");

/** A resource that logs its disposal. */
function resource(log: string[]): Disposable {
  return { [Symbol.dispose]: () => void log.push("disposed") };
}

/** A resource with a disposal that suspends. */
function slowResource(log: string[]): AsyncDisposable {
  return {
    async [Symbol.asyncDispose]() {
      log.push("disposing");
      await sleep(5);
      log.push("disposed");
    },
  };
}

function* waiting(log: string[]): Coroutine<void> {
  log.push("begun");
  try {
    yield* sleep(1e6);
  } finally {
    yield* yieldNow();
    log.push("cleaned up");
  }
}

test("a resource is disposed after the work has ended by itself, before the handle completes", () => {
  using runtime = new Runtime();
  const log: string[] = [];
  runtime.blockOn(function* () {
    const work = async (): Promise<number> => {
      await sleep(1);
      log.push("ended");
      return 7;
    };
    expect(yield* spawn(work, { owns: resource(log) })).toBe(7);
    expect(log.splice(0)).toEqual(["ended", "disposed"]);
    expect(yield* spawn(work, { owns: slowResource(log) })).toBe(7);
    expect(log.splice(0)).toEqual(["ended", "disposing", "disposed"]);
    const fail = () => Promise.reject(boom);
    expect(yield* failureOf(spawn(fail, { owns: resource(log) }))).toBe(boom);
    expect(log).toEqual(["disposed"]);
  });
});

test("a resource is disposed when its task is aborted, before its first poll or after its cleanup", () => {
  using runtime = new Runtime();
  runtime.blockOn(function* () {
    for (const isStarted of [false, true]) {
      for (const create of [resource, slowResource]) {
        const log: string[] = [];
        const handle = spawn(waiting(log), { owns: create(log) });
        if (isStarted) yield* untilIdle();
        handle.abort();
        yield* failureOf(handle);
        const disposal = create === resource ? ["disposed"] : ["disposing", "disposed"];
        expect(log).toEqual(isStarted ? ["begun", "cleaned up", ...disposal] : disposal);
      }
    }
  });
});

test("a resource is disposed when the runtime is disposed, also if no task has run", () => {
  const log: string[] = [];
  {
    using runtime = new Runtime();
    runtime.spawn(waiting(log), { owns: slowResource(log) });
  }
  expect(log).toEqual(["disposing", "disposed"]);
});

test("an async disposal that has begun is not cancelled", () => {
  using runtime = new Runtime();
  const log: string[] = [];
  const handle = runtime.spawn(async () => {}, { owns: slowResource(log) });
  untilIdle(runtime);
  handle.abort();
  runtime.block();
  expect(log).toEqual(["disposing", "disposed"]);
});

test("the error of a disposal fails the task, together with the error of the work, or is reported after an abort", () => {
  using runtime = new Runtime();
  const bad = {
    [Symbol.dispose]() {
      throw boom;
    },
  };
  expect(caught(() => runtime.blockOn(runtime.spawn(sleep(0), { owns: bad })))).toBe(boom);
  const other = new Error("other");
  const both = runtime.spawn(() => Promise.reject(other), { owns: bad });
  const error = caught(() => runtime.blockOn(both));
  expect(error).toBeInstanceOf(SuppressedError);
  expect(error).toMatchObject({ error: boom, suppressed: other });
  using reported = captureConsoleError();
  const aborted = runtime.spawn(sleep(1e6), { owns: bad });
  aborted.abort();
  runtime.block();
  expect(reported.mock.calls.map((call) => call[1])).toEqual([boom]);
});

test("when the cleanup of the work throws, the resource is still disposed", () => {
  using reported = captureConsoleError();
  using runtime = new Runtime();
  const log: string[] = [];
  const work = async (): Promise<void> => {
    try {
      await sleep(1e6);
    } finally {
      // biome-ignore lint/correctness/noUnsafeFinally: the test needs an error of the cleanup
      throw boom;
    }
  };
  const handle = runtime.spawn(work, { owns: resource(log) });
  untilIdle(runtime);
  handle.abort();
  runtime.block();
  expect(log).toEqual(["disposed"]);
  expect(reported.mock.calls.map((call) => call[1])).toEqual([boom]);
});

test("spawn throws TypeError for an `owns` that cannot be disposed", () => {
  using runtime = new Runtime();
  for (const wrong of [5, {}, null]) {
    expect(() => runtime.spawn(sleep(0), { owns: wrong as never })).toThrow(
      "options.owns must have a method [Symbol.dispose] or [Symbol.asyncDispose]; got",
    );
  }
});
