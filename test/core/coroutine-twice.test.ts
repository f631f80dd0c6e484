// A coroutine that is given as work twice. A generator runs once, so the second time is an error, not `undefined`.

import { expect, setDefaultTimeout, test } from "bun:test";
import { intoFuture, join, Runtime, sleep, spawn, timeout } from "../../src/index.ts";
import { caught } from "../support/caught.ts";

setDefaultTimeout(60_000); // a slow machine must not fail the test

function* load(n: number) {
  yield* sleep(1);
  return n * 2;
}

test("a coroutine that was given as work before is refused, whether it has ended or still runs", () => {
  using runtime = new Runtime();
  const inTurn = function* () {
    const once = load(4);
    expect(yield* timeout(100, once)).toBe(8);
    return yield* timeout(100, once);
  };
  const atOnce = function* () {
    const once = load(5);
    const [a, b] = [spawn(once), spawn(once)];
    return [yield* a, yield* b];
  };
  const inOneCall = () => join(...[load(6)].flatMap((once) => [once, once]));
  const byFunction = function* () {
    const once = load(7);
    yield* intoFuture(once);
    return yield* intoFuture(() => once);
  };
  for (const work of [inTurn, atOnce, inOneCall, byFunction]) {
    const error = caught(() => runtime.blockOn(work as () => ReturnType<typeof load>));
    expect(error).toBeInstanceOf(TypeError);
    expect(error).toMatchObject({ code: "ERR_COROUTINE_TAKEN" });
    expect((error as Error).message).toContain("pass the `function*` itself");
  }
});

test("a function* may be given as work many times", () => {
  using runtime = new Runtime();
  const work = () => load(3);
  expect(runtime.blockOn(join(work, work))).toEqual([6, 6]);
  const coroutine = function* () {
    return yield* load(3);
  };
  expect(runtime.blockOn(join(coroutine, coroutine))).toEqual([6, 6]);
});
