// Thousands of awaits at once. A poll may run microtasks, and those may poll again: the stack must not grow with them.

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import {
  type Future,
  fromPromise,
  intoFuture,
  orUndefined,
  Runtime,
  race,
  shield,
  sleep,
  timeout,
} from "../../../src/index.ts";
import { caught } from "../../support/caught.ts";

setDefaultTimeout(60_000); // a slow machine must not fail the test

const COUNT = 5000;
const soon = async (): Promise<string> => {
  await sleep(1);
  return "value";
};
const kinds: Record<string, () => Future<unknown>> = {
  "a timeout of an async function": () => timeout(1e6, soon),
  "a timeout of a promise": () => timeout(1e6, Promise.resolve("value")),
  "a function that never waits": () => intoFuture(async () => "value"),
  "a race whose winner never waits": () => race(async () => "value", soon),
  "a race in a race": () => race(async () => race(soon, sleep(1e6)), sleep(1e6)),
  "a shield": () => shield(soon),
  "an operation": () => fromPromise(soon),
};

describe.each(["run", "blockOn"] as const)("%s", (mode) => {
  test.each(Object.entries(kinds))("%s", async (_, make) => {
    await using runtime = new Runtime();
    const all = () => Promise.all(Array.from({ length: COUNT }, make));
    const values = await runtime[mode](all);
    expect(values).toEqual(new Array(COUNT).fill("value"));
  });

  test("timeouts that are late in their first poll", async () => {
    await using runtime = new Runtime();
    const late = () => orUndefined(0, () => sleep(1e6));
    const values = await runtime[mode](() => Promise.all(Array.from({ length: COUNT }, late)));
    expect(values).toEqual(new Array(COUNT).fill(undefined));
  });
});

test("async functions that are cancelled together", () => {
  using runtime = new Runtime({ clock: "virtual" });
  let cleaned = 0;
  const work = async (): Promise<void> => {
    try {
      await sleep(1e6);
    } finally {
      await sleep(1);
      cleaned++;
    }
  };
  const all = () => Promise.all(Array.from({ length: COUNT }, () => timeout(1e7, work)));
  expect(caught(() => runtime.blockOn(timeout(1, all)))).toMatchObject({ code: "ERR_TIMEOUT" });
  expect(cleaned).toBe(COUNT);
});

test("a blockOn in microtasks that are nested deeply runs its work", () => {
  using runtime = new Runtime();
  const nested = async (depth: number): Promise<number> => {
    if (depth > 0) return await timeout(1e6, () => nested(depth - 1));
    using inner = new Runtime();
    return inner.blockOn(async () => inner.spawn(Promise.resolve(7)));
  };
  expect(runtime.blockOn(() => nested(40))).toBe(7);
});
