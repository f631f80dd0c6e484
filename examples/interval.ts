// An interval: ticks come at whole periods, and a late one does not make the next one late.
//
//   bun run examples/interval.ts
//
// You will see: three ticks, then one that tells of the periods that went by meanwhile, then a tick
// that is on time again.

import { interval, Runtime, sleep } from "../src/index.ts";

using runtime = new Runtime();

runtime.blockOn(function* () {
  const ticks = interval(100);
  for (let tick = 1; tick <= 3; tick++) {
    console.log(`tick ${tick}: ${yield* ticks.tick()} period`);
  }
  yield* sleep(350); // busy elsewhere
  console.log(`late: ${yield* ticks.tick()} periods`);
  console.log(`on time: ${yield* ticks.tick()} period`);
});
