// Spawning: ten tasks sleep at the same time, and their handles return their results.
//
//   bun run examples/spawn.ts
//
// You will see: ten lines in the order in which the sleeps end, from task 10 to task 1, then the sum 55.
// The program runs for 140 ms, not for the 950 ms that the tasks sleep in total.

import { now, Runtime, sleepUntil, spawn } from "../src/index.ts";

function* nap(number: number, startMs: number) {
  yield* sleepUntil(startMs + 150 - number * 10); // relative to one start, so the order holds on a busy machine too
  console.log(`task ${number} is awake`);
  return number;
}

using runtime = new Runtime();

runtime.blockOn(function* () {
  const startMs = now();
  const handles = Array.from({ length: 10 }, (_, index) => spawn(nap(index + 1, startMs)));
  let sum = 0;
  for (const handle of handles) sum += yield* handle;
  console.log(`sum ${sum}`);
});
