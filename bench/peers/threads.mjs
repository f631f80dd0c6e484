// Measures a round trip to another thread, in three ways: `waker`, a waker of this library; `message`, postMessage;
// `atomics`, with both threads blocked in Atomics.wait.

import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";
import { Future, Pending, Runtime, Waker } from "../../src/index.ts";
import { answer } from "./answer.mjs";

/** Indexes into the shared memory: the round asked for, and the round answered. */
const ASKED = 0;
const ANSWERED = 1;
/** Rounds before the measurement. */
const WARM_UP = 1000;

function start(shared, data) {
  return new Worker(new URL(import.meta.url), { workerData: { shared, ...data } });
}

function ask(shared, round) {
  Atomics.store(shared, ASKED, round);
  Atomics.notify(shared, ASKED);
}

/** Completes after `count` rounds. Returns the time after the warm-up, in ms. */
class Rounds extends Future {
  #round = 0;
  #worker = null;
  #startMs = 0;

  constructor(shared, count) {
    super();
    this.shared = shared;
    this.count = count;
  }

  poll(cx) {
    this.#worker ??= start(this.shared, { handle: cx.waker.toHandle() });
    if (Atomics.load(this.shared, ANSWERED) < this.#round) return Pending;
    if (this.#round === WARM_UP) this.#startMs = performance.now();
    if (this.#round === this.count) {
      this.#worker.terminate();
      return performance.now() - this.#startMs;
    }
    ask(this.shared, ++this.#round);
    return Pending;
  }
}

const ways = {
  waker: (shared, count) => new Runtime().blockOn(new Rounds(shared, count)),
  atomics(shared, count) {
    const worker = start(shared, {});
    let startMs = 0;
    for (let round = 0; round < count; round++) {
      if (round === WARM_UP) startMs = performance.now();
      ask(shared, round + 1);
      Atomics.wait(shared, ANSWERED, round);
    }
    worker.terminate();
    return performance.now() - startMs;
  },
  async message(shared, count) {
    const worker = start(shared, { isMessage: true });
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

function reply({ shared, handle }) {
  const waker = handle === undefined ? null : Waker.fromHandle(handle);
  for (let round = 1; ; round++) {
    Atomics.wait(shared, ASKED, round - 1);
    Atomics.store(shared, ANSWERED, round);
    if (waker === null) Atomics.notify(shared, ANSWERED);
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
