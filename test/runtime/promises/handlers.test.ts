// `future.then` with handlers of which one looks like the engine's: each receives its own outcome, as those of a promise.

import { describe, expect, test } from "bun:test";
import { type Future, intoFuture, Leaf, type Poll, spawn, yieldNow } from "../../../src/index.ts";

const boom = new Error("boom");

class Failing extends Leaf<string> {
  protected override attempt(): Poll<string> {
    throw boom;
  }

  override describe(): string {
    return "a failure";
  }
}

const kinds: [name: string, fail: () => Future<string>][] = [
  ["a leaf", () => new Failing()],
  [
    "a coroutine",
    () =>
      intoFuture(function* (): Generator<symbol, string> {
        yield* yieldNow();
        throw boom;
      }),
  ],
];
const places: [name: string, run: (work: () => Promise<void>) => PromiseLike<void>][] = [
  ["outside any work", (work) => work()],
  ["in an async function", (work) => spawn(work)],
];

describe.each(places)("%s", (_, run) => {
  test.each(kinds)(
    "%s that fails calls the second handler, whatever the first one is",
    async (_, fail) => {
      await run(async () => {
        const first = new Promise<unknown>((resolve) => {
          fail().then(resolve, (error) => resolve(["second", error]));
        });
        expect(await first).toEqual(["second", boom]);

        const log: unknown[] = [];
        const bind = (name: string) => ((value: unknown) => log.push([name, value])).bind(null);
        await fail().then(bind("first"), bind("second"));
        expect(log).toEqual([["second", boom]]);
      });
    },
  );

  test.each(kinds)(
    "%s that fails rejects the promise of a `then` without a second handler",
    async (_, fail) => {
      await run(async () => {
        let isSettled = false;
        const outcome = await new Promise<unknown>((resolve) => {
          const first = new Promise((resolveFirst) => {
            fail().then(resolveFirst).catch(resolve);
          });
          first.finally(() => {
            isSettled = true;
          });
        });
        expect(outcome).toBe(boom);
        await yieldNow();
        expect(isSettled).toBe(false); // no handler of it was called
      });
    },
  );

  test.each(kinds)("%s that fails rejects an await", async (_, fail) => {
    await run(async () => {
      expect(await fail().catch((error) => error)).toBe(boom);
      expect(await (async () => await fail())().catch((error) => error)).toBe(boom);
    });
  });
});
