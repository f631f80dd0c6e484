// Wakers in other threads: they pass as handles, share one eventfd, and lose no wake.

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

setDefaultTimeout(60_000); // a slow machine must not fail the test

const url = new URL("../../support/waker-worker.ts", import.meta.url);

/** Starts a Worker that carries out `order`. */
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

const sharedInts = (count: number): Int32Array => new Int32Array(new SharedArrayBuffer(count * 4));

/** Completes when its counter has reached `goal`. Each poll checks the counter. Creates `handleCount` handles. */
class Counter extends Future<void> {
  polls = 0;
  readonly handles: WakerHandle[] = [];
  readonly #counters: Int32Array;
  readonly #index: number;
  readonly #goal: number;
  readonly #handleCount: number;

  constructor(counters: Int32Array, index: number, goal: number, handleCount: number) {
    super();
    this.#counters = counters;
    this.#index = index;
    this.#goal = goal;
    this.#handleCount = handleCount;
  }

  override poll(cx: Context): Poll<void> {
    this.polls++;
    while (this.handles.length < this.#handleCount) this.handles.push(cx.waker.toHandle());
    if (Atomics.load(this.#counters, this.#index) < this.#goal) return Pending;
  }
}

describe.each([["lazy"], ["eager"]] as const)("eventfd: %s", (eventfd) => {
  test("200,000 wakes from two Workers at once reach the right tasks, and none is lost", async () => {
    const before = openFds();
    const runs: { closed: Promise<void> }[] = [];
    {
      using runtime = new Runtime({ eventfd });
      const counters = sharedInts(4);
      const futures = [0, 1, 2, 3].map((index) => new Counter(counters, index, 50_000, 2));
      const bystander = new Counting<void>();
      runtime.spawn(bystander);
      const handles = futures.map((future) => runtime.spawn(future));
      untilIdle(runtime);
      for (const thread of [0, 1]) {
        const handles = futures.map((future) => future.handles[thread] as WakerHandle);
        runs.push(send({ handles, counters, wakes: 100_000 }));
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

  test("a Worker that is terminated during a wake leaves no lock held and leaks no eventfd", async () => {
    const before = openFds();
    {
      using runtime = new Runtime({ eventfd });
      for (let round = 0; round < 10; round++) {
        const counters = sharedInts(1);
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
        waker.wake(); // takes the lock if its holder is dead
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

/** Spawns a future that the test wakes by hand. Returns it with a handle of its waker. */
function handled(runtime: Runtime): { future: Counting<void>; handle: WakerHandle } {
  const future = new Counting<void>();
  runtime.spawn(future);
  untilIdle(runtime);
  return { future, handle: (future.waker as Waker).toHandle() };
}

test("the last waker to be dropped, on any thread, closes the eventfd", () => {
  using runtime = new Runtime();
  const { future, handle } = handled(runtime);
  const isOpen = (): boolean => openFds().get(handle.fd)?.includes("eventfd") ?? false;
  const first = Waker.fromHandle(handle);
  const second = Waker.fromHandle(handle);
  future.complete();
  runtime.block();
  expect(isOpen()).toBe(true); // two wakers hold it although its task has ended
  first.drop();
  second.wakeByRef(); // harmless
  expect(isOpen()).toBe(true);
  second.drop();
  expect(isOpen()).toBe(false);
  expect(() => Waker.fromHandle(handle)).toThrow("every waker of this handle was dropped");
});

test("a handle in flight keeps the eventfd open, and the first fromHandle takes over its count", () => {
  using runtime = new Runtime();
  const { future, handle } = handled(runtime);
  future.complete();
  runtime.block();
  const waker = Waker.fromHandle(handle);
  waker.clone().drop();
  waker.wakeByRef();
  waker.drop();
  expect(() => Waker.fromHandle(handle)).toThrow("every waker of this handle was dropped");
});

test("a wake after the runtime was disposed does nothing, even if another file has the fd number now", () => {
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
    expect(openFds().get(handle.fd)).toBe(path); // the drop did not close it
  } finally {
    for (const fd of fds) closeSync(fd);
    rmSync(path);
  }
});

test("a wake from another thread is not lost when the eventfd's counter is full", () => {
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

test("a Worker can pass a waker on to another thread", async () => {
  using runtime = new Runtime();
  const { future, handle } = handled(runtime);
  const { messages, closed } = send({
    handles: [handle],
    counters: sharedInts(1),
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

test("a runtime that only another thread could wake reports the deadlock when that thread drops its waker", async () => {
  using runtime = new Runtime();
  const { handle } = handled(runtime);
  const { closed } = send({ handles: [handle], counters: sharedInts(1), wakes: 3 });
  // The runtime sleeps while the Worker may wake it. The Worker's last action is to drop the waker.
  expect(() => runtime.block()).toThrow(DeadlockError);
  await closed;
});

test("a runtime reports no deadlock after another thread read waker.fd, although that thread dropped its waker", () => {
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

test("an eventfd that a terminated Worker should have closed is closed with the runtime", () => {
  const before = countFds("eventfd");
  {
    using runtime = new Runtime();
    const { future, handle } = handled(runtime);
    future.complete();
    runtime.block();
    Atomics.sub(handle.shared, 2, 1); // the Worker releases the last count and is then terminated
    Waker.fromHandle(handled(runtime).handle).drop(); // rings the doorbell, so that the runtime checks
    untilIdle(runtime);
  }
  expect(countFds("eventfd")).toBe(before);
});

test.each([[undefined], [null], [{}], [{ fd: 3 }], [7]])("fromHandle rejects %p", (value) => {
  expect(() => Waker.fromHandle(value as never)).toThrow("handle must come from waker.toHandle()");
});
