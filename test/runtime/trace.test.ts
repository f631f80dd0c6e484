// The trace: what the channels publish, and the stores that are bound to them.

import { expect, setDefaultTimeout, test } from "bun:test";
import { AsyncLocalStorage } from "node:async_hooks";
import { Runtime, sleep, spawn, yieldNow } from "../../src/index.ts";
import { type TraceEvents, traceChannel } from "../../src/inspect/index.ts";
import { caught } from "../support/caught.ts";

setDefaultTimeout(60_000); // the machine may be slow

/** Collects the events of a channel until it is disposed. */
function collect<K extends keyof TraceEvents>(name: K): Disposable & { events: TraceEvents[K][] } {
  const events: TraceEvents[K][] = [];
  const listener = (event: TraceEvents[K]): void => void events.push(event);
  const channel = traceChannel(name);
  channel.subscribe(listener);
  return { events, [Symbol.dispose]: () => void channel.unsubscribe(listener) };
}

test("a task's events name the runtime and the task that spawned it", () => {
  using tasks = collect("task");
  using polls = collect("poll");
  using runtime = new Runtime();
  runtime.blockOn(function* () {
    yield* spawn(spawnChild, { name: "parent" });
  });
  const [first] = tasks.events;
  const { runtime: id } = first as { runtime: number };
  expect(tasks.events).toEqual([
    { phase: "start", runtime: id, id: 1, name: "blockOn", parent: null },
    { phase: "start", runtime: id, id: 2, name: "parent", parent: 1 },
    { phase: "start", runtime: id, id: 3, name: "child", parent: 2 },
    { phase: "end", runtime: id, id: 3, name: "child", parent: 2, outcome: "value" },
    { phase: "end", runtime: id, id: 2, name: "parent", parent: 1, outcome: "value" },
    { phase: "end", runtime: id, id: 1, name: "blockOn", parent: null, outcome: "value" },
  ]);
  expect(polls.events).toContainEqual({
    phase: "start",
    runtime: id,
    id: 3,
    name: "child",
    parent: 2,
  });
  function* spawnChild() {
    yield* spawn(yieldNow(), { name: "child" });
  }
});

test("two runtimes have different numbers, and a task that spawns in another runtime is not a parent", () => {
  using tasks = collect("task");
  using outer = new Runtime();
  using inner = new Runtime();
  outer.blockOn(function* () {
    inner.spawn(yieldNow(), { name: "elsewhere" });
  });
  inner.block();
  const [, elsewhere] = tasks.events.filter(({ phase }) => phase === "start");
  expect(elsewhere).toMatchObject({ name: "elsewhere", parent: null });
  expect(elsewhere?.runtime).not.toBe(tasks.events[0]?.runtime);
});

test("a wake names the task whose poll caused it, and no task for a timer", () => {
  using wakes = collect("wake");
  using runtime = new Runtime();
  runtime.blockOn(function* () {
    yield* spawn(sleep(1), { name: "napper" });
  });
  const causes = wakes.events.map(({ name, by }) => [name, by]);
  expect(causes).toEqual([
    ["napper", null],
    ["blockOn", null], // the end of a task is no part of its poll
  ]);
});

test("the polls of what an async function awaits are those of its task, and drains continue it", () => {
  using polls = collect("poll");
  using drains = collect("drain");
  using runtime = new Runtime();
  runtime.blockOn(async () => {
    await sleep(1);
  });
  const awaits = polls.events.filter(({ isAwait }) => isAwait);
  expect(awaits.map(({ phase, id, name }) => [phase, id, name])).toEqual([
    ["start", 1, "blockOn"],
    ["end", 1, "blockOn"],
  ]);
  expect(drains.events.length).toBeGreaterThan(0);
});

test("each round publishes how many tasks are ready and alive, and how many timers are pending", () => {
  using rounds = collect("round");
  using runtime = new Runtime({ spinMicros: 0 });
  runtime.blockOn(function* () {
    spawn(sleep(5)).detach();
    yield* sleep(5);
  });
  expect(rounds.events[0]).toMatchObject({ ready: 0, alive: 2, timers: 2 });
});

test("a store bound to the poll channel is set during the polls of a task, and in its cleanup", () => {
  const storage = new AsyncLocalStorage<string>();
  const channel = traceChannel("poll");
  channel.bindStore(storage, ({ name }) => name);
  const seen: (string | undefined)[] = [];
  try {
    using runtime = new Runtime();
    runtime.blockOn(function* () {
      const task = spawn(
        function* () {
          seen.push(storage.getStore());
          try {
            yield* sleep(1e6);
          } finally {
            yield* yieldNow();
            seen.push(storage.getStore());
          }
        },
        { name: "worker" },
      );
      yield* yieldNow();
      task.abort();
      yield* yieldNow();
      yield* yieldNow();
      seen.push(storage.getStore());
    });
  } finally {
    expect(channel.unbindStore(storage)).toBe(true);
  }
  expect(seen).toEqual(["worker", "worker", "blockOn"]);
  expect(storage.getStore()).toBeUndefined();
});

test("a store bound to the poll channel stays set in an async function, after its awaits", () => {
  const storage = new AsyncLocalStorage<string>();
  const channel = traceChannel("poll");
  channel.bindStore(storage, ({ name }) => name);
  const seen: (string | undefined)[] = [];
  try {
    using runtime = new Runtime();
    runtime.spawn(
      async () => {
        seen.push(storage.getStore());
        await sleep(1);
        seen.push(storage.getStore());
      },
      { name: "function" },
    );
    runtime.block();
  } finally {
    channel.unbindStore(storage);
  }
  expect(seen).toEqual(["function", "function"]);
});

test("a task that throws while it is traced fails with its own error, and its poll ends", () => {
  using polls = collect("poll");
  using runtime = new Runtime();
  const error = new Error("mine");
  const work = function* () {
    throw error;
  };
  expect(caught(() => runtime.blockOn(work))).toBe(error);
  expect(polls.events.map(({ phase, isPending }) => [phase, isPending])).toEqual([
    ["start", undefined],
    ["end", false],
  ]);
});

test("traceChannel names the channels when there is no such channel", () => {
  expect(() => traceChannel("spawn" as "task")).toThrow(
    'traceChannel: name must be one of block, task, poll, drain, wake, park, round; got "spawn"',
  );
});
