// How the console reads the tasks of a runtime: a slice at a time, while tasks begin and end.

import { expect, setDefaultTimeout, test } from "bun:test";
import {
  type Context,
  Future,
  type JoinHandle,
  Mutex,
  Notify,
  Pending,
  Runtime,
  sleep,
} from "../../src/index.ts";
import { addLooker, type Inspected, removeLooker } from "../../src/inspect/console/inspected.ts";
import type { Row, Slice } from "../../src/inspect/console/protocol.ts";
import { Sampler } from "../../src/inspect/console/sampler.ts";
import { untilIdle } from "../support/idle.ts";

setDefaultTimeout(60_000); // the machine may be slow

/** Returns what the console sees of a new runtime. */
function inspected(): { runtime: Runtime; sampler: Sampler } {
  let latest: Inspected | null = null;
  const looker = {
    attach(one: Inspected) {
      latest = one;
    },
    detach() {},
  };
  addLooker(looker);
  const runtime = new Runtime();
  removeLooker(looker);
  return { runtime, sampler: new Sampler(latest as unknown as Inspected) };
}

/** Every slice is out of time when it begins. */
const NO_TIME = 0;
const UNLIMITED = Number.POSITIVE_INFINITY;

const idOf = (row: Row | number): number => (typeof row === "number" ? row : row[0]);

test("a slice without time has few rows, and a pass visits each task once, in order", () => {
  const { runtime, sampler } = inspected();
  using _ = runtime;
  for (let index = 0; index < 100; index++) runtime.spawn(sleep(1000)).detach();
  for (let pass = 1; pass <= 2; pass++) {
    const slices: Slice[] = [];
    do slices.push(sampler.slice(NO_TIME));
    while (slices.at(-1)?.isPassEnd === false);
    expect(slices.map((slice) => slice.pass)).toEqual(slices.map(() => pass));
    expect(slices.map(({ rows }) => rows.length)).toEqual([16, 16, 16, 16, 16, 16, 4]);
    const ids = slices.flatMap(({ rows }) => rows.map(idOf));
    expect(ids).toEqual(Array.from({ length: 100 }, (_unused, index) => index + 1));
  }
  expect(sampler.slice(UNLIMITED).rows.length).toBe(100);
});

test("of 100,000 tasks, a slice has few rows, and the second pass sends ids alone", () => {
  const TASKS = 100_000;
  const { runtime, sampler } = inspected();
  using _ = runtime;
  for (let index = 0; index < TASKS; index++) runtime.spawn(sleep(3_600_000)).detach();
  runtime.blockOn(sleep(0)); // not untilIdle, which describes each task
  using _statistics = runtime.observe();
  for (let pass = 1; pass <= 2; pass++) {
    let [slices, latest, full] = [0, 0, 0];
    for (let isPassEnd = false; !isPassEnd; slices++) {
      const slice = sampler.slice(NO_TIME);
      isPassEnd = slice.isPassEnd;
      if (slice.rows.length > 16) throw new Error(`a slice of ${slice.rows.length} rows`);
      for (const row of slice.rows) {
        if (idOf(row) !== ++latest) throw new Error(`task ${idOf(row)} where ${latest} was due`);
        if (typeof row !== "number") full++;
      }
    }
    expect([slices, latest]).toEqual([TASKS / 16, TASKS]);
    expect(full).toBe(pass === 1 ? TASKS : 0);
  }
});

test.each([1, 3, 16, 200])(
  "tasks that end between slices do not end the pass or repeat a task: %d of those visited last",
  (ending) => {
    const { runtime, sampler } = inspected();
    using _ = runtime;
    const handles = new Map<number, JoinHandle<unknown>>();
    const spawn = (): void => {
      const handle = runtime.spawn(sleep(1000));
      handle.catch(() => {}); // it is aborted
      handles.set(handle.id, handle);
    };
    for (let index = 0; index < 300; index++) spawn();
    const ended = new Set<number>();
    const seen: number[] = [];
    for (;;) {
      const { rows, isPassEnd } = sampler.slice(NO_TIME);
      for (const row of rows) expect(ended.has(idOf(row))).toBe(false);
      seen.push(...rows.map(idOf));
      if (isPassEnd) break;
      for (const id of seen.slice(-ending)) {
        ended.add(id);
        handles.get(id)?.abort();
      }
      runtime.blockOn(untilIdle());
      if (handles.size < 330) spawn(); // behind the others, so this pass still visits it
    }
    expect(new Set(seen).size).toBe(seen.length);
    const alive = [...handles.keys()].filter((id) => !ended.has(id));
    expect(alive.filter((id) => !seen.includes(id))).toEqual([]);
  },
);

test("while statistics are kept, a task that did nothing since the pass before sends its id alone", () => {
  const { runtime, sampler } = inspected();
  using _ = runtime;
  const lock = new Mutex(0, { name: "room" });
  const gate = new Notify();
  const spawn = (name: string, work: () => unknown): void =>
    runtime.spawn(work as never, { name }).detach();
  const names = (): (string | number)[] =>
    sampler.slice(UNLIMITED).rows.map((row) => (typeof row === "number" ? row : row[1]));
  spawn("sleeper", () => sleep(1000));
  spawn("holder", function* () {
    const guard = yield* lock.lock();
    yield* gate.notified();
    guard.release();
    yield* sleep(1000);
  });
  spawn("waiter", function* () {
    yield* lock.lock();
    yield* sleep(1000);
  });
  runtime.blockOn(untilIdle());
  const all = ["sleeper", "holder", "waiter"];
  expect([names(), names()]).toEqual([all, all]); // without statistics nobody knows
  using _statistics = runtime.observe();
  expect([names(), names()]).toEqual([all, all]); // they began within what came before
  expect(names()).toEqual([1, 2, "waiter"]); // its lock may get another holder
  gate.notifyOne();
  runtime.blockOn(untilIdle());
  expect(names()).toEqual([1, "holder", "waiter"]);
  expect(names()).toEqual([1, 2, 3]); // it has the lock now
  spawn("new", () => sleep(1000));
  runtime.blockOn(untilIdle());
  expect(names()).toEqual([1, 2, 3, "new"]);
  expect(names().length).toBe(4);
});

class Rude extends Future<void> {
  override poll(cx: Context): typeof Pending {
    cx.blockedOn = {
      describe() {
        throw new Error("no");
      },
    };
    return Pending;
  }
  override drop(): void {}
}

test("a task whose description throws is shown, and names are escaped and cut", () => {
  const { runtime, sampler } = inspected();
  using _ = runtime;
  runtime.spawn(new Rude(), { name: "rude" }).detach();
  runtime.spawn(sleep(1000), { name: "two\nlines\u202e" }).detach();
  runtime.spawn(sleep(1000), { name: "x".repeat(10_000) }).detach();
  runtime.blockOn(sleep(0)); // not untilIdle, which reads the descriptions
  const [rude, lines, long] = sampler.slice(UNLIMITED).rows as Row[];
  expect(rude?.slice(1, 5)).toEqual([
    "rude",
    0,
    "waiting",
    "unknown: its description threw Error: no",
  ]);
  expect(lines?.[1]).toBe("two\\u000alines\\u202e");
  expect(long?.[1]).toBe(`${"x".repeat(200)}…`);
});
