// A program of test/runtime/observability.test.ts, run with GUILLOTINE_DEBUG=1: functions that cancel their work receive a
// promise, which cannot be cancelled, and then other work.

import {
  deadline,
  fromPromise,
  now,
  orUndefined,
  sleep,
  spawn,
  timeout,
  withSignal,
} from "../../../src/index.ts";

async function ask(): Promise<void> {
  await sleep(1);
}
const { signal } = new AbortController();

await timeout(1e6, ask());
await deadline(now() + 1e6, ask());
await orUndefined(1e6, ask());
await withSignal(signal, ask());
await spawn(ask());

await timeout(1e6, ask);
await timeout(1e6, fromPromise(ask()));
await withSignal(signal, sleep(1));
await spawn(ask);
await spawn(fromPromise(ask()));
await spawn(sleep(1));
