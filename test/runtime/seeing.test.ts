// Seeing it run: traces, tasks, metrics, debug mode.

import { expect, setDefaultTimeout, test } from "bun:test";
import { subscribe, unsubscribe } from "node:diagnostics_channel";
import {
  Runtime,
  race,
  sleep,
  spawn,
  spawnBlocking,
  TimeoutError,
  timeout,
  yieldNow,
} from "../../src/index.ts";
import { caught, failureOf } from "../support/caught.ts";
import { untilIdle } from "../support/idle.ts";
import { root, run } from "../support/program.ts";
import { streamAndPeer } from "../support/sockets.ts";

setDefaultTimeout(60_000); // a slow machine is no failure

test("GUILLOTINE_TRACE=1 prints blocks, tasks, polls, wakes and parks, with ids and names", async () => {
  const code = `import { Runtime, sleep, spawn } from "${root}src/index.ts";
using runtime = new Runtime({ spinMicros: 0 });
runtime.blockOn(function* () { yield* spawn(sleep(1), { name: "napper" }); });`;
  const { output } = await run(["bun", "-e", code], { env: { GUILLOTINE_TRACE: "1" } });
  const lines = output
    .trim()
    .split("\n")
    .map((line) => line.replace(/^guillotine [\d.]+ /, ""));
  expect(lines).toEqual([
    "task start #1 blockOn",
    "block start blockOn",
    "poll start #1 blockOn",
    "task start #2 napper",
    "poll end #1 blockOn isPending=true",
    "poll start #2 napper",
    "poll end #2 napper isPending=true",
    "park start",
    "wake #2 napper",
    "park end",
    "poll start #2 napper",
    "poll end #2 napper isPending=false",
    "task end #2 napper outcome=value",
    "wake #1 blockOn",
    "poll start #1 blockOn",
    "poll end #1 blockOn isPending=false",
    "task end #1 blockOn outcome=value",
    "block end blockOn",
    "block start block",
    "block end block",
  ]);
});

test("a task that is aborted before the first turn is traced, too", async () => {
  const code = `import { Runtime, sleep } from "${root}src/index.ts";
const runtime = new Runtime();
runtime.spawn(sleep(1), { name: "early" }).abort();
runtime.block();`;
  const { output } = await run(["bun", "-e", code], { env: { GUILLOTINE_TRACE: "1" } });
  expect(output).toMatch(/task start #1 early\n[\s\S]*task end #1 early outcome=aborted\n/);
});

test("guest mode parks, too: it is traced and counted", async () => {
  const code = `import { Runtime, sleep } from "${root}src/index.ts";
await using runtime = new Runtime({ spinMicros: 0 });
await runtime.run(sleep(20));
console.error("parks", runtime.metrics().parks > 0);`;
  const { output } = await run(["bun", "-e", code], { env: { GUILLOTINE_TRACE: "1" } });
  expect(output).toMatch(/park start\n.*park end\n.*wake #1 run\n/);
  expect(output).toContain("parks true\n");
});

test("the same events are on diagnostics_channel, from the next turn on", () => {
  using runtime = new Runtime();
  const seen: unknown[] = [];
  const listener = (event: unknown): void => void seen.push(event);
  runtime.blockOn(function* () {
    yield* yieldNow();
    subscribe("guillotine:poll", listener);
    for (let turn = 0; turn < 61; turn++) yield* yieldNow(); // a turn is 61 polls, at most
    seen.length = 0;
    yield* yieldNow();
    unsubscribe("guillotine:poll", listener);
  });
  const { id } = seen[0] as { id: number };
  expect(seen).toEqual([
    { phase: "end", id, name: "blockOn", isPending: true },
    { phase: "start", id, name: "blockOn" },
  ]);
});

test("tasks() tells what each waits on", () => {
  using runtime = new Runtime();
  const { stream, source, peer } = streamAndPeer();
  const reader = runtime.spawn(stream.read(new Uint8Array(1)), { name: "reader" });
  const sleeper = runtime.spawn(sleep(1e6), { name: "sleeper" });
  const joiner = runtime.spawn(sleeper, { name: "joiner" });
  const job = runtime.spawnBlocking(() => Bun.sleepSync(20));
  const inside = runtime.blockOn(function* () {
    yield* untilIdle();
    return runtime.tasks();
  });
  const told = Object.fromEntries(
    inside.map(({ name, state, waitsOn }) => [name, `${state}: ${waitsOn}`]),
  );
  expect(told).toEqual({
    reader: `waiting: read fd ${source.fd}`,
    sleeper: expect.stringMatching(/^waiting: sleep until [\d.]+$/),
    joiner: "waiting: join sleeper",
    [job.name]: "waiting: a blocking job",
    blockOn: "running: nothing: it is being polled",
  });
  for (const handle of [reader, sleeper, joiner, job]) handle.abort();
  expect(runtime.tasks().map((task) => task.state)).toEqual(new Array(4).fill("cancelling"));
  runtime.block();
  stream.close();
  peer.close();
});

test("metrics() counts", () => {
  using runtime = new Runtime({ spinMicros: 0 });
  expect(runtime.metrics()).toEqual({
    tasksAlive: 0,
    tasksEnded: 0,
    polls: 0,
    wakes: 0,
    rounds: 0,
    events: 0,
    parks: 0,
    timers: 0,
    sources: 0,
    jobs: 0,
  });
  runtime.spawn(sleep(1e6));
  runtime.blockOn(function* () {
    yield* spawn(yieldNow());
    yield* sleep(1);
    const job = spawnBlocking(() => 1);
    expect(runtime.metrics().jobs).toBe(1);
    yield* job;
  });
  const metrics = runtime.metrics();
  expect(metrics).toMatchObject({ tasksAlive: 1, tasksEnded: 3, timers: 1, sources: 2, jobs: 0 });
  expect(metrics.parks).toBeGreaterThanOrEqual(2);
  expect(metrics.rounds).toBeGreaterThanOrEqual(metrics.parks);
  expect(metrics.polls).toBe(metrics.wakes);
});

test("debug: where a task was spawned, in tasks() and in the stack of its error", () => {
  using runtime = new Runtime({ debug: true });
  runtime.spawn(sleep(1e6));
  expect(runtime.tasks()[0]?.spawnedAt).toMatch(/seeing\.test\.ts:\d+/);
  const failing = runtime.spawn(
    async () => {
      throw new Error("deep");
    },
    { name: "failing" },
  );
  const { stack } = caught(() => runtime.blockOn(failing)) as Error;
  expect(stack).toMatch(/in task failing, spawned at .*seeing\.test\.ts:\d+/);
});

test("debug: where what an async function awaits was made is in the stack of its error", async () => {
  await using runtime = new Runtime({ debug: true });
  async function inner(): Promise<never> {
    return await timeout(1, new Promise<never>(() => {}));
  }
  async function outer(): Promise<void> {
    await race(inner, sleep(1e6));
  }
  const error = await runtime.run(outer).catch((reason) => reason);
  expect(error).toBeInstanceOf(TimeoutError);
  expect(error.stack.match(/in a future created at \w+/g)).toEqual([
    "in a future created at inner",
    "in a future created at outer",
  ]);
});

test("debug: a frozen error arrives as it is, and wakes who joins", () => {
  using runtime = new Runtime({ debug: true });
  const frozen = Object.freeze(new Error("frozen"));
  const thrown = runtime.blockOn(function* () {
    const handle = spawn(function* () {
      yield* yieldNow();
      throw frozen;
    });
    return yield* failureOf(handle);
  });
  expect(thrown).toBe(frozen);
});

test("debug: a future that was forgotten is reported with where it was made; others are not", async () => {
  const code = `
import { interval, join, Runtime, sleep, spawn, race, fromPromise, timeout } from "${root}src/index.ts";
const runtime = new Runtime();
runtime.blockOn(function* () {
  const ticks = interval(1);
  for (let i = 0; i < 100; i++) {
    yield* sleep(0);
    spawn(sleep(0)); // a handle may be left alone
    sleep(1).drop();
    yield* race(ticks.tick(), sleep(0));
    yield* timeout(1e6, () => sleep(0)); // a function, and no async one
    yield* timeout(1e6, async () => { await join(sleep(0), sleep(0)); });
  }
  yield* fromPromise(Promise.resolve());
});
for (let i = 0; i < 10; i++) {
  try { // cancelled before they were polled
    runtime.blockOn(join(function* () { throw 1; }, race(sleep(1), sleep(2)), async () => sleep(3)));
  } catch {}
}
(function forgetful() { for (let i = 0; i < 10; i++) { sleep(12345); race(sleep(1), sleep(2)); } })();
runtime[Symbol.dispose]();
for (let i = 0; i < 10; i++) { Bun.gc(true); await new Promise((r) => setTimeout(r, 1)); }
`;
  const file = `${root}test/support/forgetful.tmp.ts`;
  await Bun.write(file, code);
  try {
    const { output } = await run(["bun", file], { env: { GUILLOTINE_DEBUG: "1" } });
    const sites = [...output.matchAll(/error: a future was created at (.*) and never polled/g)];
    expect(sites.length).toBeGreaterThan(0);
    for (const [, site] of sites) expect(site).toMatch(/^forgetful .*forgetful\.tmp\.ts:\d+/);
  } finally {
    await Bun.file(file).delete();
  }
});

test("debug: a forgotten one is reported, too, if the socket or the channel that made it lives on", async () => {
  const code = `
import { mpsc, Runtime, UdpSocket } from "${root}src/index.ts";
using runtime = new Runtime();
const many = (make) => Array.from({ length: 10 }, make); // the collector may miss some
const channels = many(() => mpsc(1));
const sockets = many(() => UdpSocket.bind("127.0.0.1:0"));
function sending() { for (const { sender } of channels) sender.send(1); }
function receiving() { for (const { receiver } of channels) receiver.recv(); }
function hearing() { for (const socket of sockets) socket.recv(new Uint8Array(1)); }
runtime.blockOn(function* () { sending(); receiving(); hearing(); });
for (let i = 0; i < 10; i++) { Bun.gc(true); await new Promise((r) => setTimeout(r, 1)); }
for (const { sender, receiver } of channels) { sender.close(); receiver.close(); }
for (const socket of sockets) socket.close();
`;
  const { output } = await run(["bun", "-e", code], { env: { GUILLOTINE_DEBUG: "1" } });
  const sites = [...output.matchAll(/a future was created at (\w+)/g)].map(([, name]) => name);
  expect(new Set(sites)).toEqual(new Set(["sending", "receiving", "hearing"]));
});
