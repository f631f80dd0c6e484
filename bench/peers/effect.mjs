// The executor benchmarks on Effect's fibers.

import { Effect, Fiber, Queue } from "effect";
import { answer, bytes, lateness, percentile, sleepMs } from "./answer.mjs";

const run = (body) => (count) => Effect.runPromise(Effect.gen(() => body(count)));

const deep = Effect.fnUntraced(function* (depth) {
  if (depth === 0) yield* Effect.yieldNow;
  else yield* deep(depth - 1);
});

const late = run(function* (count) {
  const lateMs = [];
  for (let index = 0; index < count; index++) {
    const dueMs = performance.now() + 1;
    yield* Effect.sleep(1);
    lateMs.push(performance.now() - dueMs);
  }
  return lateMs;
});

await answer({
  yield: run(function* (count) {
    for (let index = 0; index < count; index++) yield* Effect.yieldNow;
  }),
  spawn: run(function* (count) {
    const one = Effect.gen(function* () {
      return 1;
    });
    for (let index = 0; index < count; index++) {
      yield* Fiber.join(yield* Effect.forkChild(one));
    }
  }),
  "ping-pong": run(function* (count) {
    const [there, back] = [yield* Queue.bounded(1), yield* Queue.bounded(1)];
    yield* Effect.forkChild(
      Effect.gen(function* () {
        for (let index = 0; index < count; index++) {
          yield* Queue.offer(back, yield* Queue.take(there));
        }
      }),
    );
    for (let index = 0; index < count; index++) {
      yield* Queue.offer(there, index);
      yield* Queue.take(back);
    }
  }),
  join: run(function* (count) {
    for (let round = 0; round < count / 10_000; round++) {
      const all = Array.from({ length: 10_000 }, () => Effect.yieldNow);
      yield* Effect.all(all, { concurrency: "unbounded" });
    }
  }),
  deep: run(function* (count) {
    for (let index = 0; index < count; index++) yield* deep(10);
  }),
  sleeps: (count) =>
    lateness(() =>
      Effect.runPromise(
        Effect.all(
          Array.from({ length: count }, (_, index) => Effect.sleep(sleepMs(index))),
          { concurrency: "unbounded" },
        ),
      ),
    ),
  p50: async (count) => percentile(await late(count), 0.5),
  p99: async (count) => percentile(await late(count), 0.99),
  losers: run(function* (count) {
    for (let index = 0; index < count; index++) {
      yield* Effect.race(Effect.sleep(1000), Effect.yieldNow);
    }
  }),
  "task-bytes": (count) =>
    bytes(count, async () => {
      const all = Array.from({ length: count }, () => Effect.runFork(Effect.never));
      await null;
      return all;
    }),
  "sleep-bytes": (count) =>
    bytes(count, async () => {
      const all = Array.from({ length: count }, () => Effect.runFork(Effect.sleep(1_000_000)));
      await null;
      return all;
    }),
});
