// A program of test/runtime/observability.test.ts, run with GUILLOTINE_DEBUG=1: only `forgetful` creates
// futures and forgets them.

import {
  fromPromise,
  interval,
  join,
  Runtime,
  race,
  sleep,
  spawn,
  timeout,
} from "../../../src/index.ts";

const runtime = new Runtime();
runtime.blockOn(function* () {
  const ticks = interval(1);
  for (let round = 0; round < 100; round++) {
    yield* sleep(0);
    spawn(sleep(0)); // an unused handle is not a forgotten future
    sleep(1).drop();
    yield* race(ticks.tick(), sleep(0));
    yield* timeout(1e6, () => sleep(0)); // a function that is not async
    yield* timeout(1e6, async () => {
      await join(sleep(0), sleep(0));
    });
  }
  yield* fromPromise(Promise.resolve());
});

/** Fails in its first poll, so that its siblings are dropped before their first poll. */
function* failing(): Generator<never, never> {
  throw new Error("boom");
}

for (let round = 0; round < 10; round++) {
  try {
    runtime.blockOn(join(failing, race(sleep(1), sleep(2)), async () => sleep(3)));
  } catch {}
}

function forgetful(): void {
  for (let round = 0; round < 10; round++) {
    sleep(12345);
    race(sleep(1), sleep(2));
  }
}
forgetful();

runtime[Symbol.dispose]();
for (let round = 0; round < 10; round++) {
  Bun.gc(true);
  await new Promise((resolve) => setTimeout(resolve, 1));
}
console.error("exiting"); // separates the reports of the garbage collector from the reports at exit
