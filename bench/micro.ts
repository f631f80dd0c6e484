// The executor by itself, and channels and locks, beside promises doing the same.

import {
  type Coroutine,
  joinAll,
  Mutex,
  mpsc,
  Runtime,
  sleep,
  spawn,
  yieldNow,
} from "../src/index.ts";
import { compare, finish, isQuick, type Peer } from "./harness.ts";

const COUNT = isQuick ? 20_000 : 100_000;

/** Operations per second of `work`, which does COUNT of them. */
function timed(name: string, work: () => Promise<void> | void): Peer<void> {
  return {
    name,
    async measure() {
      const startMs = performance.now();
      await work();
      return (COUNT / (performance.now() - startMs)) * 1000;
    },
  };
}

function ours(name: string, work: () => Coroutine<unknown>): Peer<void> {
  const runtime = new Runtime();
  return timed(name, () => void runtime.blockOn(work));
}

const show = (perSecond: number): string => `${(1e9 / perSecond).toFixed(0)} ns`;

await compare(
  "yield",
  "one task",
  undefined,
  [
    timed("await null", async () => {
      for (let count = 0; count < COUNT; count++) await null;
    }),
    ours("yieldNow", function* () {
      for (let count = 0; count < COUNT; count++) yield* yieldNow();
    }),
  ],
  show,
);

await compare(
  "spawn and join",
  "one at a time",
  undefined,
  [
    timed("an async call, awaited", async () => {
      const task = async (): Promise<number> => {
        await null;
        return 1;
      };
      for (let count = 0; count < COUNT; count++) await task();
    }),
    ours("spawn, join", function* () {
      function* task(): Coroutine<number> {
        yield* yieldNow();
        return 1;
      }
      for (let count = 0; count < COUNT; count++) yield* spawn(task);
    }),
  ],
  show,
);

await compare(
  "await future",
  "in an async function",
  undefined,
  [
    timed("await a thenable", async () => {
      // biome-ignore lint/suspicious/noThenProperty: it is what is measured
      const thenable = { then: (resolve: (value: number) => void) => resolve(1) };
      for (let count = 0; count < COUNT; count++) await thenable;
    }),
    timed(
      "await yieldNow()",
      (() => {
        const runtime = new Runtime();
        return () =>
          runtime.blockOn(async () => {
            for (let count = 0; count < COUNT; count++) await yieldNow();
          });
      })(),
    ),
  ],
  show,
);

await compare(
  "join of 10,000",
  "each yields once",
  undefined,
  [
    timed("Promise.all", async () => {
      for (let round = 0; round < COUNT / 10_000; round++) {
        await Promise.all(
          Array.from({ length: 10_000 }, async () => {
            await null;
          }),
        );
      }
    }),
    ours("joinAll", function* () {
      for (let round = 0; round < COUNT / 10_000; round++) {
        yield* joinAll(Array.from({ length: 10_000 }, () => yieldNow()));
      }
    }),
  ],
  show,
);

await compare(
  "10 calls deep",
  "each waits once, at the bottom",
  undefined,
  [
    timed("await", async () => {
      const down = async (depth: number): Promise<void> => {
        if (depth === 0) await null;
        else await down(depth - 1);
      };
      for (let count = 0; count < COUNT; count += 10) await down(10);
    }),
    ours("yield*", function* () {
      function* down(depth: number): Coroutine<void> {
        if (depth === 0) yield* yieldNow();
        else yield* down(depth - 1);
      }
      for (let count = 0; count < COUNT; count += 10) yield* down(10);
    }),
  ],
  show,
);

/** What promises have for a channel of one: two promises that the other side resolves. */
class PromiseSlot {
  #value: number | null = null;
  #filled = Promise.withResolvers<void>();
  #emptied = Promise.withResolvers<void>();

  async send(value: number): Promise<void> {
    while (this.#value !== null) await this.#emptied.promise;
    this.#value = value;
    this.#emptied = Promise.withResolvers();
    this.#filled.resolve();
  }

  async recv(): Promise<number> {
    while (this.#value === null) await this.#filled.promise;
    const value = this.#value;
    this.#value = null;
    this.#filled = Promise.withResolvers();
    this.#emptied.resolve();
    return value;
  }
}

await compare(
  "ping-pong",
  "two tasks, two channels of one",
  undefined,
  [
    timed("promises", async () => {
      const [there, back] = [new PromiseSlot(), new PromiseSlot()];
      const pong = (async () => {
        for (let count = 0; count < COUNT; count++) await back.send(await there.recv());
      })();
      for (let count = 0; count < COUNT; count++) {
        await there.send(count);
        await back.recv();
      }
      await pong;
    }),
    ours("mpsc(1)", function* () {
      const [there, back] = [mpsc<number>(1), mpsc<number>(1)];
      spawn(function* () {
        for (;;) {
          const next = yield* there.receiver.recv();
          if (next.done) return;
          yield* back.sender.send(next.value);
        }
      });
      for (let count = 0; count < COUNT; count++) {
        yield* there.sender.send(count);
        yield* back.receiver.recv();
      }
      there.sender.close();
    }),
  ],
  show,
);

/** The usual lock of promises: a chain. */
class PromiseLock {
  #last: Promise<void> = Promise.resolve();

  async lock(): Promise<() => void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const before = this.#last;
    this.#last = promise;
    await before;
    return resolve;
  }
}

await compare(
  "lock handed over",
  "ten tasks take turns",
  undefined,
  [
    timed("promises", async () => {
      const lock = new PromiseLock();
      const task = async (): Promise<void> => {
        for (let count = 0; count < COUNT / 10; count++) {
          const unlock = await lock.lock();
          await null;
          unlock();
        }
      };
      await Promise.all(Array.from({ length: 10 }, task));
    }),
    ours("Mutex", function* () {
      const mutex = new Mutex(null);
      function* task(): Coroutine<void> {
        for (let count = 0; count < COUNT / 10; count++) {
          const guard = yield* mutex.lock();
          yield* yieldNow();
          guard.release();
        }
      }
      const handles = Array.from({ length: 10 }, () => spawn(task));
      for (const handle of handles) yield* handle;
    }),
  ],
  show,
);

await compare(
  "sleeps",
  "all at once",
  undefined,
  [
    timed("Bun.sleep", async () => {
      await Promise.all(Array.from({ length: COUNT }, () => Bun.sleep(1)));
    }),
    ours("sleep", function* () {
      yield* joinAll(Array.from({ length: COUNT }, () => sleep(1)));
    }),
  ],
  show,
);

await compare(
  "a timer made and cancelled",
  "one at a time",
  undefined,
  [
    timed("setTimeout, clearTimeout", () => {
      for (let count = 0; count < COUNT; count++) clearTimeout(setTimeout(() => {}, 1000));
    }),
    ours("sleep, drop", function* () {
      for (let count = 0; count < COUNT; count++) {
        const future = sleep(1000);
        future.next();
        future.drop();
      }
    }),
  ],
  show,
);

await finish();
