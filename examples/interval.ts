// An interval: ticks are due at whole periods, so a late tick does not delay the next one.
//
//   bun run examples/interval.ts
//
// You will see: three ticks of 1 period each; one late tick that reports 3 periods, because three passed
// while the program slept; then a tick of 1 period, on time again.

import { interval, Runtime, sleep } from "../src/index.ts";

using runtime = new Runtime();

runtime.blockOn(function* () {
  const ticks = interval(100);
  for (let tick = 1; tick <= 3; tick++) {
    console.log(`tick ${tick}: ${yield* ticks.tick()} period`);
  }
  yield* sleep(350); // the program does something else, and misses three periods
  console.log(`late: ${yield* ticks.tick()} periods`);
  console.log(`on time: ${yield* ticks.tick()} period`);
});
