// Traces of real programs, imported by Perfetto's own trace processor, which answers queries about them. Skipped without
// `bun run install:perfetto`: .ci/run does that, but who only runs the tests need not download 25 MB.

import { afterAll, expect, setDefaultTimeout, test } from "bun:test";
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join as joinPath } from "node:path";
import { Runtime, sleep } from "../../src/index.ts";
import { traceToFile } from "../../src/inspect/index.ts";
import { untilIdle } from "../support/idle.ts";
import { type Program, root, run, start } from "../support/program.ts";
import { type ChromeEvent, eventsAfterKill } from "../support/trace-format.ts";

setDefaultTimeout(60_000); // the machine may be slow

const folder = `${root}test/support/perfetto/`;
const isInstalled = existsSync(`${folder}node_modules`);
const perfettoTest = test.skipIf(!isInstalled);

const directory = mkdtempSync(joinPath(tmpdir(), "guillotine-perfetto-"));
afterAll(() => rmSync(directory, { recursive: true }));
const newPath = (name: string): string => joinPath(directory, `${name}.json`);

type Row = Record<string, string | number | null | undefined>;

/** Imports a trace. Returns the rows that answer each query. */
async function ask<N extends string>(
  path: string,
  queries: Record<N, string>,
): Promise<Record<N, Row[]>> {
  const texts: string[] = Object.values(queries);
  const { code, output } = await run(["bun", `${folder}processor.ts`, path, ...texts]);
  if (code !== 0) throw new Error(output);
  const answers: Row[][] = JSON.parse(output.slice(output.lastIndexOf("[[")));
  return Object.fromEntries(
    Object.keys(queries).map((name, index) => [name, answers[index]]),
  ) as Record<N, Row[]>;
}

const QUERIES = {
  /** What Perfetto could not import, or had to drop. */
  errors: `SELECT name, value FROM stats
    WHERE value > 0 AND (severity IN ('error', 'data_loss') OR name LIKE 'flow%') ORDER BY name`,
  runtimes: "SELECT name FROM process WHERE pid > 0",
  tracks: "SELECT tid, name FROM thread WHERE tid > 0 ORDER BY tid",
  slices: "SELECT count() AS number FROM slice",
  /** Slices without an end. */
  open: "SELECT name FROM slice WHERE dur < 0",
  flows: "SELECT count() AS number FROM flow",
  /** Of each flow: the track where it ends, and the slice. */
  ends: `SELECT DISTINCT thread.tid, slice.name FROM flow
    JOIN slice ON slice.id = flow.slice_in JOIN thread_track ON thread_track.id = slice.track_id
    JOIN thread USING (utid) ORDER BY thread.tid`,
  backwards: `SELECT flow.id FROM flow JOIN slice AS a ON a.id = slice_out
    JOIN slice AS b ON b.id = slice_in WHERE a.ts > b.ts`,
  counters: `SELECT t.name, count() AS samples, max(value) AS most FROM counter
    JOIN counter_track AS t ON t.id = track_id GROUP BY t.name ORDER BY t.name`,
};

const numberOf = (events: readonly ChromeEvent[], phases: string): number =>
  events.filter(({ ph }) => phases.includes(ph)).length;

/** Asserts that Perfetto has all that the file has. Returns the answers. */
async function expectImported(path: string, events: readonly ChromeEvent[]) {
  const answers = await ask(path, QUERIES);
  expect(answers.errors).toEqual([]);
  expect(answers.runtimes).toEqual([{ name: "runtime 1" }]);
  const tracks = new Map<number, unknown>();
  for (const { name, tid, args } of events) if (name === "thread_name") tracks.set(tid, args?.name);
  expect(answers.tracks).toEqual(
    [...tracks].sort(([a], [b]) => a - b).map(([tid, name]) => ({ tid, name: name as string })),
  );
  expect(answers.slices).toEqual([{ number: numberOf(events, "BXi") }]);
  expect(answers.flows).toEqual([{ number: numberOf(events, "f") }]);
  expect(answers.backwards).toEqual([]);
  const samples = numberOf(events, "C") / 2; // the counter "tasks" has two values, and "timers" one
  expect(answers.counters).toMatchObject([
    { name: "tasks alive", samples },
    { name: "tasks ready", samples },
    { name: "timers pending", samples },
  ]);
  return answers;
}

const CLIENTS = 3;

/** Starts a traced mini-redis, and sends it requests on several connections until `replies` have arrived on each. */
async function busyRedis(path: string, replies: number): Promise<Program> {
  const program = start(["bun", "run", "examples/mini-redis.ts", "0"], { GUILLOTINE_TRACE: path });
  const [, port] = await program.until(/:(\d+)/);
  const clients = Array.from({ length: CLIENTS }, async () => {
    let left = replies;
    const done = Promise.withResolvers<void>();
    await Bun.connect({
      hostname: "127.0.0.1",
      port: Number(port),
      socket: {
        open: (socket) => void socket.write("SET key value EX 100\r\n"),
        data(socket) {
          if (left-- === 0) done.resolve(); // and goes on: the server is busy when it is killed
          socket.write("INCR number\r\n");
        },
      },
    });
    await done.promise;
  });
  await Promise.all(clients);
  return program;
}

perfettoTest(
  "Perfetto imports the trace of a server, with each task, poll, wake and counter",
  async () => {
    const path = newPath("redis");
    await using program = await busyRedis(path, 100);
    process.kill(program.pid, "SIGINT");
    expect(await program.exited).toBe(0);
    const events: ChromeEvent[] = JSON.parse(readFileSync(path, "utf8"));
    const { tracks, open, ends, counters, flows } = await expectImported(path, events);
    expect(open).toEqual([]);
    // Each flow ends in a poll of the task that it woke, on the track of that task.
    for (const { tid, name } of ends) {
      expect(tracks).toContainEqual({ tid, name: name === `#${tid}` ? name : `#${tid} ${name}` });
    }
    expect(ends.length).toBeGreaterThanOrEqual(CLIENTS);
    expect(flows[0]?.number).toBeGreaterThan(100);
    expect(counters.find(({ name }) => name === "tasks alive")?.most).toBeGreaterThan(CLIENTS);
  },
);

perfettoTest(
  "Perfetto imports the trace of a server that was killed while it was busy",
  async () => {
    const path = newPath("killed");
    await using program = await busyRedis(path, 300);
    process.kill(program.pid, "SIGKILL");
    await program.exited;
    const { open } = await expectImported(path, eventsAfterKill(readFileSync(path, "utf8")));
    expect(open.length).toBeLessThanOrEqual(3); // at most `blockOn`, a turn in it, and a poll
  },
);

perfettoTest("Perfetto imports a trace whose last write was cut anywhere", async () => {
  const path = newPath("whole");
  {
    using _ = traceToFile(path);
    using runtime = new Runtime();
    runtime.blockOn(sleep(1));
  }
  const text = readFileSync(path, "utf8");
  const cut = newPath("cut");
  const lastLine = text.lastIndexOf("\n{") + 1;
  for (const end of [lastLine - 2, lastLine + 40]) {
    writeFileSync(cut, text.slice(0, end));
    const { errors, slices } = await ask(cut, QUERIES);
    expect(errors).toEqual([]);
    expect(slices).toEqual([{ number: numberOf(JSON.parse(text), "BXi") }]); // the last line is an E
  }
});

perfettoTest("Perfetto imports hostile names, with what it cannot show escaped", async () => {
  const path = newPath("names");
  const names = [
    ['"}]\n{"ph":"E"}', '"}]\\u000a{"ph":"E"}'],
    ["<script>alert(1)</script>\\", "<script>alert(1)</script>\\"],
    ["\u202e\ud83d\ude00\u001b[2J", "\\u202e\ud83d\ude00\\u001b[2J"],
    ["NUL \u0000, half of an emoji \ud83d", "NUL \\u0000, half of an emoji \\ud83d"],
    ["x".repeat(1e6), `${"x".repeat(200)}...`],
  ] as const;
  {
    using _ = traceToFile(path);
    using runtime = new Runtime();
    for (const [name] of names) runtime.spawn(sleep(1e6), { name });
    runtime.blockOn(untilIdle());
  }
  expect(statSync(path).size).toBeLessThan(50_000);
  const { errors, tracks } = await ask(path, QUERIES);
  expect(errors).toEqual([]);
  const shown = names.map(([, name], index) => ({ tid: index + 1, name: `#${index + 1} ${name}` }));
  expect(tracks.slice(0, names.length)).toEqual(shown);
});

perfettoTest("the queries find a trace that is wrong", async () => {
  const path = newPath("wrong");
  const event = { pid: 1, tid: 1, name: "wake", cat: "wake", id: 7, bp: "e" };
  const events = ["B", "f", "E", "s"].map((ph, index) => ({ ...event, ph, ts: index + 1 }));
  writeFileSync(path, JSON.stringify(events));
  const { errors } = await ask(path, QUERIES);
  expect(errors.map(({ name }) => name)).toEqual([
    "flow_end_without_start",
    "flow_no_enclosing_slice",
  ]);
});
