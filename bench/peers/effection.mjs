// The executor benchmarks on Effection's operations. (Without 100,000 concurrent sleeps: they take ten seconds.)

import { createQueue, race, run, sleep, spawn, suspend } from "effection";
import { answer, bytes, percentile } from "./answer.mjs";

const task = (body) => (count) => run(() => body(count));

function* late(count) {
  const lateMs = [];
  for (let index = 0; index < count; index++) {
    const dueMs = performance.now() + 1;
    yield* sleep(1);
    lateMs.push(performance.now() - dueMs);
  }
  return lateMs;
}

await answer({
  spawn: task(function* (count) {
    for (let index = 0; index < count; index++) {
      yield* yield* spawn(function* () {
        return 1;
      });
    }
  }),
  "ping-pong": task(function* (count) {
    const [there, back] = [createQueue(), createQueue()];
    yield* spawn(function* () {
      for (let index = 0; index < count; index++) back.add((yield* there.next()).value);
    });
    for (let index = 0; index < count; index++) {
      there.add(index);
      yield* back.next();
    }
  }),
  p50: async (count) => percentile(await run(() => late(count)), 0.5),
  p99: async (count) => percentile(await run(() => late(count)), 0.99),
  losers: task(function* (count) {
    function* nothing() {}
    for (let index = 0; index < count; index++) yield* race([sleep(1000), nothing()]);
  }),
  "task-bytes": (count) =>
    bytes(count, async () => {
      const all = Array.from({ length: count }, () => run(suspend));
      await null;
      return all;
    }),
});
