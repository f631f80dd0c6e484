// Cancellation: the loser of a race is ended, its cleanup included, before the race is over.
//
//   bun run examples/race.ts
//
// You will see: the slow mirror closing its connection, then what the fast one answered; then a
// timeout, thrown after the work it gave up on has cleaned up.

import { type Coroutine, Runtime, race, sleep, TimeoutError, timeout } from "../src/index.ts";

function* download(mirror: string, milliseconds: number): Coroutine<string> {
  try {
    yield* sleep(milliseconds);
    return `the file, from ${mirror}`;
  } finally {
    yield* sleep(5); // cleanup may wait, and is waited for
    console.log(`${mirror}: connection closed`);
  }
}

using runtime = new Runtime();

runtime.blockOn(function* () {
  const file = yield* race(download("slow", 1000), download("fast", 20));
  console.log(`race: ${file}`);
  try {
    yield* timeout(20, download("hopeless", 1000));
  } catch (error) {
    if (!(error instanceof TimeoutError)) throw error;
    console.log(`timeout: ${error.message}`);
  }
});
