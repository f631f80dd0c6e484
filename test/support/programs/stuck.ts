// A program of test/inspect/watchdog.test.ts, run with GUILLOTINE_WATCHDOG_MS: a task holds the thread, in the way that
// the argument names.

import { Runtime, sleep, spawn, yieldNow } from "../../../src/index.ts";

const [, , mode = "", part = "ends"] = process.argv;

/** Holds the thread for as long as the watchdog needs, or indefinitely. */
function loop(): void {
  const startMs = performance.now();
  while (part === "forever" || performance.now() - startMs < 400);
}

function* coroutine() {
  yield* yieldNow();
  loop();
  yield* sleep(100);
}

async function afterAwait() {
  await sleep(1);
  loop();
  await sleep(100);
}

function* main() {
  spawn(sleep(1e6), { name: "innocent" }).detach();
  // Not in the first polls: the helper thread has to start.
  yield* sleep(300);
  yield* spawn(mode === "coroutine" ? coroutine : afterAwait, {
    name: `culprit\n${"x".repeat(80)}`,
  });
  console.log("done");
  process.exit();
}

using runtime = new Runtime();
if (process.argv.includes("guest")) await runtime.run(main);
else runtime.blockOn(main);
