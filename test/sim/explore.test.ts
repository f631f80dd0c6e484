// explore and replay: what they find, how they report it, and how it is repeated.

import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { type Coroutine, join, sleep, spawn, yieldNow } from "../../src/index.ts";
import {
  DivergenceError,
  ExplorationError,
  explore,
  replay,
  SimulationError,
  type World,
} from "../../src/sim/index.ts";
import { fromText, toText } from "../../src/sim/replay-text.ts";
import { caught } from "../support/caught.ts";
import { root, run } from "../support/program.ts";

/** Fails if the second of two tasks runs before the first, and both yield in between. */
function* racy(): Coroutine<void> {
  let order = "";
  const write = (name: string) =>
    function* (): Coroutine<void> {
      yield* yieldNow();
      order += name;
      yield* yieldNow();
      order += name;
    };
  yield* join(spawn(write("a")), spawn(write("b")));
  if (order === "bbaa") throw new Error(`the order was ${order}`);
}

function explorationOf(work: () => unknown): ExplorationError {
  const error = caught(work);
  expect(error).toBeInstanceOf(ExplorationError);
  return error as ExplorationError;
}

test.each(["random", "pct"] as const)(
  "%s finds a failing order, reduces its choices, and replay repeats it",
  (strategy) => {
    const error = explorationOf(() => explore({ strategy }, racy));
    expect(error.cause).toMatchObject({ message: "the order was bbaa" });
    expect(error.message).toContain(`strategy ${strategy}`);
    expect(error.message).toMatch(/It fails because of [1-4] of its \d+ choices: (task|turn) /);
    expect(error.log.some((line) => line.includes("choose task"))).toBe(true);
    expect(() => replay(error.replay, racy)).toThrow("the order was bbaa");
  },
);

test("an exploration without a failure returns how much it did", () => {
  const { runs, turns } = explore({ runs: 50 }, function* () {
    yield* sleep(1);
  });
  expect(runs).toBe(50);
  expect(turns).toBeGreaterThan(50);
});

test("a loss that is not needed for the failure is not in the shrunk choices", () => {
  const error = explorationOf(() =>
    explore({ link: { loss: 0.5 } }, function* (world) {
      for (let n = 0; n < 20; n++) world.pick(10);
      if (world.pick(10) >= 7) throw new Error("seven or more");
      yield* sleep(1);
    }),
  );
  // Twenty choices that do not matter are calm, and the one that matters is as small as halving makes it.
  expect(error.message).toMatch(/It fails because of 1 of its 21 choices: scenario [789] of 10/);
});

test("code that depends on something outside the world is reported with the first choice that differs", () => {
  let runs = 0;
  const error = caught(() =>
    explore(function* (world) {
      world.pick(3);
      if (runs++ % 2 === 1) world.pick(5);
      yield* sleep(1);
    }),
  );
  expect(error).toBeInstanceOf(DivergenceError);
  expect((error as Error).message).toMatch(
    /differ at choice 1: (no choice|scenario . of 5) in one/,
  );
});

test("code that does other things with the same choices is reported with the first line that differs", () => {
  let runs = 0;
  const error = caught(() =>
    explore(function* (world) {
      world.host(`host ${runs++}`, function* () {
        yield* sleep(1);
      });
      yield* sleep(2);
    }),
  );
  expect(error).toBeInstanceOf(DivergenceError);
  expect((error as Error).message).toMatch(
    /differ at line \d+ of their logs: "0.000 host 1 starts"/,
  );
});

test("replay reports a change of the code, and rejects a text that explore did not print", () => {
  const { replay: text } = explorationOf(() => explore(racy));
  const changed = function* (world: World): Coroutine<void> {
    world.pick(4);
    yield* sleep(1);
  };
  expect(() => replay(text, changed)).toThrow(DivergenceError);
  expect(() => replay("nonsense", racy)).toThrow(SimulationError);
});

test("any recorded run survives its text", () => {
  const recorded = fc.record({
    line: fc.nat(),
    seed: fc.nat(),
    values: fc.array(fc.nat(100_000)).map((values) => [...values, 1]), // zeros at the end are not stored
    check: fc.nat(0xffff_ffff),
  });
  fc.assert(fc.property(recorded, (run) => expect(fromText(toText(run))).toEqual(run)));
});

test.each([
  [{ runs: 0 }, "options.runs must be a positive integer; got 0"],
  [{ strategy: "best" as "pct" }, 'options.strategy must be "random" or "pct"; got "best"'],
  [{ seed: -1 }, "options.seed must be an integer >= 0; got -1"],
  [{ link: { loss: 2 } }, "options.link.loss must be a number from 0 to 1; got 2"],
  [{ link: { latencyMs: [5, 1] as const } }, "options.link.latencyMs must be a finite number"],
])("explore rejects the options %p", (options, message) => {
  expect(() => explore(options, racy)).toThrow(message);
});

describe("in bun test", () => {
  test("a failing explore prints one command, and that command repeats the failure only", async () => {
    const file = `${root}node_modules/.sim-explore-${process.pid}.test.ts`;
    await Bun.write(
      file,
      `import { test } from "bun:test";
import { join, spawn, yieldNow } from "${root}src/index.ts";
import { explore } from "${root}src/sim/index.ts";
test("the order", () => {
  explore(function* () {
    let order = "";
    const write = (name) => function* () { yield* yieldNow(); order += name; };
    yield* join(spawn(write("a")), spawn(write("b")));
    if (order !== "ab") throw new Error("the order was " + order);
  });
});
test("another", () => {
  explore({ runs: 1 }, function* () { console.log("another ran"); });
});
`,
    );
    try {
      const { output } = await run(["bun", "test", file]);
      const [, replayed = ""] =
        /To repeat it: GUILLOTINE_REPLAY=(\S+) bun test /.exec(output) ?? [];
      expect(output).toContain("the order was ba");
      expect(output).toContain("another ran");
      const again = await run(["env", `GUILLOTINE_REPLAY=${replayed}`, "bun", "test", file]);
      expect(again.output).toContain("the order was ba");
      expect(again.output).not.toContain("another ran");
    } finally {
      await Bun.file(file).delete();
    }
  });
});
