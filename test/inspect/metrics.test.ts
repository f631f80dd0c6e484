// Metrics of an observed runtime, and their text for Prometheus.

import { expect, setDefaultTimeout, test } from "bun:test";
import parsePrometheus from "parse-prometheus-text-format";
import { Histogram } from "../../src/base/histogram.ts";
import { type HistogramCounts, Runtime, sleep, spawn, yieldNow } from "../../src/index.ts";
import { toPrometheus, traceToFile } from "../../src/inspect/index.ts";
import { untilIdle } from "../support/idle.ts";
import { VirtualClock } from "../support/virtual-clock.ts";

setDefaultTimeout(60_000); // the machine may be slow

/** The ranges of a histogram that are not empty, as `[lower bound, upper bound, count]`. */
function ranges({ boundsMs, counts }: HistogramCounts): [number, number, number][] {
  const all = counts.map((count, index): [number, number, number] => {
    return [boundsMs[index - 1] ?? 0, boundsMs[index] ?? Number.POSITIVE_INFINITY, count];
  });
  return all.filter(([, , count]) => count > 0);
}

test("a histogram counts each duration in the range that contains it, with the smallest and the largest", () => {
  const histogram = new Histogram();
  for (const ms of [0, 2 ** -10, 1, 1.5, 2, 16_384, 1e9]) histogram.add(ms);
  const read = histogram.read();
  expect(ranges(read)).toEqual([
    [0, 2 ** -10, 2],
    [0.5, 1, 1],
    [1, 2, 2],
    [8192, 16_384, 1],
    [16_384, Number.POSITIVE_INFINITY, 1],
  ]);
  expect(read).toMatchObject({ count: 7, maxMs: 1e9, sumMs: 16_388.5 + 2 ** -10 + 1e9 });
});

test("an observed runtime measures its polls, and the time between wakes and polls", () => {
  const clock = new VirtualClock();
  using runtime = new Runtime({ clock });
  expect(runtime.metrics().observed).toBeUndefined();
  using _ = runtime.observe();
  const work = function* () {
    clock.advanceTo(clock.now() + 3); // the poll takes that long, and the other task waits meanwhile
    yield* yieldNow();
  };
  runtime.spawn(work);
  runtime.spawn(work);
  runtime.block();
  runtime.blockOn(sleep(14));
  const { observed } = runtime.metrics();
  expect(ranges(observed?.pollMs as HistogramCounts).at(-1)).toEqual([2, 4, 2]);
  // The first task woke itself, then the second one took its turn.
  expect(ranges(observed?.latencyMs as HistogramCounts).at(-1)).toEqual([2, 4, 1]);
  expect(observed).toMatchObject({ observedMs: 20, busyRatio: 0.3 });
  expect(observed?.turnMs).toMatchObject({ maxMs: 6 });
});

test("an observed poll reads the clock twice, and a poll reads none when nobody looks, or has stopped looking", () => {
  let readings = 0;
  const clock = new (class extends VirtualClock {
    override now(): number {
      readings++;
      return super.now();
    }
  })();
  using runtime = new Runtime({ clock });
  /** How many more readings 100 polls cost. */
  const costOfPolls = (): number => {
    const readingsOf = (polls: number): number => {
      readings = 0;
      runtime.blockOn(function* () {
        for (let poll = 0; poll < polls; poll++) yield* yieldNow();
      });
      return readings;
    };
    return readingsOf(150) - readingsOf(50);
  };
  expect(costOfPolls()).toBeLessThan(10); // per turn
  {
    using _ = runtime.observe();
    expect(costOfPolls()).toBeGreaterThanOrEqual(200);
  }
  {
    using _ = traceToFile("/dev/null");
    runtime.blockOn(yieldNow());
  }
  expect(costOfPolls()).toBeLessThan(10);
});

test("a guest measures how late Bun's loop runs its turns", async () => {
  await using runtime = new Runtime();
  using _ = runtime.observe();
  const napping = runtime.run(function* () {
    for (let nap = 0; nap < 3; nap++) yield* sleep(2);
  });
  setImmediate(() => Bun.sleepSync(30));
  await napping;
  const { observed } = runtime.metrics();
  expect(observed?.lagMs.count).toBeGreaterThan(0);
  expect(observed?.lagMs.maxMs).toBeGreaterThan(0);
});

test("tasksByName counts the tasks of each name", () => {
  using runtime = new Runtime();
  for (const name of ["a", "b", "a", undefined]) {
    runtime.spawn(sleep(1e6), name === undefined ? {} : { name });
  }
  expect(runtime.tasksByName()).toEqual(
    new Map([
      ["a", 2],
      ["b", 1],
      ["(no name)", 1],
    ]),
  );
});

/** Parses the text format. Throws if a line does not follow its grammar, or a sample has no type. */
function parse(text: string): Map<string, number> {
  const samples = new Map<string, number>();
  const types = new Set<string>();
  expect(text).toEndWith("\n");
  for (const line of text.slice(0, -1).split("\n")) {
    const type = /^# TYPE (\w+) (counter|gauge|histogram)$/.exec(line);
    if (type !== null) {
      types.add(type[1] as string);
      continue;
    }
    if (/^# HELP \w+ .+$/.test(line)) continue;
    const sample = /^([a-z_]+)(\{(?:[a-z_]\w*="(?:[^"\\\n]|\\[\\"n])*",?)*\})? (\d[\d.e+-]*)$/.exec(
      line,
    );
    if (sample === null) throw new Error(`not a sample: ${line}`);
    const [, name = "", labels = "", value] = sample;
    expect(types).toContain(name.replace(/_(bucket|sum|count)$/, ""));
    expect(samples.has(name + labels)).toBe(false);
    samples.set(name + labels, Number(value));
  }
  return samples;
}

test("toPrometheus writes the text format, with cumulative buckets and escaped names", () => {
  using runtime = new Runtime();
  using _ = runtime.observe();
  runtime.spawn(sleep(1e6), { name: 'evil"} 1\n\\x' });
  runtime.blockOn(untilIdle());
  const samples = parse(toPrometheus(runtime));
  expect(samples.get("guillotine_tasks_alive")).toBe(1);
  expect(samples.get('guillotine_tasks{name="evil\\"} 1\\n\\\\x"}')).toBe(1);
  const buckets = [...samples].filter(([name]) =>
    name.startsWith("guillotine_poll_seconds_bucket"),
  );
  const counts = buckets.map(([, count]) => count);
  expect(counts).toEqual([...counts].sort((a, b) => a - b));
  expect(counts.at(-1)).toBe(samples.get("guillotine_poll_seconds_count") as number);
  expect(buckets.at(-1)?.[0]).toBe('guillotine_poll_seconds_bucket{le="+Inf"}');
});

/** The tasks of each name, per a parser of the format that others wrote. */
function tasksPerParser(text: string): [name: string, count: number][] {
  const family = parsePrometheus(text).find(({ name }) => name === "guillotine_tasks");
  return (family?.metrics ?? []).map(({ labels, value }) => [labels?.name ?? "", Number(value)]);
}

test("a parser of the format finds the metrics of an observed runtime", () => {
  using runtime = new Runtime();
  using _ = runtime.observe();
  runtime.spawn(sleep(1e6), { name: "sleeper" });
  runtime.blockOn(untilIdle());
  const families = parsePrometheus(toPrometheus(runtime, { service: "chat" }));
  expect(families.length).toBe(16);
  for (const { name, help, type } of families) {
    expect(name).toMatch(/^guillotine_[a-z_]+$/);
    expect(help).toEndWith(".");
    expect(["GAUGE", "COUNTER", "HISTOGRAM"]).toContain(type);
  }
  const polls = families.find(({ name }) => name === "guillotine_poll_seconds");
  expect(polls?.type).toBe("HISTOGRAM");
  const buckets = Object.values(polls?.metrics[0]?.buckets ?? {});
  expect(buckets.at(-1)).toBe(`${runtime.metrics().observed?.pollMs.count}`);
});

test("each name is one sample, whatever its characters, and a long one is cut", () => {
  using runtime = new Runtime();
  const long = "x".repeat(200);
  const names = ["\r\n# TYPE x counter\n", "\u0000\u2028", "<script>", '\\"', "\ud83d\ude00"];
  const same = ["half \ud83d", "half \ude00", `${long}1`, `${long}2`];
  for (const name of [...names, ...same]) runtime.spawn(sleep(1e6), { name });
  const text = Buffer.from(toPrometheus(runtime)).toString(); // what a server sends
  parse(text);
  expect(tasksPerParser(text)).toEqual([
    ...names.map((name): [string, number] => [name, 1]),
    ["half \ufffd", 2],
    [long, 2],
  ]);
  for (let task = 0; task < 60; task++) {
    for (const name of ["(other names)", `client ${task}`]) runtime.spawn(sleep(1e6), { name });
  }
  const counts = tasksPerParser(toPrometheus(runtime));
  expect(new Set(counts.map(([name]) => name)).size).toBe(counts.length);
  expect(counts[0]).toEqual(["(other names)", 60 + 9 + 60 + 1 - 50]);
});

test("toPrometheus adds labels, and counts rare names together", () => {
  using runtime = new Runtime();
  for (let task = 0; task < 60; task++) runtime.spawn(sleep(1e6), { name: `client ${task}` });
  const samples = parse(toPrometheus(runtime, { service: "chat" }));
  expect(samples.get('guillotine_tasks_alive{service="chat"}')).toBe(60);
  expect(samples.get('guillotine_tasks{service="chat",name="(other names)"}')).toBe(10);
  expect([...samples.keys()].some((name) => name.includes("poll_seconds"))).toBe(false);
});

test("toPrometheus refuses what is no runtime, and bad labels", () => {
  using runtime = new Runtime();
  expect(() => toPrometheus({} as never)).toThrow("toPrometheus: runtime must be a Runtime; got");
  expect(() => toPrometheus(runtime, { "a b": "c" })).toThrow(
    "toPrometheus: labels must have names",
  );
  for (const label of ["name", "le", "__name__"]) {
    expect(() => toPrometheus(runtime, { [label]: "c" })).toThrow("other than name and le");
  }
  runtime.blockOn(function* () {
    yield* spawn(yieldNow());
  });
});
