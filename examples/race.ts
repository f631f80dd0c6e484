// Cancellation: race and timeout return when the work they cancel has cleaned up.
//
//   bun run examples/race.ts
//
// You will see: both mirrors closing their connections, the fast one first, then the file of the fast one;
// then the hopeless download closing its connection, and after that the TimeoutError.

import { type Coroutine, Runtime, race, sleep, TimeoutError, timeout } from "../src/index.ts";

function* download(mirror: string, milliseconds: number): Coroutine<string> {
  try {
    yield* sleep(milliseconds);
    return `the file, from ${mirror}`;
  } finally {
    yield* sleep(5); // cleanup may wait; race and timeout wait for it
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
