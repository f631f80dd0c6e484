// A failure that a combinator has received, and a combinator that fails itself: nothing is lost, nothing is left.

import { expect, test } from "bun:test";
import {
  type Coroutine,
  forEach,
  type IntoFuture,
  intoFuture,
  JoinSet,
  join,
  Leaf,
  map,
  Pending,
  type Poll,
  Runtime,
  race,
  type Scope,
  scope,
  sleep,
  spawn,
  timeout,
  withSignal,
} from "../../src/index.ts";
import { untilIdle } from "../support/idle.ts";
import { captureConsoleError } from "../support/output.ts";
import { careful, failAfter } from "../support/work.ts";

const boom = new Error("boom");
const failing = () => failAfter(1, boom);
/** Its cleanup suspends, so the combinator is cancelled while it waits for it. */
function* slowToEnd(): Coroutine<void> {
  try {
    yield* sleep(1e6);
  } finally {
    yield* sleep(1e6 - 1);
  }
}

const waiting: [name: string, make: () => IntoFuture<unknown>][] = [
  ["join", () => join(failing, slowToEnd)],
  ["join of a task", () => join(spawn(failing), slowToEnd)],
  ["race", () => race(slowToEnd, failing)],
  ["map", () => map([failing, slowToEnd], (work) => work())],
  ["forEach", () => forEach([failing, slowToEnd], (work) => work())],
  [
    "withSignal around a join",
    () => withSignal(new AbortController().signal, join(failing, slowToEnd)),
  ],
  ["timeout around a join", () => timeout(1e7, join(failing, slowToEnd))],
  [
    "race with a result of a JoinSet",
    () => {
      const set = new JoinSet<void>();
      set.spawn(failing);
      return race(slowToEnd, set.joinNext());
    },
  ],
];

test.each(waiting)("%s that is cancelled in the cleanup after a failure reports it", (_, make) => {
  for (const end of ["abort", "drop"] as const) {
    using runtime = new Runtime({ clock: "virtual" });
    using reported = captureConsoleError();
    const work = intoFuture(() => intoFuture(make()));
    const awaiting = async (): Promise<void> => {
      await work.catch(() => {});
    };
    const handle = runtime.spawn(end === "abort" ? work : awaiting, { name: "request" });
    untilIdle(runtime);
    expect(reported).not.toHaveBeenCalled();
    if (end === "abort") handle.abort();
    else runtime.blockOn(async () => work.drop());
    runtime.block();
    expect(reported.mock.calls.map(([, error]) => error)).toEqual([boom]);
    expect(reported.mock.calls[0]![0]).toMatch(
      /^guillotine: work in task .*, which was cancelled, failed:$/,
    );
  }
});

test("a failure that reaches the canceller through an async function is not also reported", () => {
  using runtime = new Runtime({ clock: "virtual", cancelGraceMs: 1e7 });
  using reported = captureConsoleError();
  const body = function* (tasks: Scope): Coroutine<void> {
    const failed = tasks.spawn(failing);
    tasks.spawn(async () => void (await join(failed, slowToEnd)));
    yield* sleep(1e6);
  };
  expect(() => runtime.blockOn(scope(body))).toThrow(boom);
  expect(reported).not.toHaveBeenCalled();
});

test("a failure that is the reason of the cancellation is not also reported", () => {
  using runtime = new Runtime({ clock: "virtual" });
  using reported = captureConsoleError();
  const body = function* (tasks: Scope): Coroutine<void> {
    const shared = spawn(failing);
    tasks.spawn(() => shared); // fails after the join, and cancels it
    yield* join(shared, slowToEnd);
  };
  expect(() => runtime.blockOn(scope(body))).toThrow(boom);
  expect(reported).not.toHaveBeenCalled();
});

test("neither the limit of a cancelled timeout nor an aborted task counts as a failure", () => {
  using runtime = new Runtime({ clock: "virtual" });
  using reported = captureConsoleError();
  const handle = runtime.spawn(timeout(1, slowToEnd));
  const aborted = runtime.spawn(() => sleep(1e6));
  const joining = runtime.spawn(join(aborted, slowToEnd));
  const stop = new AbortController();
  const stopped = runtime.spawn(withSignal(stop.signal, slowToEnd));
  untilIdle(runtime);
  aborted.abort();
  stop.abort(new Error("stop"));
  runtime.blockOn(sleep(2));
  for (const one of [handle, joining, stopped]) one.abort();
  runtime.block();
  expect(reported).not.toHaveBeenCalled();
});

class BadLeaf extends Leaf<void> {
  protected override attempt(): Poll<void> {
    return Pending;
  }

  override describe(): string {
    throw boom;
  }
}

test.each<[name: string, make: (work: () => Coroutine<void>) => IntoFuture<unknown>]>([
  ["timeout whose work has a broken description", (work) => timeout(1, join(work, new BadLeaf()))],
  [
    "map over an iterator that returns no result",
    (work) => {
      const results = [Promise.resolve({ done: false, value: work }), sleep(1).then()];
      const items = { [Symbol.asyncIterator]: () => ({ next: () => results.shift()! }) };
      return map(items as AsyncIterable<typeof work>, (item) => item());
    },
  ],
])("%s throws after the cleanup of its work", (_, make) => {
  using runtime = new Runtime({ clock: "virtual" });
  const log: string[] = [];
  expect(() => runtime.blockOn(make(() => careful("work", log)))).toThrow();
  expect(log).toEqual(["work is clean"]);
});
