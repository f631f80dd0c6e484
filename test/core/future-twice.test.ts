// A future that is given as work twice. Two owners would take each other's wakes, and one of them would wait
// indefinitely, so the second time is an error.

import { expect, test } from "bun:test";
import {
  allSettled,
  type IntoFuture,
  intoFuture,
  join,
  joinAll,
  Mutex,
  map,
  mpsc,
  Runtime,
  race,
  scope,
  select,
  shared,
  shield,
  sleep,
  spawn,
  timeout,
  withSignal,
} from "../../src/index.ts";
import { caught } from "../support/caught.ts";

const signal = new AbortController().signal;
const fails: [
  name: string,
  give: (future: () => ReturnType<typeof sleep>) => IntoFuture<unknown>,
][] = [
  ["join", (create) => ((f) => join(f, f))(create())],
  ["join, with work between", (create) => ((f) => join([f, sleep(1), f]))(create())],
  ["joinAll", (create) => joinAll(Array(3).fill(create()))],
  ["race", (create) => ((f) => race(f, f))(create())],
  ["select", (create) => ((f) => select({ a: f, b: f }))(create())],
  ["allSettled", (create) => ((f) => allSettled(f, f))(create())],
  ["two timeouts", (create) => ((f) => join(timeout(9, f), timeout(9, f)))(create())],
  ["a shield and a signal", (create) => ((f) => join(shield(f), withSignal(signal, f)))(create())],
  [
    "two functions",
    (create) =>
      ((f) =>
        join(
          () => f,
          () => f,
        ))(create()),
  ],
  ["map", (create) => ((f) => map([1, 2], () => f))(create())],
  [
    "a race that is lost",
    (create) => ((f) => race(sleep(0), f).then(() => timeout(1, f)))(create()),
  ],
  [
    "two tasks",
    (create) =>
      function* () {
        const future = create();
        return [spawn(future), spawn(future)];
      },
  ],
  [
    "two tasks of a scope with a limit",
    (create) =>
      scope(
        function* (s) {
          const future = create();
          return [s.spawn(future), s.spawn(future)];
        },
        { limit: 2 },
      ),
  ],
  [
    "await and race",
    (create) => async () => ((f) => Promise.all([race(f, sleep(9)), f]))(create()),
  ],
  [
    "race and await",
    (create) => async () => ((f) => Promise.all([f, race(f, sleep(9))]))(create()),
  ],
];

test.each(fails)("a future that is given twice by %s is refused by name", (_, give) => {
  using runtime = new Runtime();
  const work = function* () {
    return yield* intoFuture(give(() => sleep(2)));
  };
  const error = caught(() => runtime.blockOn(work));
  expect(error).toBeInstanceOf(TypeError);
  expect(error).toMatchObject({ code: "ERR_FUTURE_TAKEN" });
  expect((error as Error).message).toMatch(
    /^(Future \((sleep of 2 ms|ended)\)|this future) was given/,
  );
});

test("the second owner is refused before the first has waited, and the first still completes", () => {
  using runtime = new Runtime();
  const { sender, receiver } = mpsc<number>(1);
  const recv = receiver.recv();
  const handle = runtime.spawn(recv);
  expect(() => runtime.spawn(recv)).toThrow('Future (recv on channel "mpsc") was given as work');
  expect(() => runtime.blockOn(recv)).toThrow("was given as work");
  sender.trySend(1);
  expect(runtime.blockOn(handle)).toEqual({ done: false, value: 1 });
});

test("handles and shared work may be given many times, and a future that a `using` holds once", () => {
  using runtime = new Runtime();
  const handle = runtime.spawn(async () => 7);
  const work = shared(async () => 8);
  expect(runtime.blockOn(join(handle, handle, work, work))).toEqual([7, 7, 8, 8]);
  const mutex = new Mutex(null);
  runtime.blockOn(function* () {
    using lock = mutex.lock();
    yield* timeout(1000, lock);
  });
});
