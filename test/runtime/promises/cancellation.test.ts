// The rule of cancellation for async functions: it is delivered once, to everything that the function and the
// code in its async context await at that moment. Later awaits work, and what is left running goes on.

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import {
  AbortError,
  abortSignal,
  type Future,
  intoFuture,
  type JoinHandle,
  join,
  Runtime,
  race,
  scope,
  shield,
  sleep,
  spawn,
  TcpListener,
  TcpStream,
  TimeoutError,
  timeout,
  withSignal,
  yieldNow,
} from "../../../src/index.ts";
import { caught, failureOf } from "../../support/caught.ts";
import { Counting } from "../../support/counting.ts";
import { untilIdle } from "../../support/idle.ts";
import { JobQueue } from "../../support/job-queue.ts";
import { captureConsoleError, silenceWarnings } from "../../support/output.ts";
import { run } from "../../support/program.ts";

setDefaultTimeout(60_000); // the machine may be slow

/** Awaits `work` and returns the name of what it throws, or "done". */
async function resultOf(work: PromiseLike<unknown>): Promise<string> {
  try {
    await work;
    return "done";
  } catch (error) {
    return (error as Error).name;
  }
}

/** The three ways to perform an async function. */
const ways: [string, <T>(work: () => Promise<T>) => Promise<T>][] = [
  [
    "with blockOn",
    async (work) => {
      using runtime = new Runtime();
      return runtime.blockOn(work);
    },
  ],
  [
    "in guest mode",
    async (work) => {
      await using runtime = new Runtime();
      return await runtime.run(work);
    },
  ],
  ["on the ambient runtime", (work) => work()],
];

describe.each(ways)("%s", (_way, perform) => {
  test("a timeout waits for the awaits in the `finally` of the function that it cancels", async () => {
    const heard = await perform(async () => {
      const listener = TcpListener.bind("127.0.0.1:0");
      let heard = "";
      const server = spawn(async () => {
        using stream = await listener.accept();
        const buffer = new Uint8Array(64);
        for (;;) {
          const count = await stream.read(buffer);
          if (count === 0) return;
          heard += new TextDecoder().decode(buffer.subarray(0, count));
        }
      });
      const work = timeout(20, async () => {
        using stream = await TcpStream.connect(listener.localAddress);
        try {
          await stream.read(new Uint8Array(1)); // nothing ever comes
        } finally {
          await stream.writeAll("QUIT\r\n");
          await sleep(5);
          await stream.writeAll("BYE\r\n");
        }
      });
      expect(await resultOf(work)).toBe("TimeoutError");
      await server;
      listener.close();
      return heard;
    });
    expect(heard).toBe("QUIT\r\nBYE\r\n");
  });

  test("a job that times out does not cancel the jobs that a queue starts in its context", async () => {
    using _ = silenceWarnings(); // blockOn warns of promises of others
    const queue = new JobQueue();
    const request = (jobMs: number, limitMs: number): Promise<string> =>
      resultOf(timeout(limitMs, () => queue.add(async () => await sleep(jobMs))));
    const results = await perform(() =>
      Promise.all([request(1e6, 10), request(5, 1e6), request(5, 1e6)]),
    );
    expect(results).toEqual(["TimeoutError", "done", "done"]);
  });

  test("a helper that nobody awaits goes on after its caller has ended", async () => {
    using _ = silenceWarnings(); // blockOn warns of promises of others
    let written = 0;
    const { promise, resolve } = Promise.withResolvers<void>();
    const audit = async (): Promise<void> => {
      await sleep(1);
      await yieldNow();
      if (++written === 3) resolve();
    };
    await perform(async () => {
      for (let request = 0; request < 3; request++) {
        await timeout(1e6, async () => {
          void audit();
        });
      }
      await promise;
    });
    expect(written).toBe(3);
  });
});

test("a helper that is left running by blockOn continues on Bun's loop", async () => {
  using runtime = new Runtime();
  const { promise, resolve } = Promise.withResolvers<string>();
  runtime.blockOn(async () => {
    void (async () => {
      await sleep(1);
      resolve("written");
    })();
  });
  expect(runtime.tasks().map(({ name }) => name)).toEqual(["await #2"]);
  expect(await promise).toBe("written");
  expect(runtime.tasks()).toEqual([]);
});

describe("the cancellation of an async function", () => {
  test("reaches code that an await has just resumed, though a helper of the function is suspended", () => {
    using runtime = new Runtime();
    const leaf = new Counting<void>();
    const log: string[] = [];
    const note = async (name: string, work: Future<void>): Promise<void> => {
      log.push(`${name} ${await resultOf(work)}`);
    };
    const handle = runtime.spawn(async () => {
      const helper = note("helper", sleep(1e6));
      await leaf;
      log.push("resumed");
      await note("function", sleep(1e6));
      await helper;
    });
    untilIdle(runtime);
    leaf.complete();
    handle.abort();
    runtime.block();
    expect(log).toEqual(["resumed", "helper AbortError", "function AbortError"]);
    expect(handle.isAborted).toBe(true);
  });

  test("leaves alone what cleanup awaits while the other awaits are being cancelled", () => {
    using runtime = new Runtime();
    const log: string[] = [];
    const helper = async (name: string): Promise<void> => {
      try {
        await sleep(1e6);
      } finally {
        log.push(`${name} ${await resultOf(sleep(1))}`);
      }
    };
    // The cancellation of the nested function runs microtasks, in which `a` and `b` await again.
    const nested = async (): Promise<void> => await timeout(1e6, () => helper("nested"));
    const handle = runtime.spawn(() =>
      Promise.allSettled([helper("a"), helper("b"), nested(), helper("c")]),
    );
    untilIdle(runtime);
    handle.abort();
    runtime.block();
    expect(log.toSorted()).toEqual(["a done", "b done", "c done", "nested done"]);
    expect(runtime.tasks()).toEqual([]);
  });

  test("lets an awaited shield finish, and throws at its await then", () => {
    using runtime = new Runtime();
    const leaf = new Counting<string>();
    const log: string[] = [];
    const handle = runtime.spawn(async () => {
      const result = await resultOf(
        shield(async () => {
          log.push(`shielded ${await leaf}`);
        }),
      );
      log.push(result);
    });
    untilIdle(runtime);
    handle.abort();
    untilIdle(runtime);
    expect(handle.isFinished).toBe(false);
    leaf.complete("work");
    runtime.block();
    expect(log).toEqual(["shielded work", "AbortError"]);
    expect(leaf.drops).toBe(0);
  });

  test("abandons a function that waits for a foreign promise: a timeout over a fetch is not late", async () => {
    await using runtime = new Runtime();
    const { promise, resolve } = Promise.withResolvers<void>();
    const log: string[] = [];
    const error = await runtime
      .run(
        timeout(1, async () => {
          try {
            await promise;
          } finally {
            log.push(`cleanup ${await resultOf(sleep(0))}`);
          }
        }),
      )
      .catch((error: unknown) => error);
    expect(error).toBeInstanceOf(TimeoutError);
    expect(log).toEqual([]);
    resolve();
    while (log.length === 0) await Bun.sleep(0);
    expect(log).toEqual(["cleanup done"]);
    expect(runtime.tasks()).toEqual([]);
  });

  test("waits for a function whose helper waits beside a foreign promise, unless abortSignal() or spawn ends that", () => {
    using runtime = new Runtime({ cancelGraceMs: 1e6 });
    const foreign = (signal?: AbortSignal) => {
      const { promise, resolve } = Promise.withResolvers<void>();
      signal?.addEventListener("abort", () => resolve());
      return { promise, resolve };
    };
    const open = foreign();
    /** Starts a helper, and waits for a promise. */
    const beside = (helper: () => unknown, promise: () => Promise<void>) => async () => {
      void helper();
      await promise();
    };
    const helper = () => sleep(1e6).catch(() => {});
    const ways: [name: string, isWaitedFor: boolean, work: () => Promise<void>][] = [
      ["no helper", false, () => foreign().promise],
      ["a signal", false, beside(helper, () => foreign(abortSignal()).promise)],
      [
        "a task",
        false,
        beside(
          () => spawn(helper),
          () => foreign().promise,
        ),
      ],
      ["a helper", true, beside(helper, () => open.promise)],
    ];
    for (const [name, isWaitedFor, work] of ways) {
      const handle = runtime.spawn(work, { name });
      untilIdle(runtime);
      handle.abort();
      untilIdle(runtime);
      expect([name, !handle.isFinished]).toEqual([name, isWaitedFor]);
      handle.catch(() => {});
    }
    open.resolve();
  });

  test("waits for the cleanup of the awaits of a helper, though the function itself has ended", () => {
    using runtime = new Runtime();
    const gate = new Counting<void>();
    const handle = runtime.spawn(async () => {
      const helper = race(function* () {
        try {
          yield* sleep(1e6);
        } finally {
          yield* gate;
        }
      });
      helper.then(null, () => {});
      await sleep(1e6);
    });
    untilIdle(runtime);
    handle.abort();
    untilIdle(runtime);
    expect(handle.isFinished).toBe(false);
    gate.complete();
    runtime.block();
    expect(handle.isAborted).toBe(true);
  });
});

describe("a timeout of an async function", () => {
  test("counts its outcome at the very deadline", () => {
    using runtime = new Runtime();
    const work = async (): Promise<string> => {
      await sleep(2);
      return "in time";
    };
    for (let round = 0; round < 10; round++)
      expect(runtime.blockOn(timeout(2, work))).toBe("in time");
  });
});

/** Cancels `work` in one of the ways that exist, with what its AbortError must have as its cause. */
type Canceller = (runtime: Runtime, work: () => Promise<void>) => unknown;
const reason = new Error("the reason");

const cancellers: [string, Canceller, string][] = [
  [
    "a timeout",
    (runtime, work) => caught(() => runtime.blockOn(timeout(1, work))),
    " (TimeoutError: not done within 1 ms; the work was waiting on sleep, ",
  ],
  [
    "a signal",
    (runtime, work) => {
      const controller = new AbortController();
      runtime.spawn(function* () {
        yield* yieldNow();
        controller.abort(reason);
      });
      return caught(() => runtime.blockOn(withSignal(controller.signal, work)));
    },
    " (Error: the reason)",
  ],
  [
    "abort()",
    (runtime, work) => {
      const handle = runtime.spawn(work, { name: "job" });
      untilIdle(runtime);
      handle.abort();
      return runtime.blockOn(failureOf(handle));
    },
    " (AbortError: task job was aborted)",
  ],
  [
    "abort() of a task that awaits it in another function",
    (runtime, work) => {
      const handle = runtime.spawn(async () => await timeout(1e6, work), { name: "job" });
      untilIdle(runtime);
      handle.abort();
      return runtime.blockOn(failureOf(handle));
    },
    " (AbortError: task job was aborted)",
  ],
  [
    "a scope that fails",
    (runtime, work) =>
      caught(() =>
        runtime.blockOn(
          scope(function* (s) {
            s.spawn(work);
            yield* untilIdle();
            throw reason;
          }),
        ),
      ),
    " (Error: the reason)",
  ],
  [
    "a failed race",
    (runtime, work) => {
      const fails = async (): Promise<void> => {
        await yieldNow();
        throw reason;
      };
      return caught(() => runtime.blockOn(race(work, fails)));
    },
    " (Error: the reason)",
  ],
  [
    "a lost race",
    (runtime, work) => {
      runtime.blockOn(race(work, yieldNow()));
      return undefined;
    },
    "",
  ],
  [
    "the disposal of its runtime",
    (runtime, work) => {
      const handle = runtime.spawn(work, { name: "job" });
      untilIdle(runtime);
      runtime[Symbol.dispose]();
      expect(handle.isAborted).toBe(true);
    },
    " (AbortError: task job was aborted: its runtime was disposed",
  ],
];

test.each(cancellers)(
  "the AbortError of an async function names it and has its cause: %s",
  (_, cancel, why) => {
    using runtime = new Runtime();
    let error: AbortError | undefined;
    const failure = cancel(runtime, async function ask() {
      try {
        await sleep(1e6);
      } catch (thrown) {
        error = thrown as AbortError;
      }
    });
    expect(error).toBeInstanceOf(AbortError);
    expect(error?.code).toBe("ABORT_ERR");
    expect(error?.message).toStartWith(`async function ask was cancelled${why}`);
    expect(error?.message).toEndWith(
      ". Work that should outlive it needs spawn(work), or lazy(work) if several callers share it",
    );
    if (why === "") expect(Object.hasOwn(error as object, "cause")).toBe(false);
    else if (!why.startsWith(" (AbortError")) expect(error?.cause).toBe(failure);
    else expect(error?.cause).toBeInstanceOf(AbortError);
  },
);

test("the AbortError of a function that is cancelled with another one has that one's as its cause, and gives advice once", () => {
  using runtime = new Runtime();
  let message = "";
  async function inner(): Promise<void> {
    await sleep(1e6).then(null, (error: Error) => {
      message = error.message;
    });
  }
  async function outer(): Promise<void> {
    await join(inner);
  }
  runtime.blockOn(race(outer, yieldNow()));
  expect(message).toBe(
    "async function inner was cancelled (AbortError: async function outer was cancelled). Work that should outlive it needs spawn(work), or lazy(work) if several callers share it",
  );
});

test("the AbortError of a function without a name says so", () => {
  using runtime = new Runtime();
  let message = "";
  const nameless = (): (() => Promise<void>) => async () => {
    await sleep(1e6).then(null, (error: Error) => {
      message = error.message;
    });
  };
  runtime.blockOn(race(nameless(), yieldNow()));
  expect(message).toStartWith("an async function was cancelled. ");
});

test("a promise that a cancelled function created rejects for all who share it; a spawned one does not", () => {
  using runtime = new Runtime();
  let cache: Promise<string> | undefined;
  const connect = async (): Promise<string> => {
    await sleep(5);
    return "connected";
  };
  const shared = async (): Promise<string> => {
    cache ??= connect();
    return await cache;
  };
  expect(caught(() => runtime.blockOn(timeout(1, shared)))).toBeInstanceOf(TimeoutError);
  const error = caught(() => runtime.blockOn(shared)) as AbortError;
  expect(error.message).toEndWith("lazy(work) if several callers share it");
  expect(error.cause).toBeInstanceOf(TimeoutError);

  let handle: JoinHandle<string> | undefined;
  const cured = async (): Promise<string> => {
    handle ??= spawn(connect);
    return await handle;
  };
  expect(caught(() => runtime.blockOn(timeout(1, cured)))).toBeInstanceOf(TimeoutError);
  expect(runtime.blockOn(cured)).toBe("connected");
});

describe("a cancelled function that does not end within cancelGraceMs", () => {
  /** Cancels `work` after it has started, and returns what was reported. */
  function reportOf(runtime: Runtime, work: () => Promise<void>): string[] {
    using print = captureConsoleError();
    const handle = runtime.spawn(work);
    untilIdle(runtime);
    handle.abort();
    runtime.block();
    expect(handle.isAborted).toBe(true);
    return print.mock.calls.map((call) => call.join(" "));
  }

  test("is reported by name, with what it waits for", () => {
    using runtime = new Runtime({ cancelGraceMs: 2 });
    const report = reportOf(runtime, async function slow() {
      try {
        await sleep(1e6);
      } finally {
        await sleep(1e6);
      }
    });
    expect(report).toEqual([
      expect.stringMatching(
        /^guillotine: async function slow failed: Error: it was cancelled 2 ms ago and has not ended: each await throws an AbortError from now on. It waits on sleep, \d+ ms left/,
      ),
    ]);
  });

  test("is not reported if its cleanup takes less", () => {
    using runtime = new Runtime({ cancelGraceMs: 1e6 });
    const report = reportOf(runtime, async () => {
      try {
        await sleep(1e6);
      } finally {
        await sleep(2);
      }
    });
    expect(report).toEqual([]);
    expect(runtime.metrics().timers).toBe(0); // nor does its grace leave a timer
  });

  test("gets an AbortError at each later await, also for a handler that a user gives to `then`", () => {
    using runtime = new Runtime({ cancelGraceMs: 2 });
    const log: string[] = [];
    const report = reportOf(runtime, async () => {
      for (let count = 0; count < 2; count++) await resultOf(sleep(1e6));
      const leaf = new Counting<void>();
      log.push(await resultOf(leaf), `${leaf.polls} polls, ${leaf.drops} drops`);
      log.push(await resultOf(leaf)); // the outcome stays
      log.push(await sleep(0).then(String, (error: Error) => `then ${error.name}`));
    });
    expect(report).toHaveLength(1);
    expect(log).toEqual(["AbortError", "0 polls, 1 drops", "AbortError", "then AbortError"]);
  });

  test("is abandoned when it waits for a foreign promise then", () => {
    using _ = silenceWarnings();
    using runtime = new Runtime({ cancelGraceMs: 2 });
    const log: string[] = [];
    const { promise } = Promise.withResolvers<void>();
    const report = reportOf(runtime, async () => {
      try {
        await sleep(1e6);
      } finally {
        log.push("cleanup");
        await promise;
      }
    });
    expect(report).toEqual([
      expect.stringContaining("It waits on a promise that this runtime did not make"),
    ]);
    expect(log).toEqual(["cleanup"]);
    expect(runtime.tasks()).toEqual([]);
    expect(runtime.foreignPromises).toBe(0);
  });
});

test("a function that was given up while it waited for a foreign promise is refused until it ends", async () => {
  using _ = captureConsoleError();
  await using runtime = new Runtime({ cancelGraceMs: 2 });
  const log: string[] = [];
  const { promise, resolve } = Promise.withResolvers<void>();
  const { promise: ended, resolve: end } = Promise.withResolvers<void>();
  const handle = runtime.spawn(async () => {
    const helper = async (): Promise<void> => {
      await ended;
      await Promise.resolve();
      log.push(`helper ${await resultOf(sleep(0))}`); // the function has ended: its helper is free
    };
    helper().then(() => log.push("helper ended"));
    await resultOf(sleep(1e6));
    await promise;
    log.push(`function ${await resultOf(sleep(0))}`);
    end();
  });
  await runtime.run(yieldNow());
  handle.abort();
  await handle.catch(() => {});
  resolve();
  while (log.length < 3) await new Promise((next) => setImmediate(next));
  expect(log).toEqual(["function AbortError", "helper done", "helper ended"]);
});

test("a cancellation reaches the work of a lazy promise that a work function returns", async () => {
  const log: string[] = [];
  class Query extends Promise<void> {
    static override get [Symbol.species]() {
      return Promise;
    }

    // biome-ignore lint/suspicious/noThenProperty: it starts its work in `then`, as query builders do
    override then(...handlers: never[]): never {
      const work = async (): Promise<void> => void log.push(await resultOf(sleep(1e6)));
      return work().then(...handlers) as never;
    }
  }
  const query = () => new Query(() => {}) as Promise<void>;
  await using runtime = new Runtime();
  for (const work of [query, async () => await query()]) {
    await runtime.run(timeout(1, work)).catch(() => {});
    expect(log.splice(0)).toEqual(["AbortError"]);
  }
});

describe("disposing a runtime", () => {
  const slowly = async (log: string[]): Promise<void> => {
    try {
      await sleep(1e6);
    } finally {
      log.push(`cleanup ${await resultOf(sleep(2))}`);
    }
  };

  test("waits for the cleanup of a function that was cancelled before", async () => {
    for (const kind of ["sync", "async"]) {
      const runtime = new Runtime();
      const log: string[] = [];
      const handle = runtime.spawn(() => slowly(log));
      untilIdle(runtime);
      handle.abort();
      untilIdle(runtime);
      if (kind === "sync") runtime[Symbol.dispose]();
      else await runtime[Symbol.asyncDispose]();
      expect(log).toEqual(["cleanup done"]);
    }
  });

  test("reports and abandons cleanup that does not end within the grace", () => {
    using print = captureConsoleError();
    const runtime = new Runtime({ cancelGraceMs: 2 });
    const handle = runtime.spawn(async function slow() {
      for (;;) await resultOf(sleep(1e6));
    });
    untilIdle(runtime);
    runtime[Symbol.dispose]();
    expect(handle.isAborted).toBe(true);
    expect(print.mock.calls.map((call) => call.join(" "))).toEqual([
      expect.stringContaining("async function slow failed"),
      expect.stringContaining("it is abandoned"),
    ]);
  });

  test("rejects the awaits that belong to nobody; the ambient runtime performs their cleanup", async () => {
    for (const kind of ["sync", "async"]) {
      const runtime = new Runtime();
      const log: string[] = [];
      const { promise, resolve } = Promise.withResolvers<string>();
      runtime.blockOn(async () => {
        void slowly(log).catch((error: Error) => resolve(error.message));
      });
      if (kind === "sync") runtime[Symbol.dispose]();
      else await runtime[Symbol.asyncDispose]();
      expect(runtime.tasks()).toEqual([]);
      expect(await promise).toBe("an await was aborted: its runtime was disposed");
      expect(log).toEqual(["cleanup done"]);
    }
  });
});

describe("an awaited future", () => {
  test("that is awaited twice has one outcome for both", () => {
    using runtime = new Runtime();
    const leaf = new Counting<number>();
    const fails = new Counting<number>();
    const work = runtime.spawn(async () => {
      expect(await Promise.all([leaf, leaf])).toEqual([1, 1]);
      expect(await leaf).toBe(1); // also once it has ended
      expect(await Promise.all([resultOf(fails), resultOf(fails)])).toEqual(["Error", "Error"]);
      expect(await resultOf(fails)).toBe("Error");
    });
    untilIdle(runtime);
    leaf.complete(1);
    untilIdle(runtime);
    fails.fail(reason);
    runtime.blockOn(work);
    expect([leaf.polls, fails.polls]).toEqual([2, 2]);
  });

  test("has an outcome for its await, and for a `then` that a user calls alongside, in either order", () => {
    for (const isAwaitFirst of [true, false]) {
      using runtime = new Runtime();
      const leaf = new Counting<number>();
      const work = runtime.spawn(async () => {
        const wait = async (): Promise<number> => await leaf;
        const first = isAwaitFirst ? wait() : leaf.then((value) => value + 10);
        const second = isAwaitFirst ? leaf.then((value) => value + 10) : wait();
        return (await Promise.all([first, second])).toSorted();
      });
      untilIdle(runtime);
      leaf.complete(1);
      expect(runtime.blockOn(work)).toEqual([1, 11]);
    }
  });

  test("has a `then` whose promise settles as the handler does, per Promises/A+", () => {
    using runtime = new Runtime();
    const log: unknown[] = [];
    runtime.blockOn(async () => {
      const throws = (): never => {
        throw reason;
      };
      const fails = (): Future<void> => race(async () => throws());
      log.push(await sleep(0).then(() => "value"));
      log.push(await sleep(0).then(async () => "promise"));
      log.push(await sleep(0).then(() => yieldNow().then(() => "future")));
      log.push(
        await sleep(0)
          .then(throws)
          .catch((error: unknown) => error === reason),
      );
      log.push(await fails().then(null, () => "recovered"));
      log.push(await resultOf(fails().then(() => "not called")));
      log.push(await sleep(0).then(null, null));
    });
    expect(log).toEqual(["value", "promise", "future", true, "recovered", "Error", undefined]);
  });

  test("rejects each of its awaits when it is cancelled", () => {
    using runtime = new Runtime();
    const leaf = new Counting<void>();
    const log: string[] = [];
    const handle = runtime.spawn(async () => {
      leaf.then(
        () => {},
        (error: Error) => log.push(`then ${error.name}`),
      );
      log.push(...(await Promise.all([resultOf(leaf), resultOf(leaf)])));
    });
    untilIdle(runtime);
    handle.abort();
    runtime.block();
    expect(log.toSorted()).toEqual(["AbortError", "AbortError", "then AbortError"]);
    expect(leaf.drops).toBe(1);
  });

  test("whose value is a thenable is flattened; what the thenable awaits belongs to the same function", () => {
    using runtime = new Runtime();
    class Lazy extends Counting<string> {
      readonly value: unknown;
      constructor() {
        super();
        // biome-ignore lint/suspicious/noThenProperty: the test needs a thenable
        this.value = { then: this.then.bind(this) };
      }
    }
    const [first, second] = [new Lazy(), new Lazy()];
    const giving = (lazy: Lazy): Future<unknown> =>
      intoFuture(function* () {
        yield* yieldNow();
        return lazy.value;
      });
    const handle = runtime.spawn(async () => await giving(first));
    const cancelled = runtime.spawn(async () => await resultOf(giving(second)));
    untilIdle(runtime);
    expect(runtime.tasks()).toHaveLength(2);
    cancelled.abort();
    untilIdle(runtime);
    expect([cancelled.isAborted, second.drops]).toEqual([true, 1]);
    first.complete("flat");
    expect(runtime.blockOn<unknown>(handle)).toBe("flat");
    expect(runtime.tasks()).toEqual([]);
  });
});

describe("the failure of a helper that nobody awaits", () => {
  async function outputOf(code: string): Promise<{ code: number; output: string }> {
    const imports = `import { Runtime, sleep, timeout } from "./src/index.ts";\n`;
    return await run(["bun", "-e", imports + code]);
  }

  test("is an unhandled rejection, as with promises", async () => {
    for (const perform of [
      "await runtime.run(handler)",
      "runtime.blockOn(handler)",
      "await handler()",
    ]) {
      const { code, output } = await outputOf(`
        const runtime = new Runtime();
        async function audit() { await sleep(1); throw new Error("no audit"); }
        async function handler() { void audit(); await sleep(0); }
        ${perform};
        await Bun.sleep(20);`);
      expect([code, output]).toEqual([1, expect.stringContaining("no audit")]);
    }
  });

  test("that its caller's cancellation caused is one as well, and names the caller", async () => {
    const { output } = await outputOf(`
      process.on("unhandledRejection", (error) => console.log("unhandled:", error.message));
      const runtime = new Runtime();
      async function audit() { await sleep(1e6); }
      await runtime.run(timeout(1, async function handler() { void audit(); await sleep(1e6); })).catch((error) => console.log(error.name));
      await Bun.sleep(10);`);
    expect(output).toContain("TimeoutError");
    expect(output).toMatch(
      /unhandled: async function handler was cancelled \(TimeoutError: .*\)\. Work .* needs spawn\(work\)/,
    );
  });
});

test("spawn in code that belongs to nobody uses the runtime whose blockOn holds the thread", () => {
  using runtime = new Runtime();
  const done = Promise.withResolvers<Runtime>();
  async function helper(): Promise<void> {
    await sleep(1);
    done.resolve(await spawn(async () => Runtime.current()));
  }
  const used = runtime.blockOn(async () => {
    await timeout(1000, async () => void helper());
    return await done.promise;
  });
  expect(used).toBe(runtime);
});
