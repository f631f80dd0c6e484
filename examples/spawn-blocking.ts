// Blocking work: synchronous calls run on the threads of a pool, while this thread continues.
//
//   bun run examples/spawn-blocking.ts
//
// You will see: the main thread counting while three calls block threads of their own; then their
// results; then the error of a fourth call, which a catch here receives.

import { Runtime, sleep, spawn, spawnBlocking } from "../src/index.ts";

using runtime = new Runtime({ blockingThreads: 3 });

runtime.blockOn(function* () {
  const calls = [300, 200, 100].map((milliseconds) =>
    // Only the source of this function reaches the Worker, so pass what it needs as arguments.
    spawnBlocking((ms: number) => {
      const { threadId } = process.getBuiltinModule("node:worker_threads");
      Bun.sleepSync(ms); // blocks its thread
      return `thread ${threadId} was blocked for ${ms} ms`;
    }, milliseconds),
  );
  const counter = spawn(function* () {
    for (let count = 1; ; count++) {
      yield* sleep(50);
      console.log(`main thread: ${count}`);
    }
  });
  for (const call of calls) console.log(yield* call);
  counter.abort();
  try {
    yield* spawnBlocking(() => JSON.parse("{"));
  } catch (error) {
    console.log(`thrown there, caught here: ${error}`);
  }
});
