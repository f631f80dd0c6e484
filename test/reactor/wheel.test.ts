// Wheel: returns timers in the order of their deadlines. These tests read no clock: time is a number that they pass.

import { expect, test } from "bun:test";
import fc from "fast-check";
import { type Timer, Wheel } from "../../src/reactor/wheel.ts";

function timer(deadlineMs: number): Timer {
  return { deadlineMs, target: null, before: null, after: null, list: null };
}

const HOUR_MS = 3_600_000;
const duration = fc.oneof(
  fc.double({ min: 0, max: 1, noNaN: true }), // within a few slots
  fc.nat(100),
  fc.nat(100_000),
  fc.nat(40 * HOUR_MS), // more than a round of the wheel
  fc.constant(1e15),
);
const commands = fc.array(
  fc.oneof(
    { weight: 4, arbitrary: fc.record({ do: fc.constant("insert" as const), ms: duration }) },
    { weight: 2, arbitrary: fc.record({ do: fc.constant("remove" as const), at: fc.nat(20) }) },
    { weight: 2, arbitrary: fc.record({ do: fc.constant("advance" as const), ms: duration }) },
    { weight: 2, arbitrary: fc.record({ do: fc.constant("next" as const) }) },
  ),
  { maxLength: 100, size: "max" },
);
const start = fc.oneof(fc.constant(0), fc.nat(3_000_000_000), fc.constant(2 ** 26 - 0.5));

test("property: advance returns exactly the timers that are due, in order", () => {
  fc.assert(
    fc.property(start, commands, (startMs, list) => {
      const wheel = new Wheel();
      let nowMs = startMs;
      let pending: Timer[] = [];
      let wasAnyRemoved = false;
      const advance = (toMs: number): void => {
        nowMs = toMs;
        const due = pending.filter((one) => one.deadlineMs <= nowMs);
        pending = pending.filter((one) => one.deadlineMs > nowMs);
        const got = wheel.advance(nowMs);
        expect(got.map((one) => one.deadlineMs)).toEqual(
          due.map((one) => one.deadlineMs).sort((a, b) => a - b),
        );
        expect(new Set(got)).toEqual(new Set(due));
        for (const one of got) expect(one.list).toBeNull();
        expect(wheel.nextMs).toBeGreaterThan(nowMs); // otherwise a loop would busy-poll
      };
      for (const command of list) {
        if (command.do === "insert") {
          const one = timer(nowMs + command.ms);
          wheel.insert(one, nowMs);
          pending.push(one);
        } else if (command.do === "remove") {
          const one = pending.splice(command.at, 1)[0];
          if (one !== undefined) {
            wasAnyRemoved = true;
            wheel.remove(one);
            wheel.remove(one); // a second remove does nothing
          }
        } else if (command.do === "advance") advance(nowMs + command.ms);
        else if (wheel.nextMs < Number.POSITIVE_INFINITY) advance(Math.max(nowMs, wheel.nextMs));
        expect(wheel.size).toBe(pending.length);
        const earliestMs = Math.min(...pending.map((one) => one.deadlineMs));
        if (wasAnyRemoved) expect(wheel.nextMs).toBeLessThanOrEqual(earliestMs);
        else expect(wheel.nextMs).toBe(earliestMs);
      }
    }),
    { numRuns: 1000 },
  );
});

test("a timer far ahead is checked once per round of the wheel, and expires on time", () => {
  const wheel = new Wheel();
  const deadlineMs = 100 * HOUR_MS + 0.25;
  wheel.insert(timer(deadlineMs), 0);
  for (let hour = 1; hour <= 100; hour++) {
    expect(wheel.advance(hour * HOUR_MS)).toEqual([]);
    expect(wheel.nextMs).toBe(deadlineMs);
  }
  expect(wheel.advance(deadlineMs)).toHaveLength(1);
});

test("a wheel that was not advanced for days still expires its timers in order", () => {
  const wheel = new Wheel();
  const [soon, late] = [timer(5), timer(60 * 24 * HOUR_MS)];
  wheel.insert(soon, 0);
  wheel.insert(late, 0);
  expect(wheel.advance(30 * 24 * HOUR_MS)).toEqual([soon]);
  wheel.insert(soon, 30 * 24 * HOUR_MS); // its deadline has passed
  expect(wheel.nextMs).toBe(5);
  expect(wheel.advance(30 * 24 * HOUR_MS)).toEqual([soon]);
  expect(wheel.nextMs).toBe(late.deadlineMs);
});

test("100,000 removed timers cause at most two early wake-ups", () => {
  const wheel = new Wheel();
  const cancelled = Array.from({ length: 100_000 }, (_, index) => timer(30_000 + index / 2));
  const alive = timer(90_000.5);
  for (const one of [...cancelled, alive]) wheel.insert(one, 0);
  for (const one of cancelled) wheel.remove(one);
  let advances = 0;
  while (wheel.size > 0) {
    advances++;
    wheel.advance(wheel.nextMs);
  }
  expect(advances).toBeLessThanOrEqual(3);
});

/** Returns timers that are 9 ms apart, and a function that returns how often their deadlines were read. */
function counted(count: number, startMs: number): { timers: Timer[]; reads: () => number } {
  let reads = 0;
  const timers = Array.from({ length: count }, (_, index) => ({
    ...timer(0),
    get deadlineMs(): number {
      reads++;
      return startMs + 10 + index * 9;
    },
  }));
  return { timers, reads: () => reads };
}

test("advance does not touch timers that are far ahead", () => {
  const wheel = new Wheel();
  const startMs = 10 * HOUR_MS;
  const { timers, reads } = counted(10_000, startMs);
  for (const one of timers) wheel.insert(one, startMs);
  const before = reads();
  expect(wheel.advance(startMs + 10)).toHaveLength(1);
  expect(reads() - before).toBeLessThan(500);
});

test("a timer is touched a few times in all, however often the wheel advances", () => {
  const wheel = new Wheel();
  const { timers, reads } = counted(10_000, 0);
  for (const one of timers) wheel.insert(one, 0);
  let ended = 0;
  for (let nowMs = 0.5; ended < timers.length; nowMs += 0.5) ended += wheel.advance(nowMs).length;
  expect(reads() / timers.length).toBeLessThan(20); // in 18,000 advances
});
