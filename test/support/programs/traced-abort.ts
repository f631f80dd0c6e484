// A program of test/runtime/observability.test.ts, run with GUILLOTINE_TRACE=1: a task that is aborted before
// the first turn.

import { Runtime, sleep } from "../../../src/index.ts";

const runtime = new Runtime();
runtime.spawn(sleep(1), { name: "early" }).abort();
runtime.block();
