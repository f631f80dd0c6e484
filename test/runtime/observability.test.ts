// Observability: traces, tasks(), metrics(), and debug mode.

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
import { VirtualClock } from "../support/virtual-clock.ts";

setDefaultTimeout(60_000); // the machine may be slow

/** Runs a program of test/support/programs and returns what it has written to stdout and stderr. */
async function outputOf(program: string, env: Record<string, string>): Promise<string> {
  const { code, output } = await run(["bun", `${root}test/support/programs/${program}.ts`], {
    env,
  });
  expect([code, output]).toEqual([0, output]);
  return output;
}

test("GUILLOTINE_TRACE=1 prints blocks, tasks, polls, wakes and parks, with ids and names", async () => {
  const output = await outputOf("traced", { GUILLOTINE_TRACE: "1" });
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

test("the trace has the start and the end of a task that is aborted before its first turn", async () => {
  const output = await outputOf("traced-abort", { GUILLOTINE_TRACE: "1" });
  expect(output).toMatch(/task start #1 early\n[\s\S]*task end #1 early outcome=aborted\n/);
});

test("a park in guest mode is traced and counted", async () => {
  const output = await outputOf("traced-guest", { GUILLOTINE_TRACE: "1" });
  expect(output).toMatch(/park start\n.*park end\n.*wake #1 run\n/);
  expect(output).toContain("parks true\n");
});

test("diagnostics_channel publishes polls from the turn after the subscription", () => {
  using runtime = new Runtime();
  const seen: unknown[] = [];
  const listener = (event: unknown): void => void seen.push(event);
  runtime.blockOn(function* () {
    yield* yieldNow();
    subscribe("guillotine:poll", listener);
    for (let turn = 0; turn < 61; turn++) yield* yieldNow(); // a turn has at most 61 polls
    seen.length = 0;
    yield* yieldNow();
    unsubscribe("guillotine:poll", listener);
  });
  const { id, runtime: number } = seen[0] as { id: number; runtime: number };
  const poll = { runtime: number, id, name: "blockOn", parent: null };
  expect(seen).toEqual([
    { ...poll, phase: "end", isPending: true },
    { ...poll, phase: "start" },
  ]);
});

test("tasks() lists each task with its state and what it waits on", () => {
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
  const states = Object.fromEntries(
    inside.map(({ name, state, waitsOn }) => [name, `${state}: ${waitsOn}`]),
  );
  expect(states).toEqual({
    reader: expect.stringMatching(
      new RegExp(`^waiting: read 127.0.0.1:\\d+ \\(fd ${source.fd}\\)$`),
    ),
    sleeper: expect.stringMatching(/^waiting: sleep, \d+ ms left$/),
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

test("metrics() counts tasks, polls, wakes, rounds, parks, timers, sources and jobs", () => {
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

test("an observed runtime shows how often and how long each task was polled, and its age", () => {
  const clock = new VirtualClock();
  using runtime = new Runtime({ clock });
  const infoOf = (name: string) => runtime.tasks().find((task) => task.name === name);
  const busy = function* () {
    for (const ms of [5, 1, 2]) {
      clock.advanceTo(clock.now() + ms); // the time that this poll takes
      yield* yieldNow();
    }
    yield* sleep(1e6);
  };
  runtime.spawn(sleep(1e6), { name: "older" });
  runtime.spawn(busy, { name: "unseen" }).abort();
  runtime.blockOn(yieldNow());
  expect(Object.keys(infoOf("older") ?? {})).not.toContain("polls");
  {
    using _ = runtime.observe();
    runtime.spawn(busy, { name: "busy" });
    runtime.blockOn(untilIdle());
    expect(infoOf("busy")).toMatchObject({ polls: 4, busyMs: 8, longestPollMs: 5, ageMs: 8 });
    expect(infoOf("older")).not.toHaveProperty("ageMs"); // it is older than the observation
  }
  expect(infoOf("busy")).not.toHaveProperty("polls");
});

test("the polls of an observed async function include those of what it awaits", () => {
  using runtime = new Runtime({ debug: true });
  runtime.spawn(
    async () => {
      for (let step = 0; step < 3; step++) await yieldNow();
      await sleep(1e6);
    },
    { name: "function" },
  );
  runtime.blockOn(untilIdle());
  const [info] = runtime.tasks();
  expect(info?.polls).toBeGreaterThan(3);
});

test("a task shows the task that spawned it", () => {
  using runtime = new Runtime();
  runtime.blockOn(function* () {
    spawn(sleep(1e6)).detach();
    spawn(async () => {
      await yieldNow();
      spawn(sleep(1e6)).detach();
      await sleep(1e6);
    }).detach();
    yield* untilIdle();
    expect(runtime.tasks().map(({ id, spawner }) => [id, spawner])).toEqual([
      [1, 0],
      [2, 1],
      [3, 1],
      [4, 3],
    ]);
  });
});

test("debug mode shows where a task was spawned, in tasks() and in the stack of its error", () => {
  using runtime = new Runtime({ debug: true });
  runtime.spawn(sleep(1e6));
  expect(runtime.tasks()[0]?.spawnedAt).toMatch(/observability\.test\.ts:\d+/);
  const failing = runtime.spawn(
    async () => {
      throw new Error("deep");
    },
    { name: "failing" },
  );
  const { stack } = caught(() => runtime.blockOn(failing)) as Error;
  expect(stack).toMatch(/in task failing, spawned at .*observability\.test\.ts:\d+/);
});

test("debug mode shows where an awaited future was created, in the stack of its error", async () => {
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

test("debug mode does not let the stack of a shared error grow with each task that throws it", () => {
  using runtime = new Runtime({ debug: true });
  const shared = new Error("shared");
  const sizes: (number | undefined)[] = [];
  runtime.blockOn(async () => {
    for (let task = 0; task < 100; task++) {
      await spawn(() => Promise.reject(shared)).catch(() => {});
      sizes.push(shared.stack?.length);
    }
  });
  expect(sizes[1]).toBeGreaterThan(sizes[0]!);
  expect(sizes[99]).toBe(sizes[50]);
});

test("debug mode leaves a frozen error unchanged, and the joining task receives it", () => {
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

/** The creation sites in the reports of futures that were never polled. */
function forgottenIn(output: string): string[] {
  const reports = output.matchAll(/^guillotine: a future was created at (.*) and never polled/gm);
  return [...reports].map(([, site = ""]) => site);
}

test("debug mode reports a forgotten future when it is collected, and no other future", async () => {
  const output = await outputOf("forgetful", { GUILLOTINE_DEBUG: "1" });
  const [beforeExit = ""] = output.split("exiting");
  expect(forgottenIn(beforeExit).length).toBeGreaterThan(0);
  for (const site of forgottenIn(output)) expect(site).toMatch(/^forgetful .*forgetful\.ts:\d+/);
});

test("debug mode reports a forgotten `yield*` at exit, with the user's file and line", async () => {
  const output = await outputOf("forgotten-yield", { GUILLOTINE_DEBUG: "1" });
  expect(output).toStartWith("done\n");
  expect(output).toEndWith("and never polled: is a `yield*` or an `await` missing?\n");
  const path = "test/support/programs/forgotten-yield.ts";
  const lines = (await Bun.file(root + path).text()).split("\n");
  const line = lines.findIndex((text) => text.includes("is missing")) + 1;
  expect(forgottenIn(output)).toEqual([
    expect.stringMatching(new RegExp(`^work .*${path}:${line}:`)),
  ]);
});

test("debug mode reports a forgotten future in a script that creates no runtime", async () => {
  const output = await outputOf("forgotten-await", { GUILLOTINE_DEBUG: "1" });
  expect(output).toStartWith("done\n");
  const path = "test/support/programs/forgotten-await.ts";
  expect(forgottenIn(output)).toEqual([expect.stringMatching(new RegExp(`^save .*${path}:7:`))]);
  expect(await outputOf("forgotten-await", {})).toBe("done\n");
});

test("debug mode warns of a promise where only a function could be cancelled, and says what to write instead", async () => {
  const output = await outputOf("promise-as-work", { GUILLOTINE_DEBUG: "1" });
  const warnings = output.matchAll(
    /PROMISE_AS_WORK\] Warning: (\w+) at .*promise-as-work.ts:(\d+):/g,
  );
  expect([...warnings].map(([, name, line]) => `${name} ${line}`)).toEqual([
    "timeout 20",
    "deadline 21",
    "orUndefined 22",
    "withSignal 23",
    "spawn 24",
  ]);
  expect(output).toContain(
    "Pass the function: () => work(). To only stop waiting, pass fromPromise",
  );
  expect(await outputOf("promise-as-work", {})).toBe("");
});

test("debug mode reports a forgotten future that its channel or socket keeps", async () => {
  const sites = forgottenIn(await outputOf("forgetful-owners", { GUILLOTINE_DEBUG: "1" }));
  const names = sites.map((site) => site.split(" ")[0]);
  expect(new Set(names)).toEqual(new Set(["sending", "receiving", "hearing"]));
});
