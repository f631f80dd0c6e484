// A promise that was given as work and is rejected before the first poll: its rejection reaches the awaiter, and is never
// unhandled, which would end the process.

import { expect, test } from "bun:test";
import {
  allSettled,
  fromPromise,
  intoFuture,
  join,
  OnceCell,
  race,
  select,
  shared,
  sleep,
  spawn,
  timeout,
  withSignal,
} from "../../../src/index.ts";
import { sleepThen } from "../../support/work.ts";

const { signal } = new AbortController();

async function initializedBefore(promise: Promise<string>): Promise<string> {
  const cell = new OnceCell<string>();
  const first = spawn(cell.getOrInit(() => sleepThen(0, "first")));
  return (await join(first, cell.getOrInit(promise)))[1];
}

const ways: [name: string, give: (promise: Promise<never>) => PromiseLike<unknown>][] = [
  ["join", (promise) => join(promise, sleep(1e6))],
  ["race", (promise) => race(promise, sleep(1e6))],
  ["select", (promise) => select({ promise })],
  ["allSettled", (promise) => allSettled(promise)],
  ["timeout", (promise) => timeout(1e6, promise)],
  ["withSignal", (promise) => withSignal(signal, promise)],
  ["fromPromise", (promise) => fromPromise(promise)],
  [
    "fromPromise with waitForSettled",
    (promise) => spawn(fromPromise(promise, { waitForSettled: true })),
  ],
  ["a OnceCell", (promise) => spawn(new OnceCell<never>().getOrInit(promise))],
  ["a OnceCell that something else initializes", initializedBefore],
  ["intoFuture", (promise) => intoFuture(promise)],
  ["spawn", (promise) => spawn(promise)],
  ["shared", (promise) => shared(promise)],
  ["a race that something else wins", (promise) => race(async () => "won", promise)],
];

test.each(ways)("the rejection of a promise that %s received is handled", async (name, give) => {
  const boom = new Error("boom");
  const outcome = await give(Promise.reject(boom) as Promise<never>).then(null, (error) => error);
  for (let turn = 0; turn < 3; turn++) await new Promise((resolve) => setImmediate(resolve)); // bun:test fails then
  const others: Record<string, unknown> = {
    allSettled: [{ status: "rejected", reason: boom }],
    "a race that something else wins": "won",
    "a OnceCell that something else initializes": "first",
  };
  expect(outcome).toEqual(others[name] ?? boom);
});

test("a thenable that is no promise is not started before its first poll", async () => {
  let calls = 0;
  const query = {
    // biome-ignore lint/suspicious/noThenProperty: a lazy thenable, as a query of Bun.sql is
    then(onFulfilled: (value: number) => void): void {
      calls++;
      onFulfilled(7);
    },
  } as PromiseLike<number>;
  const work = join(query);
  expect(calls).toBe(0);
  expect(await work).toEqual([7]);
  expect(calls).toBe(1);
});
