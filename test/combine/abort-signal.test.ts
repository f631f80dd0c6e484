// abortSignal() and fromPromise(function): what aborts a signal, with which reason, and when nothing does.

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { EventEmitter, once } from "node:events";
import { setTimeout as nodeSleep } from "node:timers/promises";
import {
  AbortError,
  abortSignal,
  type Context,
  type Coroutine,
  Future,
  fromPromise,
  type IntoFuture,
  intoFuture,
  join,
  joinAll,
  Pending,
  Runtime,
  race,
  scope,
  shield,
  sleep,
  spawn,
  TimeoutError,
  timeout,
  withSignal,
  yieldNow,
} from "../../src/index.ts";
import { failureOf } from "../support/caught.ts";
import { untilIdle } from "../support/idle.ts";
import { manualContext } from "../support/manual.ts";
import { captureConsoleError, silenceWarnings } from "../support/output.ts";

setDefaultTimeout(60_000); // a slow machine must not fail the test

const boom = new Error("boom");
const waiting = { waitForSettled: true };

/** The signal of a piece of work, and whether it was aborted when the work's cleanup began. */
interface Seen {
  signal: AbortSignal | null;
  wasAbortedInCleanup: boolean;
}

type Work = () => Future<unknown>;

/** Work that asks for a signal and waits until it is cancelled, in each of the ways to write work. */
const works: Record<string, (seen: Seen) => () => IntoFuture<unknown>> = {
  "a coroutine": (seen) =>
    function* () {
      seen.signal = abortSignal();
      try {
        yield* sleep(1e6);
      } finally {
        seen.wasAbortedInCleanup = seen.signal.aborted;
      }
    },
  "an async function": (seen) => async () => {
    seen.signal = abortSignal();
    try {
      await sleep(1e6);
    } finally {
      seen.wasAbortedInCleanup = seen.signal.aborted;
    }
  },
  "an async function that waits only for a promise": (seen) => async () => {
    await yieldNow();
    seen.signal = abortSignal();
    const { signal } = seen;
    try {
      await new Promise((_, reject) =>
        signal.addEventListener("abort", () => reject(signal.reason)),
      );
    } finally {
      seen.wasAbortedInCleanup = seen.signal.aborted;
    }
  },
  "a function that passes its signal to a coroutine": (seen) => () => {
    seen.signal = abortSignal();
    const { signal } = seen;
    return intoFuture(function* () {
      try {
        yield* sleep(1e6);
      } finally {
        seen.wasAbortedInCleanup = signal.aborted;
      }
    });
  },
  "fromPromise of a function": (seen) => () =>
    fromPromise((signal) => {
      seen.signal = signal;
      return new Promise((_, reject) =>
        signal.addEventListener("abort", () => {
          seen.wasAbortedInCleanup = true;
          reject(signal.reason);
        }),
      );
    }),
};

/** Polls another future once, and leaves it pending. */
class PollOnce extends Future<void> {
  readonly #future: Future<unknown>;

  constructor(future: Future<unknown>) {
    super();
    this.#future = future;
  }

  override poll(cx: Context): void {
    expect(this.#future.poll(cx)).toBe(Pending);
  }
}

/** Runs `work` and cancels it. Returns the error that is the reason; undefined if the canceller has none. */
const cancellers: Record<string, (runtime: Runtime, work: Work) => unknown> = {
  "a timeout": (runtime, work) => runtime.blockOn(() => failureOf(timeout(5, work))),
  "a race": (runtime, work) => {
    runtime.blockOn(race(work, sleep(5)));
  },
  "a failed join": (runtime, work) => runtime.blockOn(() => failureOf(join(work, sleepThenFail))),
  "a failed scope": (runtime, work) =>
    runtime.blockOn(() =>
      failureOf(
        scope(function* (s) {
          s.spawn(work);
          yield* sleepThenFail();
        }),
      ),
    ),
  "a scope that is cancelled": (runtime, work) =>
    runtime.blockOn(() =>
      failureOf(
        scope(function* (s) {
          s.spawn(work);
          yield* sleep(5);
          s.cancel(boom);
        }),
      ),
    ),
  "a timeout around a scope of scopes": (runtime, work) =>
    runtime.blockOn(() =>
      failureOf(
        timeout(
          5,
          scope(function* (s) {
            s.spawn(
              scope(function* (inner) {
                inner.spawn(work);
              }),
            );
          }),
        ),
      ),
    ),
  "handle.abort()": (runtime, work) =>
    runtime.blockOn(function* () {
      const handle = spawn(work);
      yield* untilIdle();
      handle.abort();
      return yield* failureOf(handle);
    }),
  "abort with a reason": (runtime, work) =>
    runtime.blockOn(function* () {
      const handle = spawn(work);
      yield* untilIdle();
      handle.abortHandle().abort(boom);
      return yield* failureOf(handle);
    }),
  "an AbortSignal": (runtime, work) => {
    const controller = new AbortController();
    return runtime.blockOn(function* () {
      const handle = spawn(withSignal(controller.signal, work));
      yield* untilIdle();
      controller.abort(boom);
      return yield* failureOf(handle);
    });
  },
  "drop()": (runtime, work) => {
    runtime.blockOn(function* () {
      const joined = join(work);
      yield* new PollOnce(joined);
      yield* sleep(5);
      joined.drop();
    });
  },
  "an async function that times out": (runtime, work) =>
    runtime.blockOn(() =>
      failureOf(
        timeout(5, async () => {
          await race(work);
        }),
      ),
    ),
};

function* sleepThenFail(): Coroutine<never> {
  yield* sleep(5);
  throw boom;
}

describe.each(Object.entries(works))("the signal of %s", (_, workOf) => {
  test.each(Object.entries(cancellers))("is aborted by %s, before the cleanup", (_, cancel) => {
    using reported = captureConsoleError();
    using _warnings = silenceWarnings(); // blockOn warns of a foreign promise
    const seen: Seen = { signal: null, wasAbortedInCleanup: false };
    using runtime = new Runtime();
    const error = cancel(runtime, () => intoFuture(workOf(seen) as Work));
    untilIdle(runtime);
    const { signal } = seen;
    expect(signal?.aborted).toBe(true);
    expect(seen.wasAbortedInCleanup).toBe(true);
    if (error === undefined) expect(signal?.reason).toBeInstanceOf(AbortError);
    else expect(signal?.reason).toBe(error);
    expect(reported).not.toHaveBeenCalled();
    expect(runtime.tasks()).toEqual([]);
  });

  test("is aborted by the disposal of the runtime", () => {
    const seen: Seen = { signal: null, wasAbortedInCleanup: false };
    {
      using runtime = new Runtime();
      runtime.spawn(workOf(seen) as Work);
      untilIdle(runtime);
      expect(seen.signal?.aborted).toBe(false);
    }
    expect(seen.signal?.aborted).toBe(true);
    expect(seen.signal?.reason).toBeInstanceOf(AbortError);
  });
});

test("the signal of work that has ended is not aborted when the task around it is cancelled", () => {
  using runtime = new Runtime();
  const signals: AbortSignal[] = [];
  const ending = () => intoFuture(async () => void signals.push(abortSignal()));
  const coroutine = function* (): Coroutine<void> {
    signals.push(abortSignal());
  };
  const handle = runtime.spawn(async () => {
    await ending();
    await race(ending(), sleep(1e6));
    await join(coroutine, ending());
    await intoFuture(coroutine);
    await timeout(1000, coroutine);
    await intoFuture(() => sleep(1e6)); // the Await of an earlier one is reused
  });
  untilIdle(runtime);
  handle.abort();
  runtime.blockOn(() => failureOf(handle));
  expect(signals.map(({ aborted }) => aborted)).toEqual(signals.map(() => false));
  expect(new Set(signals).size).toBe(6);
});

test("each call in one piece of work returns the same signal, and each branch of a join has its own", () => {
  using runtime = new Runtime();
  const both = function* (): Coroutine<[AbortSignal, AbortSignal]> {
    const first = abortSignal();
    yield* yieldNow();
    return [first, abortSignal()];
  };
  const asynchronous = async (): Promise<[AbortSignal, AbortSignal]> => {
    const first = abortSignal();
    await sleep(0);
    return [first, abortSignal()];
  };
  const pairs = runtime.blockOn(join(both, both, asynchronous, asynchronous));
  for (const [first, second] of pairs) expect(first).toBe(second);
  expect(new Set(pairs.flat()).size).toBe(4);
});

test("a cancellation aborts the signals of the outer and of the inner work with the same reason", () => {
  using runtime = new Runtime();
  const signals: AbortSignal[] = [];
  const error = runtime.blockOn(() =>
    failureOf(
      timeout(5, function* () {
        signals.push(abortSignal());
        yield* join(async () => {
          signals.push(abortSignal());
          await sleep(1e6);
        }, sleep(1e6));
      }),
    ),
  );
  expect(error).toBeInstanceOf(TimeoutError);
  expect(signals.map(({ reason }) => reason)).toEqual([error, error]);
});

test("inside a shield the signal is not aborted, neither by a canceller that waits nor by drop()", () => {
  using runtime = new Runtime();
  const log: boolean[] = [];
  const work = async (): Promise<void> => {
    const signal = abortSignal();
    await sleep(20);
    log.push(signal.aborted);
  };
  const coroutine = function* (): Coroutine<void> {
    const signal = abortSignal();
    yield* sleep(20);
    log.push(signal.aborted);
  };
  runtime.blockOn(function* () {
    yield* failureOf(timeout(1, shield(work)));
    yield* failureOf(timeout(1, shield(coroutine)));
    expect(log).toEqual([false, false]);
    const dropped = shield(coroutine);
    yield* race(dropped[Symbol.iterator](), yieldNow());
  });
  runtime.block();
  expect(log).toEqual([false, false, false]);
});

test("in the cleanup of cancelled work, abortSignal() returns another signal, which is not aborted", () => {
  using runtime = new Runtime();
  const signals: AbortSignal[] = [];
  const work = function* (): Coroutine<void> {
    try {
      signals.push(abortSignal());
      yield* sleep(1e6);
    } finally {
      signals.push(abortSignal());
      yield* sleep(1);
    }
  };
  const asynchronous = async (): Promise<void> => {
    try {
      signals.push(abortSignal());
      await sleep(1e6);
    } finally {
      signals.push(abortSignal());
      await sleep(1);
    }
  };
  for (const one of [work, asynchronous]) {
    runtime.blockOn(race(sleep(1), one));
    expect(signals.splice(0).map(({ aborted }) => aborted)).toEqual([true, false]);
  }
});

test("abortSignal() outside any work, and after it, returns a signal that nothing aborts", async () => {
  expect(abortSignal().aborted).toBe(false);
  const { promise, resolve } = Promise.withResolvers<AbortSignal[]>();
  const work = timeout(1, async () => {
    const before = abortSignal();
    await new Promise((done) => setTimeout(done, 20)); // foreign: it is abandoned
    resolve([before, abortSignal()]);
  });
  expect(await work.catch((error: unknown) => error)).toBeInstanceOf(TimeoutError);
  expect((await promise).map(({ aborted }) => aborted)).toEqual([true, false]);
});

test("signals of work that has ended are garbage", () => {
  using runtime = new Runtime();
  const refs: WeakRef<AbortSignal>[] = [];
  runtime.blockOn(function* () {
    for (let n = 0; n < 200; n++) {
      yield* join(async () => void refs.push(new WeakRef(abortSignal())));
    }
  });
  Bun.gc(true);
  expect(refs.filter((ref) => ref.deref() !== undefined).length).toBeLessThan(100);
});

test("fromPromise does not call a function whose future is dropped before its first poll", () => {
  let calls = 0;
  const future = fromPromise(async () => ++calls);
  future.drop();
  using runtime = new Runtime();
  expect(() => runtime.blockOn(future)).toThrow("was polled after it had completed");
  expect(calls).toBe(0);
});

test("the signal of fromPromise is not aborted once the promise has settled", () => {
  using runtime = new Runtime();
  const signals: AbortSignal[] = [];
  const keep = (outcome: "value" | "error") =>
    fromPromise(async (signal) => {
      signals.push(signal);
      if (outcome === "error") throw boom;
      return outcome;
    });
  expect(runtime.blockOn(keep("value"))).toBe("value");
  expect(runtime.blockOn(() => failureOf(keep("error")))).toBe(boom);
  expect(signals.map(({ aborted }) => aborted)).toEqual([false, false]);
});

test("fromPromise throws TypeError for a value that is not a promise, also from its function", () => {
  using runtime = new Runtime();
  expect(() => fromPromise(5 as never)).toThrow("fromPromise: promise must be a promise; got 5");
  expect(() => runtime.blockOn(fromPromise(() => 5 as never))).toThrow(
    "fromPromise: what the function returned must be a promise; got 5",
  );
  expect(() => fromPromise(Promise.resolve(), null as never)).toThrow("options must be an object");
});

test("a task and a TimeoutError name the promise of fromPromise by its option", () => {
  using _warnings = silenceWarnings();
  using runtime = new Runtime();
  const { promise, resolve } = Promise.withResolvers<void>();
  const name = "job 7";
  const late = runtime.blockOn(() => failureOf<Error>(timeout(1, fromPromise(promise, { name }))));
  expect(late.message).toBe('not done within 1 ms; the work was waiting on promise "job 7"');
  const handles = [
    fromPromise(promise, { name }),
    fromPromise(() => promise, { name }),
    fromPromise(promise, { name, waitForSettled: true }),
    async () => await fromPromise(promise, { name }),
  ].map((work) => runtime.spawn(work));
  untilIdle(runtime);
  const waits = runtime.tasks().map(({ waitsOn }) => waitsOn);
  expect(waits).toEqual(handles.map(() => 'promise "job 7"'));
  resolve();
  runtime.blockOn(joinAll(handles));
  expect(() => fromPromise(promise, { name: 7 as never })).toThrow(
    "fromPromise: options.name must be a string; got 7",
  );
});

describe("with waitForSettled", () => {
  /** A promise that the test settles, as a future, and a log of what happened. */
  function slow() {
    const { promise, resolve, reject } = Promise.withResolvers<string>();
    let signal: AbortSignal | null = null;
    const future = fromPromise(
      (given) => {
        signal = given;
        return promise;
      },
      { waitForSettled: true },
    );
    return { future, resolve, reject, isAborted: () => signal?.aborted ?? null };
  }

  test("a canceller waits until the promise has settled", () => {
    using _warnings = silenceWarnings();
    using runtime = new Runtime();
    const { future, resolve, isAborted } = slow();
    const handle = runtime.spawn(race(future, sleep(5)));
    runtime.blockOn(sleep(10));
    untilIdle(runtime);
    expect([isAborted(), handle.isFinished]).toEqual([true, false]);
    resolve("ignored");
    expect(runtime.blockOn(handle)).toBeUndefined();
  });

  test("the canceller of a promise waits also before the first poll: its work has begun", () => {
    using _warnings = silenceWarnings();
    using runtime = new Runtime();
    const { promise, resolve } = Promise.withResolvers<void>();
    const handle = runtime.spawn(fromPromise(promise, { waitForSettled: true }));
    handle.abort();
    untilIdle(runtime);
    expect(handle.isFinished).toBe(false);
    resolve();
    untilIdle(runtime);
    expect(handle.isAborted).toBe(true);
  });

  test("drop() aborts the signal at once and hands the wait to the runtime", async () => {
    const { future, resolve, isAborted } = slow();
    const { cx, target, runtime } = manualContext();
    expect(future.poll(cx)).toBe(Pending);
    future.drop();
    expect([isAborted(), target.wakes]).toEqual([true, 1]);
    const [cleanup] = runtime.cleanups;
    expect(cleanup?.(cx)).toBe(Pending);
    resolve("ignored");
    await Promise.resolve();
    expect(cleanup?.(cx)).toBeUndefined();
    expect(runtime.foreignPromises).toBe(0);
  });

  test("a rejection is reported, unless it is the one of the abort", () => {
    for (const [error, count] of [
      [boom, 1],
      [new AbortError("aborted"), 0],
      [new DOMException("aborted", "AbortError"), 0],
    ] as const) {
      using reported = captureConsoleError();
      using _warnings = silenceWarnings();
      using runtime = new Runtime();
      const { future, reject } = slow();
      const handle = runtime.spawn(race(future, sleep(5)));
      runtime.blockOn(sleep(10));
      reject(error);
      runtime.blockOn(handle);
      expect(reported).toHaveBeenCalledTimes(count);
    }
  });
});

test("a fetch with abortSignal() or fromPromise ends with its work, and nothing is reported", async () => {
  using reported = captureConsoleError();
  const ends: Promise<void>[] = [];
  await using server = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    fetch: (request) => {
      const { promise, resolve } = Promise.withResolvers<void>();
      ends.push(promise);
      request.signal.addEventListener("abort", () => resolve());
      return new Promise<Response>(() => {});
    },
  });
  await using runtime = new Runtime();
  const works: IntoFuture<unknown>[] = [
    async () => await fetch(server.url, { signal: abortSignal() }),
    () => fromPromise((signal) => fetch(server.url, { signal })),
    () => fromPromise((signal) => fetch(server.url, { signal }), { waitForSettled: true }),
    async () => await fromPromise((signal) => fetch(server.url, { signal })),
  ];
  for (const [index, work] of works.entries()) {
    const handle = runtime.spawn(work);
    await runtime.run(async () => {
      while (ends.length <= index) await Bun.sleep(1);
    });
    handle.abort();
    expect(await handle.catch((error: Error) => error.name)).toBe("AbortError");
    await ends[index];
  }
  await Bun.sleep(0);
  expect(reported).not.toHaveBeenCalled();
});

test("the AbortErrors of Node, and those that Promise.any collects, are not reported", async () => {
  using reported = captureConsoleError();
  await using runtime = new Runtime();
  const works: IntoFuture<unknown>[] = [
    async () => await once(new EventEmitter(), "never", { signal: abortSignal() }),
    async () => await nodeSleep(1e6, null, { signal: abortSignal() }),
    async () => await Promise.any([sleep(1e6), sleep(2e6)]),
    () => fromPromise((signal) => once(new EventEmitter(), "never", { signal }), waiting),
    () => fromPromise((signal) => Promise.any([nodeSleep(1e6, null, { signal })]), waiting),
  ];
  for (const work of works) {
    const handle = runtime.spawn(work);
    await runtime.run(untilIdle());
    handle.abort();
    expect(await handle.catch((error: Error) => error.name)).toBe("AbortError");
  }
  await Bun.sleep(0);
  expect(reported).not.toHaveBeenCalled();
});
