// map, forEach and allSettled: order, concurrency, failures, iterators, compared with a model.

import { expect, setDefaultTimeout, test } from "bun:test";
import fc from "fast-check";
import {
  allSettled,
  type Coroutine,
  type Future,
  forEach,
  map,
  now,
  Runtime,
  sleep,
  timeout,
  unboundedMpsc,
} from "../../src/index.ts";
import { caught } from "../support/caught.ts";
import { manualContext } from "../support/manual.ts";
import { VirtualClock } from "../support/virtual-clock.ts";
import { sleepThen } from "../support/work.ts";

setDefaultTimeout(60_000); // a slow machine must not fail the test

interface Item {
  readonly ms: number;
  readonly fails: boolean;
}

const scenario = fc.record({
  items: fc.array(
    fc.record({ ms: fc.nat(30), fails: fc.integer({ min: 0, max: 9 }).map((n) => n === 0) }),
    { maxLength: 12 },
  ),
  concurrency: fc.constantFrom(1, 2, 3, Number.POSITIVE_INFINITY),
  kind: fc.constantFrom("array", "generator", "async generator"),
  unordered: fc.boolean(),
});

/** With fractions of which no two sums are equal, so that no two events of the model happen together. */
const durationOf = ({ ms }: Item, index: number): number => ms + 2 ** -(index + 4);

/** Each item starts when it is its turn and a place is free. */
function model(items: readonly Item[], concurrency: number) {
  const ends: { index: number; atMs: number }[] = [];
  const free: number[] = Array.from({ length: Math.min(concurrency, items.length) }, () => 0);
  for (const [index, item] of items.entries()) {
    free.sort((a, b) => a - b);
    const atMs = free.shift()! + durationOf(item, index);
    free.push(atMs);
    ends.push({ index, atMs });
  }
  ends.sort((a, b) => a.atMs - b.atMs);
  const failure = ends.find(({ index }) => items[index]!.fails) ?? null;
  const lastMs = failure?.atMs ?? ends.at(-1)?.atMs ?? 0;
  return { failure, lastMs, order: ends.map(({ index }) => index) };
}

/** The items as an iterable of each kind, with a record of how it was read and closed. */
class Source {
  taken = 0;
  closed = 0;
  readonly items: readonly Item[];

  constructor(items: readonly Item[]) {
    this.items = items;
  }

  of(kind: string): Iterable<Item> | AsyncIterable<Item> {
    if (kind === "array") return this.items;
    return kind === "generator" ? this.#sync() : this.#async();
  }

  *#sync(): Generator<Item> {
    try {
      for (const item of this.items) {
        this.taken++;
        yield item;
      }
    } finally {
      this.closed++;
    }
  }

  async *#async(): AsyncGenerator<Item> {
    yield* this.#sync();
  }
}

test("map has the order, the concurrency, the time and the outcome of the model", () => {
  fc.assert(
    fc.property(scenario, ({ items, concurrency, kind, unordered }) => {
      using runtime = new Runtime({ clock: new VirtualClock() });
      const source = new Source(items);
      let running = 0;
      let ended = 0;
      const work = function* (item: Item, index: number): Coroutine<number> {
        expect(++running).toBeLessThanOrEqual(concurrency);
        if (kind === "generator") expect(source.taken - ended).toBeLessThanOrEqual(concurrency);
        try {
          yield* sleep(durationOf(item, index));
          if (item.fails) throw new Error(`item ${index}`);
          return index;
        } finally {
          running--;
          ended++;
        }
      };
      const expected = model(items, concurrency);
      const outcome: unknown = runtime.blockOn(async () => {
        try {
          return await map(source.of(kind), work, { concurrency, unordered });
        } catch (error) {
          return (error as Error).message;
        }
      });
      const { failure, order } = expected;
      if (failure !== null) expect(outcome).toBe(`item ${failure.index}`);
      else expect(outcome).toEqual(unordered ? order : order.toSorted((a, b) => a - b));
      expect(runtime.blockOn(async () => now())).toBeCloseTo(expected.lastMs, 6);
      expect([running, runtime.metrics().timers]).toEqual([0, 0]);
      if (kind !== "array") expect(source.closed).toBe(1);
    }),
    { numRuns: 300 },
  );
});

test("a map that is cancelled at any moment ends its work and closes the iterator", () => {
  fc.assert(
    fc.property(scenario, fc.nat(60), ({ items, concurrency, kind }, limitMs) => {
      using runtime = new Runtime({ clock: new VirtualClock() });
      const source = new Source(items);
      let open = 0;
      const work = async (item: Item): Promise<void> => {
        open++;
        try {
          await sleep(item.ms);
        } finally {
          open--;
        }
      };
      runtime.blockOn(async () => {
        const all = forEach(source.of(kind), work, { concurrency });
        await timeout(limitMs + 0.5, all).catch(() => null);
      });
      expect([open, runtime.metrics().timers, runtime.tasks().length]).toEqual([0, 0, 0]);
      if (kind !== "array") expect(source.closed).toBe(1);
    }),
    { numRuns: 200 },
  );
});

test("map takes the characters of a string, as other iterables", () => {
  using runtime = new Runtime();
  expect(runtime.blockOn(map("añ🙂", async (character) => character + character))).toEqual([
    "aa",
    "ññ",
    "🙂🙂",
  ]);
});

test("map takes items of an endless generator only as their work can start", () => {
  using runtime = new Runtime({ clock: new VirtualClock() });
  let taken = 0;
  function* endless(): Generator<number> {
    for (;;) yield taken++;
  }
  const stop = new Error("stop");
  const work = async (n: number): Promise<void> => {
    await sleep(1);
    if (n === 10) throw stop;
  };
  expect(caught(() => runtime.blockOn(map(endless(), work, { concurrency: 2 })))).toBe(stop);
  expect(taken).toBeLessThanOrEqual(13);
});

test("an error of the iterator cancels the work and is thrown", () => {
  using runtime = new Runtime({ clock: new VirtualClock() });
  const boom = new Error("boom");
  function* sync(): Generator<number> {
    yield 1;
    throw boom;
  }
  async function* asynchronous(): AsyncGenerator<number> {
    yield* sync();
  }
  const broken = {
    [Symbol.iterator](): never {
      throw boom;
    },
  };
  let open = 0;
  const work = async (): Promise<void> => {
    open++;
    await sleep(1e6).catch(() => open--);
  };
  for (const items of [sync(), asynchronous(), broken]) {
    expect(caught(() => runtime.blockOn(map(items, work)))).toBe(boom);
    expect(open).toBe(0);
  }
});

test("nothing is read before the first poll, and a map that is dropped then reads nothing", () => {
  const source = new Source([{ ms: 1, fails: false }]);
  map(source.of("generator"), () => sleep(0)).drop();
  expect([source.taken, source.closed]).toEqual([0, 0]);
});

test("forEach returns nothing, and map of no items returns an empty array", () => {
  using runtime = new Runtime({ clock: new VirtualClock() });
  expect(runtime.blockOn(forEach([1, 2], (n) => sleepThen(n, n)))).toBeUndefined();
  expect(runtime.blockOn(map([], () => sleep(1)))).toEqual([]);
  expect(
    runtime.blockOn(map(new Map([[1, 2]]), ([key, value]) => sleepThen(0, key + value))),
  ).toEqual([3]);
});

test("map and forEach throw at once for bad arguments", () => {
  const work = async (): Promise<void> => {};
  expect(() => map(5 as never, work)).toThrow(
    "map: items must be iterable or async iterable; got 5",
  );
  expect(() => forEach([], sleep(0) as never)).toThrow("forEach: work must be a function");
  expect(() => map([], work, null as never)).toThrow("map: options must be an object; got null");
  expect(() => map([], work, { concurrency: 0 })).toThrow(
    "map: options.concurrency must be a positive integer; got 0",
  );
});

test("allSettled returns each outcome in the given order, as Promise.allSettled does", async () => {
  const boom = new Error("boom");
  const work = () => [sleepThen(2, "a"), () => Promise.reject(boom), Promise.resolve(3)] as const;
  using runtime = new Runtime();
  const expected = await Promise.allSettled([Promise.resolve("a"), Promise.reject(boom), 3]);
  expect(runtime.blockOn(allSettled(...work()))).toEqual(expected as never);
  expect(runtime.blockOn(allSettled(work()))).toEqual(expected as never);
  expect(runtime.blockOn(allSettled(new Set(work())))).toEqual(expected as never);
  expect(runtime.blockOn(allSettled([]))).toEqual([]);
});

test.each(["drop", "pollCancel"] as const)(
  "a message whose work has not started returns to its channel: %s",
  (end) => {
    for (let polls = 1; polls <= 3; polls++) {
      const { sender, receiver } = unboundedMpsc<number>();
      const { cx } = manualContext();
      const started: number[] = [];
      const work = forEach(receiver, (message) => {
        started.push(message);
        return new Promise(() => {});
      });
      work.poll(cx); // waits for a message
      sender.send(1);
      sender.send(2);
      for (let poll = 1; poll < polls; poll++) work.poll(cx);
      work[end](cx);
      expect(started).toEqual([[], [], [1]][polls - 1]!);
      const rest = [receiver.tryRecv(), receiver.tryRecv()];
      expect(
        [...started, ...rest.map((next) => (next?.done ? null : next?.value))].slice(0, 2),
      ).toEqual([1, 2]);
    }
  },
);

test("an iterator that drops its own map starts no work, and is closed once", () => {
  using runtime = new Runtime({ clock: new VirtualClock() });
  const log: string[] = [];
  const work = async (item: unknown): Promise<void> => {
    log.push(`work ${item}`);
    await sleep(1e6);
  };
  const iteratorOf = (onNext: () => void) => ({
    next() {
      onNext();
      return { done: false, value: "item" };
    },
    return() {
      log.push("closed");
      return { done: true, value: undefined };
    },
  });
  const kinds: Record<string, () => unknown> = {
    "a generator": () => ({
      *[Symbol.iterator]() {
        try {
          all.drop();
          yield "item";
        } finally {
          log.push("closed");
        }
      },
    }),
    next: () => ({ [Symbol.iterator]: () => iteratorOf(() => all.drop()) }),
    "next of an async iterator": () => ({
      [Symbol.asyncIterator]: () => iteratorOf(() => all.drop()),
    }),
    "the iterable": () => ({
      [Symbol.iterator]() {
        all.drop();
        return iteratorOf(() => log.push("next"));
      },
    }),
  };
  let all: Future<unknown>;
  for (const [name, make] of Object.entries(kinds)) {
    all = map(make() as Iterable<string>, work);
    expect(caught(() => runtime.blockOn(all))).toMatchObject({ code: "ERR_POLLED_AFTER_END" });
    expect([name, ...log.splice(0)]).toEqual([name, "closed"]);
  }
});
