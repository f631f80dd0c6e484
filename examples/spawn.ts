// Spawning: ten tasks, each sleeps; the handle of each gives what it returned.
//
//   bun run examples/spawn.ts
//
// You will see: ten lines in the order in which the sleeps end, then their sum. It takes 140 ms, not
// the 950 that they sleep together.

import { Runtime, sleepUntil, spawn } from "../src/index.ts";

function* nap(number: number, startMs: number) {
  yield* sleepUntil(startMs + 150 - number * 10); // from one start: in this order on a busy machine, too
  console.log(`task ${number} is awake`);
  return number;
}

using runtime = new Runtime();

runtime.blockOn(function* () {
  const startMs = performance.now();
  const handles = Array.from({ length: 10 }, (_, index) => spawn(nap(index + 1, startMs)));
  let sum = 0;
  for (const handle of handles) sum += yield* handle;
  console.log(`sum ${sum}`);
});
