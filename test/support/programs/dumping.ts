// A program of test/inspect/dump.test.ts, run with GUILLOTINE_DUMP=SIGUSR2: a hung program, in blockOn or as a guest.

import { Mutex, Runtime, sleep, spawn, TcpListener } from "../../../src/index.ts";

function* hung() {
  const database = new Mutex(0, { name: "database" });
  spawn(
    function* forgetful() {
      yield* database.lock(); // never released
    },
    { name: "forgetful" },
  ).detach();
  yield* sleep(1);
  spawn(database.lock(), { name: "patient" }).detach();
  using listener = TcpListener.bind("127.0.0.1:0");
  spawn(async () => {
    await sleep(1);
    console.log("hung");
  }).detach();
  yield* listener.accept();
}

using runtime = new Runtime();
if (process.argv[2] === "guest") await runtime.run(hung);
else runtime.blockOn(hung);
