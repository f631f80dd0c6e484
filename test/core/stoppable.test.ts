import { expect, test } from "bun:test";
import { Stoppable } from "../../src/core/stoppable.ts";
import { type Context, Future, Pending, type Poll, Runtime, spawn } from "../../src/index.ts";
import { caught } from "../support/caught.ts";
import { Counting } from "../support/counting.ts";
import { untilIdle } from "../support/idle.ts";

const STOPPED = "stopped";

test("it converts the value of its future, and gives the value itself back to that future", () => {
  using runtime = new Runtime();
  const reclaimed: number[] = [];
  class Answer extends Future<number> {
    override poll(): Poll<number> {
      return 42;
    }
    override reclaim(value: number): void {
      reclaimed.push(value);
    }
  }
  const stoppable = new Stoppable(new Answer(), String, STOPPED);
  expect(runtime.blockOn(stoppable)).toBe("42");
  stoppable.stop();
  stoppable.reclaim();
  expect(reclaimed).toEqual([42]);
});

test("stop() drops its future, and its awaiter receives `whenStopped`, also before the first poll", () => {
  using runtime = new Runtime();
  runtime.blockOn(function* () {
    const inner = new Counting<string>();
    const stoppable = new Stoppable(inner, (value) => value, STOPPED);
    const task = spawn(stoppable);
    yield* untilIdle();
    stoppable.stop();
    stoppable.stop();
    expect(yield* task).toBe(STOPPED);
    expect([inner.polls, inner.drops]).toEqual([1, 1]);
    const early = new Stoppable(new Counting<string>(), (value) => value, STOPPED);
    early.stop();
    expect(yield* early).toBe(STOPPED);
  });
});

test("a future that stops it in its own poll does not leave it pending, and its error counts no more", () => {
  using runtime = new Runtime();
  class Stopping extends Future<string> {
    stoppable: Stoppable<string> | null = null;
    readonly #mustFail: boolean;
    constructor(mustFail: boolean) {
      super();
      this.#mustFail = mustFail;
    }
    override poll(_: Context): Poll<string> {
      this.stoppable?.stop();
      if (this.#mustFail) throw new Error("polled after its end");
      return Pending;
    }
  }
  for (const mustFail of [false, true]) {
    const inner = new Stopping(mustFail);
    inner.stoppable = new Stoppable(inner, (value) => value, STOPPED);
    expect(runtime.blockOn(inner.stoppable)).toBe(STOPPED);
  }
});

test("its error and its end are those of its future", () => {
  using runtime = new Runtime();
  const inner = new Counting<string>();
  inner.fail(new Error("broken"));
  const stoppable = new Stoppable(inner, (value) => value, STOPPED);
  const again = function* () {
    return yield* stoppable;
  };
  expect(() => runtime.blockOn(again)).toThrow("broken");
  expect(caught(() => runtime.blockOn(again))).toMatchObject({
    message: expect.stringContaining("polled after it had completed"),
  });
});
