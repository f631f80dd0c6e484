// A program of test/inspect/trace-file.test.ts, run with GUILLOTINE_TRACE=path: a task in a loop, until it is killed.

import { Runtime, sleep, spawn, yieldNow } from "../../../src/index.ts";

using runtime = new Runtime();
runtime.blockOn(function* () {
  spawn(
    function* () {
      for (;;) yield* yieldNow();
    },
    { name: "busy" },
  ).detach();
  for (let round = 0; ; round++) {
    yield* sleep(20);
    if (round === 3) console.log("running");
  }
});
