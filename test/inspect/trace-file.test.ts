// The trace as a file: its format, its bounds, and what a killed process leaves.

import { afterAll, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join as joinPath } from "node:path";
import { mpsc, Runtime, sleep, spawn, yieldNow } from "../../src/index.ts";
import { traceChannel, traceToFile } from "../../src/inspect/index.ts";
import { openFds } from "../support/fds.ts";
import { root, run, start } from "../support/program.ts";
import { type ChromeEvent, eventsAfterKill, violations } from "../support/trace-format.ts";

setDefaultTimeout(60_000); // the machine may be slow

const directory = mkdtempSync(joinPath(tmpdir(), "guillotine-trace-"));
afterAll(() => rmSync(directory, { recursive: true }));

let files = 0;
const newPath = (): string => joinPath(directory, `${++files}.json`);
const eventsIn = (path: string): ChromeEvent[] => JSON.parse(readFileSync(path, "utf8"));

/** Traces what `perform` does with a runtime. Returns the events. */
function traceOf(perform: (runtime: Runtime) => void): ChromeEvent[] {
  const path = newPath();
  {
    using _ = traceToFile(path);
    using runtime = new Runtime({ spinMicros: 0 });
    perform(runtime);
  }
  return eventsIn(path);
}

/** Work of all kinds: channels, sleeps, async functions, failures, aborts. */
function* variedWork() {
  const { sender, receiver } = mpsc<number>(1);
  spawn(
    function* () {
      for (let message = 0; message < 10; message++) yield* sender.send(message);
      sender.close();
    },
    { name: "sender" },
  ).detach();
  const receiving = spawn(
    async () => {
      while (!(await receiver.recv()).done) await sleep(0.1);
    },
    { name: "receiver" },
  );
  const aborted = spawn(sleep(1e6), { name: '<script>"\u0000' });
  yield* yieldNow();
  aborted.abort();
  yield* receiving;
}

test("a trace of varied work keeps the rules of the format", () => {
  const events = traceOf((runtime) => runtime.blockOn(variedWork));
  expect(violations(events)).toEqual([]);
  expect(new Set(events.map(({ ph }) => ph))).toEqual(
    new Set(["M", "B", "E", "X", "i", "C", "s", "f"]),
  );
});

test("the checker of the format finds an unbalanced slice, and a flow outside a slice", () => {
  const event = { pid: 1, tid: 1, ts: 1, name: "a", cat: "wake", id: 1 };
  const track = { ...event, ph: "M", name: "thread_name", args: {} };
  expect(violations([track, { ...event, ph: "E" }])).toHaveLength(1);
  expect(violations([track, { ...event, ph: "s" }])).toHaveLength(1);
});

test("each task has a track with its name and its parent, polls are its slices, and its end is an instant", () => {
  const events = traceOf((runtime) => {
    runtime.blockOn(function* () {
      yield* spawn(sleep(1), { name: "napper" });
    });
  });
  const track = events.find(({ args }) => args?.name === "#2 napper");
  expect(track).toMatchObject({ ph: "M", name: "thread_name", tid: 2, args: { parent: 1 } });
  const own = events.filter(({ ph, pid, tid }) => ph !== "M" && pid === track?.pid && tid === 2);
  expect(own.map(({ ph, name }) => [ph, name])).toEqual([
    ["B", "napper"],
    ["E", "napper"],
    ["B", "napper"],
    ["f", "wake"],
    ["E", "napper"],
    ["i", "ended: value"],
  ]);
});

test("a wake by a task is a flow from its poll, and a wake by a timer one from the run loop", () => {
  const events = traceOf((runtime) => {
    runtime.blockOn(function* () {
      const { sender, receiver } = mpsc<number>(1);
      spawn(receiver.recv(), { name: "receiver" }).detach();
      yield* sleep(1);
      yield* sender.send(1);
      yield* yieldNow();
    });
  });
  const starts = events.filter(({ ph }) => ph === "s");
  const end = events.find(({ ph, tid }) => ph === "f" && tid === 2);
  expect(starts.find(({ id }) => id === end?.id)?.tid).toBe(1); // blockOn
  const timer = events.find(({ ph, name }) => ph === "X" && name === "wake blockOn");
  expect(starts[0]).toMatchObject({ tid: timer?.tid, ts: timer?.ts });
});

test("counters show the ready tasks and the pending timers", () => {
  const events = traceOf((runtime) => {
    runtime.blockOn(function* () {
      spawn(sleep(5)).detach();
      yield* sleep(5);
    });
  });
  const counters = events.filter(({ ph }) => ph === "C");
  expect(counters.slice(0, 2).map(({ name, args }) => [name, args])).toEqual([
    ["tasks", { ready: 0, alive: 2 }],
    ["timers", { pending: 2 }],
  ]);
});

test("the file is valid while the trace goes on, and a disposed trace leaves neither fd nor subscriber", () => {
  const path = newPath();
  const before = openFds();
  {
    using _ = traceToFile(path);
    using runtime = new Runtime({ spinMicros: 0 });
    runtime.blockOn(sleep(20));
    expect(violations(eventsIn(path))).toEqual([]);
    for (const same of [path, `${directory}/./${basename(path)}`]) {
      expect(() => traceToFile(same)).toThrow("already writes a trace");
    }
  }
  expect(openFds()).toEqual(before);
  expect(traceChannel("poll").hasSubscribers).toBe(false);
});

test("a trace that begins and ends inside a poll, while another one goes on, is valid", () => {
  const path = newPath();
  const other = traceOf((runtime) => {
    runtime.blockOn(function* () {
      const trace = traceToFile(path);
      yield* spawn(sleep(1), { name: "napper" });
      trace[Symbol.dispose]();
      yield* yieldNow();
    });
  });
  expect(violations(other)).toEqual([]);
  expect(violations(eventsIn(path))).toEqual([]);
  expect(eventsIn(path).some(({ name }) => name === "napper")).toBe(true);
});

test.each([65_536, 200_000])(
  "a trace ends with a warning once a write would exceed %d bytes, and not before",
  async (maxBytes) => {
    const path = newPath();
    const warnings: string[] = [];
    const onWarning = (warning: Error): void => void warnings.push(warning.message);
    process.on("warning", onWarning);
    {
      using _ = traceToFile(path, { maxBytes });
      using runtime = new Runtime();
      runtime.blockOn(function* () {
        for (let turn = 0; turn < 5000; turn++) yield* yieldNow();
      });
    }
    await new Promise((resolve) => setImmediate(resolve));
    process.off("warning", onWarning);
    expect(warnings).toEqual([`the trace ${path} has reached ${maxBytes} bytes, and ended`]);
    expect(statSync(path).size).toBeLessThanOrEqual(maxBytes);
    expect(statSync(path).size).toBeGreaterThan(maxBytes - 2 * 4096); // a write has about 4096 bytes
    expect(() => eventsIn(path)).not.toThrow();
  },
);

test("GUILLOTINE_TRACE=path leaves a valid file also when the process is killed", async () => {
  const path = newPath();
  await using program = start(["bun", `${root}test/support/programs/traced-file.ts`], {
    GUILLOTINE_TRACE: path,
  });
  await program.until(/running/);
  process.kill(program.pid, "SIGKILL");
  await program.exited;
  const events = eventsAfterKill(readFileSync(path, "utf8"));
  expect(violations(events)).toEqual([]);
  expect(events.some(({ name, ph }) => ph === "B" && name === "busy")).toBe(true);
});

test("GUILLOTINE_TRACE=path writes the last events when the process exits", async () => {
  const path = newPath();
  const { code, output } = await run(["bun", `${root}test/support/programs/traced.ts`], {
    env: { GUILLOTINE_TRACE: path },
  });
  expect([code, output]).toEqual([0, ""]);
  const events = eventsIn(path);
  expect(violations(events)).toEqual([]);
  expect(events.at(-1)).toMatchObject({ ph: "E", name: "block" });
});

test("the error for a path that GUILLOTINE_TRACE names and that cannot be created names the variable", async () => {
  const path = joinPath(directory, "none", "trace.json");
  const { code, output } = await run(["bun", `${root}test/support/programs/traced.ts`], {
    env: { GUILLOTINE_TRACE: path },
  });
  expect(code).toBe(1);
  expect(output).toContain("GUILLOTINE_TRACE: ENOENT: no such file or directory");
});

test("a full disk ends the trace with a warning, and the program goes on", async () => {
  const { code, output } = await run(["bun", `${root}test/support/programs/traced.ts`], {
    env: { GUILLOTINE_TRACE: "/dev/full" },
  });
  expect(code).toBe(0);
  expect(output).toContain("the trace /dev/full could not be written, and ended: Error: ENOSPC");
});

test("traceToFile refuses a bad path, a bad size, and a path that cannot be created", () => {
  expect(() => traceToFile("")).toThrow('traceToFile: path must be a non-empty string; got ""');
  expect(() => traceToFile(newPath(), { maxBytes: 1 })).toThrow(
    "options.maxBytes must be a number >= 65536; got 1",
  );
  expect(() => traceToFile(joinPath(directory, "none", "trace.json"))).toThrow("ENOENT");
});
