// A round trip to another thread, in three ways: `waker`, a waker of this library; `message`, postMessage;
// `atomics`, both threads blocked in Atomics.wait.

import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";
import { Future, Pending, Runtime, Waker } from "../../src/index.ts";
import { answer } from "./answer.mjs";

/** Indexes into the shared memory: the round asked for, and the round answered. */
const ASKED = 0;
const ANSWERED = 1;
const WARM_UP = 1000;

function start(words, data) {
  return new Worker(new URL(import.meta.url), { workerData: { words, ...data } });
}

function ask(words, round) {
  Atomics.store(words, ASKED, round);
  Atomics.notify(words, ASKED);
}

class Rounds extends Future {
  #round = 0;
  #worker = null;
  #startMs = 0;

  constructor(words, count) {
    super();
    this.words = words;
    this.count = count;
  }

  poll(cx) {
    this.#worker ??= start(this.words, { handle: cx.waker.toHandle() });
    if (Atomics.load(this.words, ANSWERED) < this.#round) return Pending;
    if (this.#round === WARM_UP) this.#startMs = performance.now();
    if (this.#round === this.count) {
      this.#worker.terminate();
      return performance.now() - this.#startMs;
    }
    ask(this.words, ++this.#round);
    return Pending;
  }
}

const ways = {
  waker: (words, count) => new Runtime().blockOn(new Rounds(words, count)),
  atomics(words, count) {
    const worker = start(words, {});
    let startMs = 0;
    for (let round = 0; round < count; round++) {
      if (round === WARM_UP) startMs = performance.now();
      ask(words, round + 1);
      Atomics.wait(words, ANSWERED, round);
    }
    worker.terminate();
    return performance.now() - startMs;
  },
  async message(words, count) {
    const worker = start(words, { isMessage: true });
    let startMs = 0;
    for (let round = 0; round < count; round++) {
      if (round === WARM_UP) startMs = performance.now();
      worker.postMessage(round);
      await new Promise((resolve) => worker.once("message", resolve));
    }
    worker.terminate();
    return performance.now() - startMs;
  },
};

function reply({ words, handle }) {
  const waker = handle === undefined ? null : Waker.fromHandle(handle);
  for (let round = 1; ; round++) {
    Atomics.wait(words, ASKED, round - 1);
    Atomics.store(words, ANSWERED, round);
    if (waker === null) Atomics.notify(words, ANSWERED);
    else waker.wakeByRef();
  }
}

if (isMainThread) {
  const way = ways[process.argv[2]];
  await answer({
    wake: async (count) =>
      (await way(new Int32Array(new SharedArrayBuffer(8)), WARM_UP + count)) * 1e6,
  });
} else if (workerData.isMessage) {
  parentPort.on("message", (round) => parentPort.postMessage(round));
} else reply(workerData);
