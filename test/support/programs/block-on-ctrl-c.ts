// A blockOn server that stops gracefully on Ctrl-C. The stop takes an hour, so a second Ctrl-C has to end the process.

import { ctrlC, Runtime, sleep, spawn, yieldNow } from "../../../src/index.ts";

new Runtime().blockOn(function* () {
  const stop = spawn(ctrlC());
  yield* yieldNow(); // from here on, the signal is caught
  console.log("running");
  yield* stop;
  console.log("stopping");
  yield* sleep(3_600_000);
});
