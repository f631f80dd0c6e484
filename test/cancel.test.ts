// Cancellation from outside: AbortSignals, abortOnDrop, shields, and drops by code that is not the owner.

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import {
  AbortError,
  type Coroutine,
  Future,
  intoFuture,
  type JoinHandle,
  join,
  Pending,
  type Poll,
  Runtime,
  race,
  shield,
  sleep,
  spawn,
  TimeoutError,
  timeout,
  withSignal,
  yieldNow,
} from "../src/index.ts";
import { caught, failureOf } from "./support/caught.ts";
import { Counting } from "./support/counting.ts";
import { untilIdle } from "./support/idle.ts";
import { captureConsoleError } from "./support/output.ts";

setDefaultTimeout(60_000); // a slow machine must not fail the test

/** An AbortController that counts the listeners added to and removed from its signal. */
class CountedController extends AbortController {
  added = 0;
  removed = 0;

  constructor() {
    super();
    const { signal } = this;
    const [add, remove] = [signal.addEventListener, signal.removeEventListener];
    signal.addEventListener = (...args: Parameters<typeof add>) => {
      this.added++;
      add.apply(signal, args);
    };
    signal.removeEventListener = (...args: Parameters<typeof remove>) => {
      this.removed++;
      remove.apply(signal, args);
    };
  }
}

const reason = new Error("the reason");

test("withSignal throws the signal's reason after the cleanup of the work", () => {
  using runtime = new Runtime();
  const controller = new CountedController();
  const log: string[] = [];
  const error = caught(() =>
    runtime.blockOn(function* () {
      spawn(async () => controller.abort(reason));
      yield* withSignal(controller.signal, function* () {
        try {
          yield* sleep(1e6);
        } finally {
          yield* sleep(1);
          log.push("cleaned up");
        }
      });
    }),
  );
  expect(error).toBe(reason);
  expect(log).toEqual(["cleaned up"]);
  expect([controller.added, controller.removed]).toEqual([1, 1]);
});

test("work never starts if its signal has already aborted, and an abort after the work has ended has no effect", () => {
  using runtime = new Runtime();
  const aborted = AbortSignal.abort(reason);
  let starts = 0;
  const work = async (): Promise<number> => ++starts;
  expect(caught(() => runtime.blockOn(withSignal(aborted, work)))).toBe(reason);
  expect(caught(() => runtime.blockOn(runtime.spawn(work, { signal: aborted })))).toBe(reason);
  expect(starts).toBe(0);
  const controller = new AbortController();
  const handle = runtime.spawn(work, { signal: controller.signal });
  runtime.block();
  controller.abort(reason);
  expect(runtime.blockOn(handle)).toBe(1);
});

test("awaiting a task that its signal aborted throws the reason after the cleanup", () => {
  using runtime = new Runtime();
  const controller = new CountedController();
  const log: string[] = [];
  const handle = runtime.spawn(
    function* () {
      try {
        yield* sleep(1e6);
      } finally {
        yield* sleep(1);
        log.push("cleaned up");
      }
    },
    { signal: controller.signal },
  );
  untilIdle(runtime);
  controller.abort(reason);
  expect(caught(() => runtime.blockOn(handle))).toBe(reason);
  expect(log).toEqual(["cleaned up"]);
  expect([controller.added, controller.removed]).toEqual([1, 1]);
});

test("100,000 uses of one signal leave no listener, however each use ends", () => {
  using runtime = new Runtime();
  const controller = new CountedController();
  const { signal } = controller;
  runtime.blockOn(function* () {
    for (let count = 0; count < 25_000; count++) {
      yield* withSignal(signal, yieldNow());
      spawn(yieldNow(), { signal });
      spawn(withSignal(signal, sleep(1e6))).abort();
      try {
        yield* withSignal(signal, function* (): Coroutine<void> {
          yield* yieldNow();
          throw reason;
        });
      } catch {}
    }
  });
  runtime.block();
  expect(controller.added).toBeGreaterThanOrEqual(75_000);
  expect(controller.removed).toBe(controller.added);
});

test("withSignal throws TypeError for a value that is not an AbortSignal", () => {
  expect(() => withSignal({} as AbortSignal, sleep(1))).toThrow(
    "withSignal: signal must be an AbortSignal; got an instance of Object",
  );
});

test("a task that aborts itself and then ends without suspending keeps its own outcome", () => {
  using runtime = new Runtime();
  const seven = runtime.spawn(function* (): Coroutine<number> {
    seven.abort();
    return 7;
  });
  expect(runtime.blockOn(seven)).toBe(7);
  expect(seven.isAborted).toBe(false);
  const fails = runtime.spawn(function* (): Coroutine<never> {
    fails.abort();
    throw reason;
  });
  const error = caught(() => runtime.block()) as Error;
  expect([error.name, error.cause]).toEqual(["UncaughtTaskError", reason]);
});

test("an error that a drop throws is reported, the task still ends as aborted, and sibling futures are dropped", () => {
  using print = captureConsoleError();
  class ThrowsOnDrop extends Future<void> {
    override poll(): Poll<void> {
      return Pending;
    }

    override drop(): void {
      throw reason;
    }
  }
  using runtime = new Runtime();
  const leaf = new Counting<void>();
  const handles: JoinHandle<unknown>[] = [
    runtime.spawn(new ThrowsOnDrop()),
    runtime.spawn(new ThrowsOnDrop()),
    runtime.spawn(join(new ThrowsOnDrop(), leaf)),
  ];
  handles[0]?.abort();
  untilIdle(runtime);
  for (const handle of handles) {
    handle.abort();
    expect(caught(() => runtime.blockOn(handle))).toBeInstanceOf(AbortError);
  }
  expect(leaf.drops).toBe(1);
  expect(print.mock.calls.map((call) => call[1])).toEqual([reason, reason, reason]);
  const other = new Counting<void>();
  runtime.blockOn(function* () {
    const both = join(new ThrowsOnDrop(), other);
    both.next();
    expect(caught(() => both.drop())).toBe(reason);
  });
  expect(other.drops).toBe(1);
});

test("a timeout of abortOnDrop() aborts the task and awaits its cleanup; a race that drops a handle aborts nothing", () => {
  using runtime = new Runtime();
  const log: string[] = [];
  function* task(name: string): Coroutine<void> {
    try {
      yield* sleep(name === "detached" ? 5 : 1e6);
    } finally {
      yield* sleep(1);
      log.push(name);
    }
  }
  runtime.blockOn(function* () {
    const owned = spawn(task("owned"));
    expect(yield* failureOf(timeout(1, owned.abortOnDrop()))).toBeInstanceOf(TimeoutError);
    expect([log, owned.isAborted]).toEqual([["owned"], true]);
    const dropped = spawn(task("dropped"));
    yield* yieldNow();
    dropped.abortOnDrop().drop(); // aborts the task, without waiting for its cleanup
    expect(dropped.isFinished).toBe(false);
    const detached = spawn(task("detached"));
    yield* race(detached, yieldNow());
    yield* detached;
    expect(log).toEqual(["owned", "dropped", "detached"]);
    expect(dropped.isAborted).toBe(true);
  });
});

test("abortOnDrop() returns the value of the task or throws its error", () => {
  using runtime = new Runtime();
  const fails = async (): Promise<never> => {
    throw reason;
  };
  runtime.blockOn(function* () {
    expect(yield* spawn(async () => 7).abortOnDrop()).toBe(7);
    expect(yield* failureOf(spawn(fails).abortOnDrop())).toBe(reason);
  });
  const failed = runtime.spawn(fails);
  const error = caught(() => runtime.blockOn(yieldNow())) as Error;
  expect(error.cause).toBe(reason);
  failed.abortOnDrop().drop(); // throws nothing: the failure was already reported
  runtime.block();
});

test("cancelling a task waits until its shielded work has ended", () => {
  using runtime = new Runtime();
  const leaf = new Counting<string>();
  const log: string[] = [];
  const handle = runtime.spawn(function* () {
    try {
      yield* shield(function* () {
        log.push(`shielded ${yield* leaf}`);
      });
      log.push("continued");
    } finally {
      log.push("cleaned up");
    }
  });
  untilIdle(runtime);
  handle.abort();
  untilIdle(runtime);
  expect(handle.isFinished).toBe(false);
  leaf.complete("work");
  runtime.block();
  expect(log).toEqual(["shielded work", "cleaned up"]);
  expect(leaf.drops).toBe(0);
  expect(handle.isAborted).toBe(true);
});

test("a shield dropped before its first poll never starts, and the runtime finishes a shield dropped later", () => {
  using runtime = new Runtime();
  let begun = 0;
  const never = shield(async () => ++begun);
  never.drop();
  const leaf = new Counting<void>();
  runtime.blockOn(function* () {
    const future = shield(leaf);
    future.next();
    future.drop();
    future.drop();
    yield* yieldNow();
  });
  expect(leaf.drops).toBe(0);
  expect(runtime.tasks()).toHaveLength(1);
  leaf.complete();
  runtime.block();
  expect(begun).toBe(0);
});

describe.each([
  ["a coroutine", (log: string[], gate: Future<void>) => intoFuture(slowly(log, gate))],
  ["an async function", (log, gate) => intoFuture(() => slowlyAsync(log, gate))],
  ["a shield", (log, gate) => shield(cleanUp(log, gate))],
])("%s that is dropped by code other than its owner", (_name, make) => {
  test.each([["before"], ["after"]])(
    "runs its cleanup once if it is dropped %s the abort of its owner, and the owner ends",
    (when) => {
      using runtime = new Runtime();
      const log: string[] = [];
      const gate = new Counting<void>();
      const future = make(log, gate);
      const owner = runtime.spawn(future);
      runtime.blockOn(function* () {
        yield* yieldNow();
        if (when === "before") future.drop();
        yield* untilIdle();
        owner.abort();
        yield* untilIdle();
        future.drop();
        future.drop();
        gate.complete();
        yield* failureOf(owner);
      });
      runtime.block();
      expect(log).toEqual(["cleaned up"]);
    },
  );

  test("makes an owner that is awaiting it fail", () => {
    using runtime = new Runtime();
    const log: string[] = [];
    const gate = new Counting<void>();
    const future = make(log, gate);
    const owner = runtime.spawn(future);
    untilIdle(runtime);
    runtime.blockOn(async () => future.drop());
    const error = runtime.blockOn(failureOf(owner));
    expect(String(error)).toContain("polled after it had completed or been dropped");
    gate.complete();
    runtime.block();
    expect(log).toEqual(["cleaned up"]);
  });

  test("rejects its await and runs its cleanup if a `using` in an async function drops it", () => {
    using runtime = new Runtime();
    const log: string[] = [];
    const gate = new Counting<void>();
    const work = runtime.spawn(async () => {
      using future = make(log, gate);
      future.then(null, () => log.push("rejected"));
      await yieldNow();
    });
    untilIdle(runtime);
    gate.complete();
    runtime.blockOn(work);
    runtime.block();
    expect(log).toEqual(["rejected", "cleaned up"]);
  });
});

function* cleanUp(log: string[], gate: Future<void>): Coroutine<void> {
  yield* gate;
  log.push("cleaned up");
}

function* slowly(log: string[], gate: Future<void>): Coroutine<void> {
  try {
    yield* sleep(1e6);
  } finally {
    yield* cleanUp(log, gate);
  }
}

async function slowlyAsync(log: string[], gate: Future<void>): Promise<void> {
  try {
    await sleep(1e6);
  } finally {
    await shield(cleanUp(log, gate));
  }
}

test("an async function that its own cleanup drops still finishes that cleanup", () => {
  using runtime = new Runtime();
  const log: string[] = [];
  const future: Future<void> = intoFuture(async () => {
    try {
      await sleep(1e6);
    } finally {
      future.drop();
      await shield(cleanUp(log, yieldNow()));
    }
  });
  const owner = runtime.spawn(future);
  untilIdle(runtime);
  owner.abort();
  runtime.block();
  expect(log).toEqual(["cleaned up"]);
});

test("shield returns the value of its work or throws its error", () => {
  using runtime = new Runtime();
  expect(runtime.blockOn(shield(async () => 7))).toBe(7);
  expect(caught(() => runtime.blockOn(shield(async () => Promise.reject(reason))))).toBe(reason);
});
