// A program of test/process/signals.test.ts, run with GUILLOTINE_DUMP=SIGUSR2: it waits for that signal itself.

import { Runtime, signal, sleep, spawn } from "../../../src/index.ts";

new Runtime().blockOn(function* () {
  const received = spawn(signal("SIGUSR2"));
  yield* sleep(1);
  console.log("waiting");
  console.log(`received ${yield* received}`);
});
