// The watchdog: names the task that holds the thread, while it does.

import { expect, setDefaultTimeout, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { joinAll, Runtime, sleep, yieldNow } from "../../src/index.ts";
import { addLooker, type Inspected, removeLooker } from "../../src/inspect/console/inspected.ts";
import { type PollReader, pollLayout, pollReader } from "../../src/sys/poll-watch.ts";
import { root, run, start } from "../support/program.ts";

setDefaultTimeout(60_000); // the machine may be slow

const stuck = (...args: string[]) =>
  start(["bun", `${root}test/support/programs/stuck.ts`, ...args], {
    GUILLOTINE_WATCHDOG_MS: "50",
  });

test.each(["blockOn", "guest"])(
  "an endless loop in a coroutine is reported while it holds the thread of a %s",
  async (mode) => {
    await using program = stuck("coroutine", "forever", mode);
    const [line] = await program.until(/guilloti.*culprit.*\n/);
    expect(line).toMatch(
      /^guillotine: runtime 1: task #\d+ culprit\?x+ has held the thread for \d+ ms, and no other task runs\n$/,
    );
    await program.until(/(culprit.*\n[\s\S]*){3}/); // and again, less and less often
    expect(program.output()).not.toContain("innocent");
  },
);

test.each(["blockOn", "guest"])(
  "an endless loop after an `await` is reported while it holds the thread of a %s",
  async (mode) => {
    await using program = stuck("async", "forever", mode);
    await program.until(/task #\d+ culprit.* has held the thread/);
  },
);

test("a task that continues is reported with the duration, its wait and its stack", async () => {
  await using program = stuck("coroutine");
  expect(await program.exited).toBe(0);
  expect(program.output()).toMatch(
    /task culprit\\u000ax+ held the thread for \d{3} ms, and now waits on sleep, \d+ ms left\n {4}at coroutine \(.*stuck\.ts:\d+/,
  );
  expect(program.output()).toEndWith("done\n");
});

test("a task of a Worker is reported with the number of the Worker", async () => {
  const inWorker = `new Worker("./test/support/programs/stuck.ts", { argv: ["coroutine"] })`;
  await using program = start(["bun", "-e", inWorker], { GUILLOTINE_WATCHDOG_MS: "50" });
  await program.until(/^guillotine: runtime 1 of Worker 1: task .* held the thread/m);
});

test("an async function that continues is reported with the duration", async () => {
  await using program = stuck("async");
  expect(await program.exited).toBe(0);
  expect(program.output()).toMatch(/code after an await held the thread for \d{3} ms, in culprit/);
});

test("a program whose polls are short is not reported, and the watchdog lets it end", async () => {
  const { code, output } = await run(["bun", `${root}test/support/programs/traced.ts`], {
    env: { GUILLOTINE_WATCHDOG_MS: "10000" },
  });
  expect([code, output]).toEqual([0, ""]);
});

test("watchdogMs must be a number of at least 10 milliseconds", () => {
  for (const watchdogMs of [0, 9, -1, Number.NaN, Number.POSITIVE_INFINITY, "500" as never]) {
    expect(() => new Runtime({ watchdogMs })).toThrow(
      "options.watchdogMs must be a finite number >= 10",
    );
  }
});

const traced = (limit: string) =>
  run(["bun", `${root}test/support/programs/traced.ts`], {
    env: { GUILLOTINE_WATCHDOG_MS: limit },
  });

test("GUILLOTINE_WATCHDOG_MS must be such a number too, and 0 is no watchdog", async () => {
  for (const limit of ["9", "-1", "fast", "1e999"]) {
    const { code, output } = await traced(limit);
    expect(code).toBe(1);
    expect(output).toContain(
      `GUILLOTINE_WATCHDOG_MS must be a number of milliseconds >= 10; got "${limit}"`,
    );
  }
  expect(await traced("0")).toEqual({ code: 0, output: "" });
});

/** How many Workers this process has. A thread may end while this looks. */
function workers(): number {
  const names = readdirSync("/proc/self/task").map((thread) => {
    try {
      return readFileSync(`/proc/self/task/${thread}/comm`, "utf8");
    } catch {
      return "";
    }
  });
  return names.filter((name) => name === "Worker\n").length;
}

test("the helper thread of the watchdog ends with its runtime", async () => {
  const before = workers();
  {
    using runtime = new Runtime({ watchdogMs: 10 });
    runtime.blockOn(function* () {
      while (workers() === before) yield* sleep(1);
    });
  }
  while (workers() > before) await Bun.sleep(1);
});

/** Creates a runtime whose clock advances by `stepMs` with each reading, and reads what the watchdog would see of it. */
function watched(stepMs: number): { runtime: Runtime; reader: PollReader } & Disposable {
  let nowMs = 0;
  let reader: PollReader | null = null;
  const looker = {
    attach({ observer, tasks }: Inspected) {
      if (observer.runtime !== runtime.dumpJson().runtime) return;
      reader = pollReader(observer.sharePolls(tasks), pollLayout);
    },
    detach() {},
  };
  const runtime = new Runtime({ clock: { now: () => (nowMs += stepMs) } });
  addLooker(looker);
  if (reader === null) throw new Error("the runtime is in the list");
  return { runtime, reader, [Symbol.dispose]: () => removeLooker(looker) };
}

test("callbacks of Bun between two turns of a guest are code of no task, and code after an await is", async () => {
  using watch = watched(1); // one poll per turn: most turns end before the drain of their microtasks
  const { runtime, reader } = watch;
  const seen = { inTasks: [] as boolean[], inCallbacks: [] as number[] };
  let isOver = false;
  const tasks = ["a", "b"].map((name) =>
    runtime.spawn(
      async () => {
        while (!isOver) {
          await yieldNow();
          seen.inTasks.push(reader.poll() > 0 && reader.who().includes(name));
        }
      },
      { name },
    ),
  );
  for (let count = 0; count < 100; count++) {
    await new Promise<void>((resolve) =>
      setImmediate(() => {
        seen.inCallbacks.push(reader.poll());
        resolve();
      }),
    );
  }
  isOver = true;
  for (const task of tasks) await task;
  await runtime[Symbol.asyncDispose]();
  expect(seen.inTasks).toEqual(seen.inTasks.map(() => true));
  expect(seen.inTasks.length).toBeGreaterThan(10);
  expect(seen.inCallbacks).toEqual(seen.inCallbacks.map(() => 0));
});

test("code after an await may be that of each task whose await ended in an earlier round of the turn", async () => {
  using watch = watched(0); // the turn lasts until nothing is ready
  const { runtime, reader } = watch;
  const seen: string[] = [];
  await runtime.run(function* () {
    const tasks = Array.from({ length: 100 }, () =>
      runtime.spawn(async () => {
        await yieldNow();
        seen.push(reader.who().replace(/^.*, /, ""));
      }),
    );
    yield* joinAll(tasks);
  });
  await runtime[Symbol.asyncDispose]();
  expect(seen).toEqual(Array.from({ length: 100 }, () => "and 92 more"));
});
