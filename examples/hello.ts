// The smallest program: blockOn drives a future on this thread and returns its value.
//
//   bun run examples/hello.ts
//
// You will see: 42

import { Runtime, sleep } from "../src/index.ts";

using runtime = new Runtime();

const answer = runtime.blockOn(function* () {
  yield* sleep(10);
  return 42;
});

console.log(answer);
