// A program that test/inspect/console.test.ts inspects. It ends when its stdin does.

import { readSync } from "node:fs";
import { AsyncFd, now, Runtime, sleep } from "../../../src/index.ts";
import { inspect } from "../../../src/inspect/index.ts";

const [, , mode] = process.argv;

function* main() {
  using stdin = new AsyncFd(0);
  yield* runtime.spawn(
    function* () {
      yield* stdin.read(new Uint8Array(1));
      if (mode === "stuck" || mode === "pause") {
        console.log("stuck");
        // Longer than a client counts that no longer asks.
        for (const endMs = now() + 6000; mode === "stuck" || now() < endMs; );
      }
      if (mode !== "pause") return;
      while (runtime.metrics().observed !== undefined) yield* sleep(10);
      console.log("statistics have ended");
    },
    { name: "waiter" },
  );
}

if (mode === "late") {
  inspect({ port: 0 });
  readSync(0, new Uint8Array(1)); // blocks the thread
}
const runtime = new Runtime();
if (["blockOn", "stuck", "pause", "late"].includes(mode ?? "")) {
  runtime.blockOn(main);
  runtime[Symbol.dispose]();
} else {
  const done = runtime.run(main);
  if (mode === "outside")
    setTimeout(() => {
      for (;;);
    }, 300);
  await done;
  await runtime[Symbol.asyncDispose]();
}
