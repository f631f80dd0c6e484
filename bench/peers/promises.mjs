// The executor benchmarks on native promises, Bun's timers, and a channel and a lock built on promises.

import { answer, bytes, lateness, percentile, sleepMs } from "./answer.mjs";

const one = async () => 1;
const deep = async (depth) => {
  if (depth === 0) await null;
  else await deep(depth - 1);
};

/** A channel of capacity 1, built on promises: each side resolves the promise that the other side awaits. */
class Slot {
  #value = null;
  #filled = Promise.withResolvers();
  #emptied = Promise.withResolvers();

  async send(value) {
    while (this.#value !== null) await this.#emptied.promise;
    this.#value = value;
    this.#emptied = Promise.withResolvers();
    this.#filled.resolve();
  }

  async recv() {
    while (this.#value === null) await this.#filled.promise;
    const value = this.#value;
    this.#value = null;
    this.#filled = Promise.withResolvers();
    this.#emptied.resolve();
    return value;
  }
}

/** The usual lock built on promises: each holder awaits the previous holder's promise. */
class Lock {
  #last = Promise.resolve();

  async lock() {
    const { promise, resolve } = Promise.withResolvers();
    const before = this.#last;
    this.#last = promise;
    await before;
    return resolve;
  }
}

async function late(count) {
  const lateMs = [];
  for (let index = 0; index < count; index++) {
    const dueMs = performance.now() + 1;
    await Bun.sleep(1);
    lateMs.push(performance.now() - dueMs);
  }
  return lateMs;
}

await answer({
  async yield(count) {
    for (let index = 0; index < count; index++) await null;
  },
  async spawn(count) {
    for (let index = 0; index < count; index++) await one();
  },
  async "ping-pong"(count) {
    const [there, back] = [new Slot(), new Slot()];
    const pong = (async () => {
      for (let index = 0; index < count; index++) await back.send(await there.recv());
    })();
    for (let index = 0; index < count; index++) {
      await there.send(index);
      await back.recv();
    }
    await pong;
  },
  async join(count) {
    const task = async () => {
      await null;
    };
    for (let round = 0; round < count / 10_000; round++) {
      await Promise.all(Array.from({ length: 10_000 }, task));
    }
  },
  async deep(count) {
    for (let index = 0; index < count; index++) await deep(10);
  },
  async await(count) {
    // biome-ignore lint/suspicious/noThenProperty: the benchmark measures it
    const thenable = { then: (resolve) => resolve(1) };
    for (let index = 0; index < count; index++) await thenable;
  },
  async lock(count) {
    const lock = new Lock();
    const task = async () => {
      for (let index = 0; index < count / 10; index++) {
        const unlock = await lock.lock();
        await null;
        unlock();
      }
    };
    await Promise.all(Array.from({ length: 10 }, task));
  },
  sleeps: (count) =>
    lateness(() =>
      Promise.all(Array.from({ length: count }, (_, index) => Bun.sleep(sleepMs(index)))),
    ),
  cancel(count) {
    for (let index = 0; index < count; index++) clearTimeout(setTimeout(() => {}, 1000));
  },
  p50: async (count) => percentile(await late(count), 0.5),
  p99: async (count) => percentile(await late(count), 0.99),
  async losers(count) {
    for (let index = 0; index < count; index++) {
      const controller = new AbortController();
      const { promise, resolve } = Promise.withResolvers();
      const timer = setTimeout(resolve, 1000);
      controller.signal.addEventListener("abort", () => clearTimeout(timer), { once: true });
      await Promise.race([promise, Promise.resolve()]);
      controller.abort();
    }
  },
  "task-bytes": (count) =>
    bytes(count, () => {
      const never = new Promise(() => {});
      const task = async () => {
        await never;
      };
      return Array.from({ length: count }, task);
    }),
  "sleep-bytes": (count) =>
    bytes(count, () => Array.from({ length: count }, () => Bun.sleep(1_000_000))),
});
