// A program of test/runtime/observability.test.ts, run with GUILLOTINE_TRACE=1: one task, which another
// task joins.

import { Runtime, sleep, spawn } from "../../../src/index.ts";

using runtime = new Runtime({ spinMicros: 0 });
runtime.blockOn(function* () {
  yield* spawn(sleep(1), { name: "napper" });
});
