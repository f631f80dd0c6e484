// What join, race and select accept: arguments, arrays, other iterables, Maps and entries.

import { expect, setDefaultTimeout, test } from "bun:test";
import {
  allSettled,
  deadline,
  type Future,
  intoFuture,
  join,
  joinAll,
  orUndefined,
  Runtime,
  race,
  select,
  shared,
  shield,
  sleep,
  timeout,
  withSignal,
} from "../../src/index.ts";
import { sleepThen } from "../support/work.ts";

setDefaultTimeout(60_000); // a slow machine must not fail the test

/** Two pieces of work, of which the second is ready first: the first takes `slowMs`. */
function* two(slowMs: number): Generator<Future<string>> {
  yield sleepThen(slowMs, "slow");
  yield sleepThen(0, "fast");
}

test("join and race accept an array, a Set or another iterable of work, as Promise.all and Promise.race do", () => {
  using runtime = new Runtime();
  expect(runtime.blockOn(join([...two(1)]))).toEqual(["slow", "fast"]);
  expect(runtime.blockOn(join(new Set(two(1))))).toEqual(["slow", "fast"]);
  expect(runtime.blockOn(joinAll(two(1)))).toEqual(["slow", "fast"]);
  expect(runtime.blockOn(join([]))).toEqual([]);
  expect(runtime.blockOn(race([...two(1e6)]))).toBe("fast");
  expect(runtime.blockOn(race(new Set(two(1e6))))).toBe("fast");
});

test("join and race of a single future or coroutine run it, although both are iterable", () => {
  using runtime = new Runtime();
  const coroutine = function* () {
    yield* sleep(0);
    return 7;
  };
  expect(runtime.blockOn(join(coroutine()))).toEqual([7]);
  expect(runtime.blockOn(race(coroutine()))).toBe(7);
  expect(runtime.blockOn(race(sleepThen(0, "one")))).toBe("one");
});

test("select accepts a Map or entries, and returns the winner's own key", () => {
  using runtime = new Runtime();
  const key = { id: 1 };
  const work = (): [object, Future<string>][] => [
    [{}, sleepThen(1e6, "slow")],
    [key, sleepThen(0, "fast")],
  ];
  for (const given of [new Map(work()), work()]) {
    const winner = runtime.blockOn(select(given));
    expect(winner.key).toBe(key);
    expect(winner.value).toBe("fast");
  }
});

test("race and select throw TypeError for an empty iterable and for values that are not work", () => {
  expect(() => race([])).toThrow("race: needs at least one piece of work; got none");
  expect(() => select(new Map())).toThrow("select: needs at least one piece of work; got none");
  expect(() => select([sleep(1)] as never)).toThrow(
    "select: work must consist of [key, work] pairs; got an instance of Sleep: for work without keys, use race(work)",
  );
  for (const wrong of [null, 5, sleep(1), Promise.resolve()]) {
    expect(() => select(wrong as never)).toThrow("select: work must be an object of named work");
  }
});

test("the error of a value that is not work names the function that received it", () => {
  using runtime = new Runtime();
  const bad = 5 as never;
  const { signal } = new AbortController();
  const uses: [name: string, use: () => unknown][] = [
    ["join", () => join(bad)],
    ["joinAll", () => joinAll([bad])],
    ["race", () => race([bad])],
    ["select", () => select({ bad })],
    ["allSettled", () => allSettled(bad)],
    ["timeout", () => timeout(1, bad)],
    ["deadline", () => deadline(1, bad)],
    ["orUndefined", () => orUndefined(1, bad)],
    ["shield", () => shield(bad)],
    ["shared", () => shared(bad)],
    ["withSignal", () => withSignal(signal, bad)],
    ["intoFuture", () => intoFuture(bad)],
    ["spawn", () => runtime.spawn(bad)],
    ["Runtime.blockOn", () => runtime.blockOn(bad)],
    ["Runtime.run", () => runtime.run(bad)],
  ];
  for (const [name, use] of uses) {
    expect(use).toThrow(`${name}: work must be a future, a coroutine, a promise, or a function`);
  }
});
