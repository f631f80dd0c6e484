// A program of test/runtime/observability.test.ts, run with GUILLOTINE_DEBUG=1: a script that forgets an `await`, and never
// creates a runtime.

import { sleep } from "../../../src/index.ts";

async function save(): Promise<string> {
  sleep(10); // the `await` is missing
  return "done";
}

console.log(await save());
