// The helpers that other tests rely on.

import { expect, test } from "bun:test";
import { writeSync } from "node:fs";
import { Runtime, sleep, spawn, type Waker, yieldNow } from "../src/index.ts";
import { caught, failureOf } from "./support/caught.ts";
import { Counting } from "./support/counting.ts";
import { untilIdle } from "./support/idle.ts";
import { captureConsoleError, captureConsoleLog, silenceWarnings } from "./support/output.ts";

test("a helper that replaces a function restores it when its block throws", () => {
  const before = [console.error, console.log, process.emitWarning];
  const boom = new Error("boom");
  const fails = (): never => {
    using print = captureConsoleError();
    using log = captureConsoleLog();
    using warn = silenceWarnings();
    console.error("an error");
    console.log("a line");
    process.emitWarning("a warning");
    expect([print, log, warn].map((mock) => mock.mock.calls.length)).toEqual([1, 1, 1]);
    throw boom;
  };
  expect(caught(fails)).toBe(boom);
  expect([console.error, console.log, process.emitWarning]).toEqual(before);
});

test("caught and failureOf fail when nothing is thrown", () => {
  using runtime = new Runtime();
  expect(() => caught(() => 1)).toThrow("nothing was thrown");
  expect(() => runtime.blockOn(failureOf(sleep(0)))).toThrow("nothing was thrown");
});

test.each([["lazy"], ["eager"]] as const)(
  "untilIdle, eventfd %s, runs tasks until each of them waits",
  (eventfd) => {
    using runtime = new Runtime({ eventfd });
    const last = new Counting<void>();
    const log: string[] = [];
    runtime.spawn(function* () {
      for (let turn = 0; turn < 1000; turn++) yield* yieldNow();
      log.push("coroutine");
      yield* spawn(async () => {
        for (let turn = 0; turn < 100; turn++) await yieldNow();
        for (let microtask = 0; microtask < 100; microtask++) await null;
        log.push("async function");
      });
      yield* last;
      log.push("woken");
      yield* sleep(1e6);
    });
    untilIdle(runtime);
    expect([log, last.polls]).toEqual([["coroutine", "async function"], 1]);
    last.complete();
    // A wake that only epoll knows.
    writeSync((last.waker as Waker).fd, new Uint8Array(new BigUint64Array([1n]).buffer));
    untilIdle(runtime);
    expect(log).toEqual(["coroutine", "async function", "woken"]);
  },
);

test("several tasks may wait until the others are idle", () => {
  using runtime = new Runtime();
  let turns = 0;
  runtime.blockOn(function* () {
    const waits = [spawn(untilIdle()), spawn(untilIdle())];
    spawn(function* () {
      for (; turns < 500; turns++) yield* yieldNow();
    });
    yield* untilIdle();
    expect(turns).toBe(500);
    for (const wait of waits) yield* wait;
  });
});
