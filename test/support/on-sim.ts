// Preload for `bun test`: runs the tests on the simulated kernel and on its clock, in place of the real ones. (Tests that
// start programs, use fds of other code or fill real buffers do not apply: see test/sim/fidelity.test.ts.)

import { mock } from "bun:test";
import { SimSys } from "../../src/sim/kernel/sim-sys.ts";
import * as clock from "../../src/sys/clock.ts";
import * as kernel from "../../src/sys/linux.ts";

const sys = new SimSys({ maxFds: 100_000, pid: process.pid });
/** Calls `sys`, as own properties: tests spread the Sys. */
const spreadable = Object.fromEntries(
  Object.getOwnPropertyNames(SimSys.prototype)
    .filter((name) => name !== "constructor" && name !== "programFds")
    .map((name) => [name, (sys[name as keyof SimSys] as () => unknown).bind(sys)]),
);
const actual = { ...kernel };
mock.module("../../src/sys/linux.ts", () => ({ ...actual, linux: () => spreadable }));
mock.module("../../src/sys/clock.ts", () => ({
  ...clock,
  // Each look takes a microsecond, so that time passes for tasks that are always ready.
  systemClock: {
    now() {
      sys.stack.agenda.nowMs += 0.001;
      return sys.stack.agenda.nowMs;
    },
  },
}));
