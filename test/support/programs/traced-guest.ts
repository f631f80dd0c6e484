// A program of test/runtime/observability.test.ts, run with GUILLOTINE_TRACE=1: a sleep in guest mode.

import { Runtime, sleep } from "../../../src/index.ts";

await using runtime = new Runtime({ spinMicros: 0 });
await runtime.run(sleep(20));
console.error("parks", runtime.metrics().parks > 0);
