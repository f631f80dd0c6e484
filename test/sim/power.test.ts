// Exploration finds planted bugs, and reports none where there is none.

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { planted } from "./planted/find.ts";

setDefaultTimeout(60_000); // a slow machine must not fail the test

describe.each(["random", "pct"] as const)("the strategy %s", (strategy) => {
  test.each(planted)("finds $name within 1000 runs", ({ find }) => {
    expect(find(strategy, 1000)).not.toBeNull();
  });

  test.each(planted)("passes 200 runs without $name", ({ pass }) => {
    pass(strategy, 200);
  });
});
