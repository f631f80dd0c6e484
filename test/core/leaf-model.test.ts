// Runs random tasks twice, with and without reuse of leaves, and compares their logs.

import { expect, setDefaultTimeout, test } from "bun:test";
import fc from "fast-check";
import {
  type Coroutine,
  type Future,
  type JoinHandle,
  Leaf,
  mpsc,
  Runtime,
  race,
  sleep,
  spawn,
  timeout,
  yieldNow,
} from "../../src/index.ts";
import { streamPair } from "../support/sockets.ts";

setDefaultTimeout(60_000); // a slow machine must not fail the test

const KINDS = ["send", "recv", "many", "sleep", "read", "write", "all"] as const;
type Kind = (typeof KINDS)[number];

interface Op {
  /** How the task awaits the leaf. */
  how:
    | "yield"
    | "using"
    | "drop"
    | "late"
    | "race"
    | "timeout"
    | "spawn"
    | "detach"
    | "leave"
    | "async"
    | "forget"
    | "call"
    | "careful"
    | "abort";
  /** An index into the kinds of this run. */
  kind: number;
  /** The operations in the block of the `using`, in the called coroutine, or in the `finally`. */
  inner: Op[];
  /** A number of turns, or the index of a task. */
  at: number;
}

const { ops } = fc.letrec<{ ops: Op[] }>((tie) => ({
  ops: fc.array(
    fc.record({
      how: fc.constantFrom<Op["how"]>(
        ...(["yield", "yield", "yield", "using", "drop", "late", "race", "timeout"] as const),
        ...(["spawn", "detach", "leave", "async", "forget", "call", "careful", "abort"] as const),
      ),
      kind: fc.nat(3),
      inner: fc.oneof({ maxDepth: 2, depthSize: "small" }, fc.constant<Op[]>([]), tie("ops")),
      at: fc.nat(3),
    }),
    { maxLength: 6, size: "max" },
  ),
}));

/** Few kinds per run, so that tasks meet on the same leaf. */
const someKinds = fc.subarray([...KINDS], { minLength: 1, maxLength: 3 });

function* turns(count: number): Coroutine<void> {
  for (let turn = 0; turn < count; turn++) yield* yieldNow();
}

/** Runs the programs as tasks. Returns what they logged, and how many leaves were reused. */
function run(
  kinds: Kind[],
  programs: Op[][],
  canReuse: boolean,
): { log: string[]; reuses: number } {
  const log: string[] = [];
  let reuses = 0;
  const { tryReuse } = Leaf.prototype;
  Leaf.prototype.tryReuse = function (cx): boolean {
    const isReused = canReuse && tryReuse.call(this, cx);
    if (isReused) reuses++;
    return isReused;
  };
  // A long turn ends early, so the order of polls depends on the clock. Both runs get the same clock.
  let nowMs = 0;
  const clock = { now: () => (nowMs += 1e-6) };
  using runtime = new Runtime({ clock, onUncaught: () => {} }); // detached tasks may fail
  try {
    runtime.blockOn(function* () {
      const [near, far] = yield* streamPair();
      using _ = near;
      using __ = far;
      const { sender, receiver } = mpsc<string>(2);
      let made = 0;
      const handles: JoinHandle<void>[] = [];

      const make = (number: number): Future<unknown> => {
        const kind = kinds[number % kinds.length]!;
        const id = `${made++}`;
        switch (kind) {
          case "send":
            return sender.send(id);
          case "recv":
            return receiver.recv();
          case "many":
            return receiver.recvMany(2);
          case "sleep":
            return sleep(0);
          case "read":
            return far.read(new Uint8Array(3));
          case "write":
            return near.write(Buffer.from(`${id};`));
          case "all":
            return near.writeAll(`${id};`);
        }
      };

      function* perform(path: string, { how, kind, inner, at }: Op): Coroutine<unknown> {
        switch (how) {
          case "yield":
            return yield* make(kind);
          case "using": {
            using one = make(kind);
            const value = yield* one;
            yield* all(`${path}.`, inner);
            yield* turns(at);
            return value;
          }
          case "late": {
            const one = make(kind);
            const value = yield* one;
            yield* turns(at);
            one.drop();
            return value;
          }
          case "drop": {
            const one = make(kind);
            const value = yield* one;
            const later = make(kind);
            one.drop();
            return [value, yield* later];
          }
          case "race":
            return yield* race(make(kind), sleep(0));
          case "timeout":
            return yield* timeout(1e6, make(kind));
          case "spawn":
            return yield* spawn(make(kind));
          case "detach": {
            const handle = spawn(make(kind));
            yield* turns(at);
            handle.abort();
            return;
          }
          case "leave": {
            const one = make(kind); // created in this task, and polled in another
            const body = function* (): Coroutine<void> {
              const value = yield* one;
              log.push(`${path} left: ${JSON.stringify(value)}`);
              yield* all(`${path}>`, inner);
            };
            handles.push(spawn(body));
            return;
          }
          case "async":
            return yield* race(async () => {
              const value = await make(kind);
              return [value, await make(kind)];
            });
          case "forget":
            make(kind);
            return;
          case "call":
            return yield* all(`${path}.`, inner);
          case "careful":
            try {
              return yield* make(kind);
            } finally {
              yield* all(`${path}!`, inner);
            }
          case "abort":
            handles[at % handles.length]?.abort();
        }
      }

      function* all(path: string, list: Op[]): Coroutine<void> {
        for (const [index, op] of list.entries()) {
          let outcome: unknown;
          try {
            outcome = yield* perform(`${path}${index}`, op);
          } catch (error) {
            outcome = (error as Error).message;
          }
          log.push(`${path}${index} ${op.how} ${op.kind}: ${JSON.stringify(outcome)}`);
        }
      }

      for (const [index, program] of programs.entries()) {
        handles.push(spawn(() => all(`${index}:`, program)));
      }
      for (let turn = 0; turn < 40; turn++) yield* sleep(0); // the same turns in both runs
      log.push(`size ${receiver.size}`);
      for (const handle of handles) handle.abort();
      for (let turn = 0; turn < 40; turn++) yield* sleep(0);
      sender.close();
      receiver.close();
      near.close();
      far.close();
      for (const [index, handle] of handles.entries()) {
        try {
          yield* timeout(5000, handle);
          log.push(`${index} ended`);
        } catch (error) {
          log.push(`${index} ${(error as Error).message.replace(/task #\d+/, "task")}`);
        }
      }
    });
  } finally {
    Leaf.prototype.tryReuse = tryReuse;
  }
  return { log, reuses };
}

test("property: tasks that reuse leaves behave as if each leaf were new", () => {
  let reuses = 0;
  fc.assert(
    fc.property(
      someKinds,
      fc.array(ops, { minLength: 1, maxLength: 4, size: "max" }),
      (kinds, programs) => {
        const reusing = run(kinds, programs, true);
        reuses += reusing.reuses;
        expect(reusing.log).toEqual(run(kinds, programs, false).log);
      },
    ),
    { numRuns: 200 },
  );
  expect(reuses).toBeGreaterThan(0);
});
