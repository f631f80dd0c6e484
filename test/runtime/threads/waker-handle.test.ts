// Wakers in other threads.

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { closeSync, openSync, readFileSync, rmSync, writeSync } from "node:fs";
import {
  type Context,
  DeadlockError,
  Future,
  Pending,
  type Poll,
  Runtime,
  Waker,
  type WakerHandle,
  yieldNow,
} from "../../../src/index.ts";
import { Counting } from "../../support/counting.ts";
import { countFds, newFds, openFds } from "../../support/fds.ts";
import { untilIdle } from "../../support/idle.ts";
import type { Order } from "../../support/waker-worker.ts";

setDefaultTimeout(60_000); // a slow machine is no failure

const url = new URL("../../support/waker-worker.ts", import.meta.url);

function send(order: Order): { worker: Worker; messages: unknown[]; closed: Promise<void> } {
  const worker = new Worker(url);
  const messages: unknown[] = [];
  worker.addEventListener("message", ({ data }) => messages.push(data));
  const closed = new Promise<void>((resolve) => {
    worker.addEventListener("close", () => resolve());
    worker.addEventListener("message", ({ data }) => {
      if (data === "done") worker.terminate();
    });
  });
  worker.postMessage(order);
  return { worker, messages, closed };
}

const words = (count: number): Int32Array => new Int32Array(new SharedArrayBuffer(count * 4));

/** Waits until its counter has reached `goal`; each poll looks. */
class Counter extends Future<void> {
  polls = 0;
  readonly handles: WakerHandle[] = [];
  readonly #counters: Int32Array;
  readonly #index: number;
  readonly #goal: number;
  readonly #takers: number;

  constructor(counters: Int32Array, index: number, goal: number, takers: number) {
    super();
    this.#counters = counters;
    this.#index = index;
    this.#goal = goal;
    this.#takers = takers;
  }

  override poll(cx: Context): Poll<void> {
    this.polls++;
    while (this.handles.length < this.#takers) this.handles.push(cx.waker.toHandle());
    if (Atomics.load(this.#counters, this.#index) < this.#goal) return Pending;
  }
}

describe.each([["lazy"], ["eager"]] as const)("eventfd: %s", (eventfd) => {
  test("200,000 wakes from two Workers at once: none lost, none on a wrong task", async () => {
    const before = openFds();
    const runs: { closed: Promise<void> }[] = [];
    {
      using runtime = new Runtime({ eventfd });
      const counters = words(4);
      const futures = [0, 1, 2, 3].map((index) => new Counter(counters, index, 50_000, 2));
      const bystander = new Counting<void>();
      runtime.spawn(bystander);
      const handles = futures.map((future) => runtime.spawn(future));
      untilIdle(runtime);
      for (const taker of [0, 1]) {
        const taken = futures.map((future) => future.handles[taker] as WakerHandle);
        runs.push(send({ handles: taken, counters, wakes: 100_000 }));
      }
      runtime.blockOn(function* () {
        for (const handle of handles) yield* handle;
      });
      expect(Array.from(counters)).toEqual([50_000, 50_000, 50_000, 50_000]);
      expect(bystander.polls).toBe(1);
      for (const { closed } of runs) await closed;
      bystander.complete();
      runtime.block();
    }
    expect(newFds(before).filter((target) => target.includes("eventfd"))).toEqual([]);
  });

  test("a Worker that is terminated in mid-wake harms nothing; what it held comes back", async () => {
    const before = openFds();
    {
      using runtime = new Runtime({ eventfd });
      for (let round = 0; round < 10; round++) {
        const counters = words(1);
        const future = new Counter(counters, 0, 2_000_000_000, 2);
        const task = runtime.spawn(future);
        untilIdle(runtime);
        const [doomed, kept] = future.handles as [WakerHandle, WakerHandle];
        const { worker, closed } = send({ handles: [doomed], counters, wakes: Infinity });
        runtime.blockOn(function* () {
          while (Atomics.load(counters, 0) < 500) yield* yieldNow();
        });
        worker.terminate();
        await closed;
        const { polls } = future;
        const bystanders = runtime.metrics().tasksAlive;
        const waker = Waker.fromHandle(kept);
        waker.wake(); // whoever held the lock is dead: this one takes it
        untilIdle(runtime);
        expect(future.polls).toBeGreaterThan(polls);
        expect(runtime.metrics().tasksAlive).toBe(bystanders);
        task.abort();
        runtime.block();
      }
    }
    expect(newFds(before).filter((target) => target.includes("eventfd"))).toEqual([]);
  });
});

/** A future that is woken by hand, its task, and a handle of its waker. */
function handled(runtime: Runtime): { future: Counting<void>; handle: WakerHandle } {
  const future = new Counting<void>();
  runtime.spawn(future);
  untilIdle(runtime);
  return { future, handle: (future.waker as Waker).toHandle() };
}

test("the last drop, on whichever side, closes the eventfd", () => {
  using runtime = new Runtime();
  const { future, handle } = handled(runtime);
  const isOpen = (): boolean => openFds().get(handle.fd)?.includes("eventfd") ?? false;
  const first = Waker.fromHandle(handle);
  const second = Waker.fromHandle(handle);
  future.complete();
  runtime.block();
  expect(isOpen()).toBe(true); // two hold it though its task has ended
  first.drop();
  second.wakeByRef(); // harmless
  expect(isOpen()).toBe(true);
  second.drop();
  expect(isOpen()).toBe(false);
  expect(() => Waker.fromHandle(handle)).toThrow("was dropped everywhere");
});

test("a count that is in flight keeps it; the first to take the handle takes that count", () => {
  using runtime = new Runtime();
  const { future, handle } = handled(runtime);
  future.complete();
  runtime.block();
  const waker = Waker.fromHandle(handle);
  waker.clone().drop();
  waker.wakeByRef();
  waker.drop();
  expect(() => Waker.fromHandle(handle)).toThrow("was dropped everywhere");
});

test("a wake of a disposed runtime's waker does nothing, also to a file that has its number now", () => {
  const runtime = new Runtime();
  const { handle } = handled(runtime);
  const waker = Waker.fromHandle(handle);
  runtime[Symbol.dispose]();
  const path = `/tmp/guillotine-reuse-${process.pid}`;
  const fds: number[] = [];
  while (fds.at(-1) !== handle.fd && fds.length < 200) fds.push(openSync(path, "w"));
  try {
    expect(fds).toContain(handle.fd);
    for (let count = 0; count < 100; count++) waker.wakeByRef();
    waker.drop();
    expect(readFileSync(path, "utf8")).toBe("");
    expect(openFds().get(handle.fd)).toBe(path); // and it was not closed
  } finally {
    for (const fd of fds) closeSync(fd);
    rmSync(path);
  }
});

test("a counter that is full is no lost wake", () => {
  using runtime = new Runtime();
  const { future, handle } = handled(runtime);
  const waker = Waker.fromHandle(handle);
  writeSync(waker.fd, new Uint8Array(new BigUint64Array([0xfffffffffffffffen]).buffer));
  untilIdle(runtime);
  const { polls } = future;
  waker.wake();
  untilIdle(runtime);
  expect(future.polls).toBe(polls + 1);
});

test("a Worker may hand a waker on", async () => {
  using runtime = new Runtime();
  const { future, handle } = handled(runtime);
  const { messages, closed } = send({
    handles: [handle],
    counters: words(1),
    wakes: 0,
    passesOn: true,
  });
  await closed;
  const waker = Waker.fromHandle(messages[0] as WakerHandle);
  const { polls } = future;
  waker.wake();
  untilIdle(runtime);
  expect(future.polls).toBe(polls + 1);
});

test("a runtime that only a handle could wake looks again when that is dropped", async () => {
  using runtime = new Runtime();
  const { handle } = handled(runtime);
  const { closed } = send({ handles: [handle], counters: words(1), wakes: 3 });
  // It sleeps, since the Worker may wake it; the Worker's last act is to drop the waker.
  expect(() => runtime.block()).toThrow(DeadlockError);
  await closed;
});

test("no false alarm: a thread that read waker.fd may have told anyone, though it dropped the waker", () => {
  using runtime = new Runtime();
  class ExposedElsewhere extends Future<string> {
    #polls = 0;
    override poll(cx: Context): Poll<string> {
      if (++this.#polls > 1) return "woken";
      const waker = Waker.fromHandle(cx.waker.toHandle());
      const code = `import os; os.write(1, (1).to_bytes(8, "little"))`;
      Bun.spawn(["python3", "-c", code], { stdout: waker.fd }).unref();
      waker.drop();
      return Pending;
    }
  }
  expect(runtime.blockOn(new ExposedElsewhere())).toBe("woken");
});

test("what a Worker was about to close when it was terminated is closed with the runtime", () => {
  const before = countFds("eventfd");
  {
    using runtime = new Runtime();
    const { future, handle } = handled(runtime);
    future.complete();
    runtime.block();
    Atomics.sub(handle.shared, 2, 1); // the last count is given back, and then it is terminated
    Waker.fromHandle(handled(runtime).handle).drop(); // rings the bell: the runtime looks
    untilIdle(runtime);
  }
  expect(countFds("eventfd")).toBe(before);
});

test.each([[undefined], [null], [{}], [{ fd: 3 }], [7]])("%p is no handle", (value) => {
  expect(() => Waker.fromHandle(value as never)).toThrow("handle must come from waker.toHandle()");
});
