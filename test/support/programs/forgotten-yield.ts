// A program of test/runtime/observability.test.ts, run with GUILLOTINE_DEBUG=1: a script that forgets a
// `yield*` and exits at once.

import { Runtime, sleep } from "../../../src/index.ts";

function* work() {
  sleep(10); // the `yield*` is missing
  yield* sleep(0);
  return "done";
}

using runtime = new Runtime();
console.log(runtime.blockOn(work));
