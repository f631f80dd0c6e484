// A program of test/runtime/observability.test.ts, run with GUILLOTINE_DEBUG=1: `spawn` receives a promise, which cannot be
// cancelled, and then a function.

import { sleep, spawn } from "../../../src/index.ts";

async function ask(): Promise<void> {
  await sleep(1);
}

await spawn(ask());
await spawn(ask);
await spawn(sleep(1));
