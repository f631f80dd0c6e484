// cold(): what the JIT compiles into the callers of a function.

import { expect, test } from "bun:test";
import { run } from "../support/program.ts";

// Each class has a method that is called every time, and one that is called seldom.
const program = `
  import { cold } from "./src/base/cold.ts";
  class Warm {
    rare(value) { return value + 1; }
    often(value) { return value % 100 === 0 ? this.rare(value) : value; }
  }
  class Cold {
    static { if (cold(Cold.prototype.seldom) !== Cold.prototype.seldom) throw new Error(); }
    seldom(value) { return value + 1; }
    often(value) { return value % 100 === 0 ? this.seldom(value) : value; }
  }
  const warm = new Warm(), cool = new Cold();
  let sum = 0;
  for (let value = 0; value < 3e6; value++) sum += warm.often(value) - cool.often(value);
  console.log("sum", sum);
`;

test("the JIT compiles a rare function into its caller, unless it is cold", async () => {
  const env = { BUN_JSC_printEachDFGFTLInlineCall: "1" };
  const { output } = await run(["bun", "-e", program], { env });
  expect(output).toContain("sum 0");
  expect(output).toMatch(/Callee: rare#/);
  expect(output).not.toMatch(/Callee: seldom#/);
});
