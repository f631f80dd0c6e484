// The scenarios of scenarios.ts under exploration. `bun run sim` explores them longer.

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { explore } from "../../src/sim/index.ts";
import { scenarios } from "./scenarios.ts";

setDefaultTimeout(60_000); // a slow machine must not fail the test

describe.each(["random", "pct"] as const)("the strategy %s finds nothing in", (strategy) => {
  test.each(scenarios)("$name", ({ name: _, run, ...options }) => {
    expect(explore({ ...options, runs: 100, strategy, seed: 1000 }, run).runs).toBe(100);
  });
});
