// A program of test/inspect/stderr.test.ts, whose stderr cannot be written: it asks itself for a dump, in blockOn or as
// a guest, and continues.

import { Runtime, sleep } from "../../../src/index.ts";

function* main() {
  for (let round = 0; round < 10; round++) {
    process.kill(process.pid, "SIGUSR2");
    yield* sleep(5);
  }
  console.log("alive");
}

using runtime = new Runtime();
if (process.argv[2] === "guest") await runtime.run(main);
else runtime.blockOn(main);
