// Guest mode: the runtime runs on Bun's event loop. `bun test` runs on that loop, so most tests need no other process.

import { describe, expect, setDefaultTimeout, spyOn, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { constants, tmpdir } from "node:os";
import { join } from "node:path";
import {
  type Coroutine,
  ctrlC,
  fromPromise,
  intoFuture,
  type JoinHandle,
  joinAll,
  join as joinFutures,
  Runtime,
  shield,
  signal,
  sleep,
  spawn,
  TcpListener,
  TcpStream,
  UncaughtTaskError,
  yieldNow,
} from "../../../src/index.ts";
import { FaultSys } from "../../support/fault-sys.ts";
import { countFds } from "../../support/fds.ts";
import { captureConsoleError } from "../../support/output.ts";
import { root, run } from "../../support/program.ts";
import type { EndingWorker } from "../../support/programs/ending-worker.ts";
import type { GuestProgram } from "../../support/programs/guest.ts";
import { streamAndPeer } from "../../support/sockets.ts";
import { careful } from "../../support/work.ts";

setDefaultTimeout(60_000); // a slow machine must not fail the test

const programs = `${root}test/support/programs/`;

/** Runs a program of programs/guest.ts in a process of its own. */
function program(
  name: GuestProgram,
  env: Record<string, string> = {},
): Promise<{ code: number; output: string }> {
  return run(["timeout", "20", "bun", `${programs}guest.ts`, name], { env });
}

test("run resolves with the value of its work, or rejects with its error", async () => {
  await using runtime = new Runtime();
  const answer = await runtime.run(function* () {
    yield* sleep(1);
    return 42;
  });
  expect(answer).toBe(42);
  const failure = new Error("no");
  const failing = runtime.run(function* () {
    yield* yieldNow();
    throw failure;
  });
  expect(await failing.then(null, (error) => error)).toBe(failure);
});

test("a future can be awaited with no runtime around it", async () => {
  expect(await sleep(1)).toBeUndefined();
  expect(await spawn(async () => (await sleep(1)) ?? 7)).toBe(7);
  expect(() => Runtime.current()).toThrow("no runtime is polling here");
});

test("Bun's timers and our tasks run side by side", async () => {
  const log: string[] = [];
  const ours = spawn(async () => {
    for (let count = 0; count < 3; count++) {
      await new Promise<void>((resolve) => setTimeout(resolve, 1));
      log.push("bun's timer");
      await sleep(1);
      log.push("our sleep");
    }
    return await (await fetch("data:text/plain,fetched")).text();
  });
  expect(await ours).toBe("fetched");
  expect(log).toEqual(Array.from({ length: 6 }, (_, i) => (i % 2 ? "our sleep" : "bun's timer")));
});

test("a coroutine can await a promise", async () => {
  await using runtime = new Runtime();
  const text = await runtime.run(function* () {
    const response = yield* fromPromise(fetch("data:text/plain,hello"));
    return yield* fromPromise(response.text());
  });
  expect(text).toBe("hello");
  expect(() => fromPromise(1 as never)).toThrow("promise must be a promise; got 1");
});

test("sockets accept, connect, read and write in guest mode", async () => {
  await using runtime = new Runtime();
  const text = await runtime.run(async () => {
    using listener = TcpListener.bind("127.0.0.1:0");
    const server = spawn(async () => {
      using stream = await listener.accept();
      await stream.writeAll("hello");
    });
    using client = await TcpStream.connect(listener.localAddress);
    const buffer = new Uint8Array(16);
    const [count] = await joinFutures(client.read(buffer), server);
    return new TextDecoder().decode(buffer.subarray(0, count));
  });
  expect(text).toBe("hello");
});

test("await using drives the tasks' cleanup to its end, and closes all fds", async () => {
  const faults = new FaultSys(); // we count calls: in /proc, fds of helper threads come and go
  const log: string[] = [];
  {
    await using runtime = new Runtime({ sys: faults.sys });
    runtime.spawn(function* () {
      try {
        yield* sleep(1e9);
      } finally {
        yield* sleep(1);
        log.push("cleaned up");
      }
    });
    await runtime.run(sleep(1));
    await using _second = runtime; // a second dispose does nothing
  }
  expect(log).toEqual(["cleaned up"]);
  const made = faults.count("epollCreate") + faults.count("timerfdCreate");
  expect(made).toBe(2);
  expect(faults.count("close")).toBe(made + faults.count("eventfd"));
});

test("cleanup may spawn during a dispose, also after it has waited for a promise of Bun's own loop", async () => {
  const log: string[] = [];
  const runtime = new Runtime();
  const running = runtime.run(async () => {
    try {
      await sleep(1e9);
    } finally {
      await new Promise((resolve) => setImmediate(resolve));
      await spawn(() => sleep(1));
      log.push("cleaned up");
    }
  });
  const rejected = running.catch(() => log.push("rejected"));
  await new Promise((resolve) => setImmediate(resolve));
  await runtime[Symbol.asyncDispose]();
  await rejected;
  expect(log).toEqual(["cleaned up", "rejected"]);
  expect(() => runtime.spawn(sleep(1))).toThrow("this runtime is disposed");
});

describe.each(["sync", "async"] as const)("a disposal (%s)", (kind) => {
  const dispose = (runtime: Runtime) =>
    kind === "sync" ? runtime[Symbol.dispose]() : runtime[Symbol.asyncDispose]();

  /** Outlives the function that calls it. */
  const helper = async (log: string[]): Promise<void> => {
    await sleep(1e6).catch(() => log.push("cancelled"));
    await sleep(1e6).catch(() => log.push("abandoned"));
  };

  test("does not wait for an await that a cancelled function has left running", async () => {
    const runtime = new Runtime();
    const log: string[] = [];
    const running = runtime.run(async () => {
      void helper(log);
      await sleep(1e6);
    });
    const rejected = running.catch(() => log.push("rejected"));
    await runtime.run(yieldNow());
    await dispose(runtime);
    await rejected;
    expect(log.toSorted()).toEqual(["abandoned", "cancelled", "rejected"]);
  });

  test("cancels what cleanup spawns and nobody awaits, and waits for its cleanup", async () => {
    const runtime = new Runtime();
    const log: string[] = [];
    runtime.spawn(function* () {
      try {
        yield* sleep(1e6);
      } finally {
        yield* runtime.spawn(sleep(1)); // one that the cleanup awaits is not cancelled
        log.push("first");
        runtime.spawn(careful("second", log));
        yield* yieldNow();
      }
    });
    await runtime.run(yieldNow());
    await dispose(runtime);
    expect(log).toEqual(["first", "second is clean"]);
  });

  test("does not wait for such an await when cleanup spawns a task, either", async () => {
    const runtime = new Runtime();
    const log: string[] = [];
    runtime.spawn(async () => {
      void helper(log);
      await sleep(1e6);
    });
    runtime.spawn(function* () {
      try {
        yield* sleep(1e6);
      } finally {
        yield* sleep(1);
        runtime.spawn(sleep(1e6));
      }
    });
    await runtime.run(yieldNow());
    await dispose(runtime);
    while (log.length < 2) await new Promise((resolve) => setImmediate(resolve));
    expect(log).toEqual(["cancelled", "abandoned"]);
  });

  test("ends although each cleanup spawns another task", async () => {
    const runtime = new Runtime();
    let count = 0;
    function* immortal(): Coroutine<void> {
      try {
        count++;
        yield* sleep(1e6);
      } finally {
        runtime.spawn(immortal);
        yield* yieldNow();
      }
    }
    runtime.spawn(immortal);
    await runtime.run(yieldNow());
    await dispose(runtime);
    expect(count).toBe(10); // it gives up in the end
  });
});

test("two concurrent async disposes wait for the cleanup; a sync dispose finishes it at once", async () => {
  for (const isSync of [false, true]) {
    const log: string[] = [];
    const runtime = new Runtime();
    await runtime.run(function* () {
      runtime.spawn(function* () {
        try {
          yield* sleep(1e9);
        } finally {
          yield* sleep(1);
          log.push("cleaned up");
        }
      });
      yield* yieldNow();
    });
    const first = runtime[Symbol.asyncDispose]();
    const second = isSync ? runtime[Symbol.dispose]() : runtime[Symbol.asyncDispose]();
    await second;
    expect(log).toEqual(["cleaned up"]);
    await first;
  }
});

test("a run that its runtime's dispose cuts short rejects", async () => {
  for (const dispose of [Symbol.dispose, Symbol.asyncDispose] as const) {
    const runtime = new Runtime();
    const never = runtime.run(sleep(1e9));
    if (dispose === Symbol.dispose) await runtime.run(sleep(1)); // the runtime has parked
    const outcome = never.then(null, (error: unknown) => `${error}`);
    await runtime[dispose]();
    expect(await outcome).toBe("AbortError: task run was aborted: its runtime was disposed");
    expect(() => runtime.run(sleep(1))).toThrow("disposed");
  }
});

test("a dispose that gives up on a cleanup rejects the promises that wait for its task", async () => {
  using report = captureConsoleError();
  const runtime = new Runtime({ cancelGraceMs: 5 });
  const { signal } = new AbortController();
  const remove = spyOn(signal, "removeEventListener");
  const stuck = async () => {
    try {
      await sleep(1e9);
    } finally {
      await shield(fromPromise(new Promise(() => {})));
    }
  };
  const waits = [runtime.run(stuck), runtime.spawn(stuck, { signal }).then()];
  const names = waits.map((wait) => wait.then(null, (error: Error) => error.name));
  await runtime.run(sleep(0));
  runtime[Symbol.dispose]();
  expect(await Promise.all(names)).toEqual(["AbortError", "AbortError"]);
  expect(remove).toHaveBeenCalledTimes(1);
  expect(report).toHaveBeenCalledTimes(3); // the two functions that do not end, and the dispose
});

test("a task that was spawned by a cleanup ends when a dispose gives up on that cleanup", async () => {
  using _report = captureConsoleError();
  const runtime = new Runtime();
  const stuck = () => fromPromise(new Promise<void>(() => {}));
  let late: JoinHandle<void> | undefined;
  runtime.spawn(function* () {
    try {
      yield* sleep(1e9);
    } finally {
      late = spawn(stuck());
      yield* stuck();
    }
  });
  await runtime.run(sleep(0));
  runtime[Symbol.dispose]();
  expect(await late!.then(null, (error: Error) => error.message)).toContain("was aborted");
});

test("blockOn is allowed between guest turns, and refused inside one", async () => {
  const runtime = Runtime.ambient();
  await sleep(1);
  expect(runtime.blockOn(async () => (await sleep(1)) ?? "sync")).toBe("sync");
  const refused = runtime.run(function* () {
    yield* yieldNow();
    runtime.blockOn(sleep(1));
  });
  expect(await refused.then(null, (error: Error) => error.message)).toContain(
    "would wait for itself",
  );
});

test("tasks that are pending when blockOn returns continue in guest mode", async () => {
  const runtime = Runtime.ambient();
  const left = runtime.spawn(sleep(5));
  runtime.blockOn(sleep(1));
  await left;
  expect(left.isFinished).toBe(true);
});

test("a task that is always ready does not starve Bun's timers", async () => {
  await using runtime = new Runtime();
  let isOver = false;
  const busy = runtime.run(function* () {
    while (!isOver) yield* yieldNow();
  });
  await new Promise<void>((resolve) => setTimeout(resolve, 1));
  isOver = true;
  await busy;
});

test("a turn ends after a poll that takes longer than the turn", async () => {
  await using runtime = new Runtime();
  let polls = 0;
  function* long() {
    for (let count = 0; count < 3; count++) {
      const endMs = performance.now() + 1;
      while (performance.now() < endMs);
      polls++;
      yield* yieldNow();
    }
  }
  const all = runtime.run(joinAll(Array.from({ length: 10 }, () => runtime.spawn(long))));
  let most = 0;
  for (let before = 0; polls < 30; before = polls) {
    await new Promise<void>((resolve) => setImmediate(resolve));
    most = Math.max(most, polls - before);
  }
  await all;
  expect(most).toBe(1);
});

test("sockets are still polled when no fd is left for a timerfd", async () => {
  const { sys } = new FaultSys().on("timerfdCreate", () => -constants.errno.EMFILE);
  await using runtime = new Runtime({ sys, spinMicros: 0 });
  const { stream, peer } = streamAndPeer();
  using _ = stream;
  using _peer = peer;
  runtime.spawn(sleep(1e9));
  const count = runtime.run(stream.read(new Uint8Array(8)));
  await new Promise<void>((resolve) => setTimeout(resolve, 1)); // the runtime has made a turn and parked
  peer.send("hey");
  expect(await count).toBe(3);
});

test("a guest parks at once after several fruitless spins", async () => {
  const faults = new FaultSys();
  await using runtime = new Runtime({ sys: faults.sys, spinMicros: 2000 });
  const epollWaitsOf = async (count: number) => {
    const before = faults.count("epollWait");
    for (let index = 0; index < count; index++) await runtime.run(sleep(20));
    return faults.count("epollWait") - before;
  };
  await epollWaitsOf(9);
  // Per sleep, one or two turns before the park and one or two after. (We retry: if the scheduler takes the core away
  // for longer than the sleep, the spin finds the event and is not fruitless.)
  while ((await epollWaitsOf(5)) >= 5 * 6);
});

test("a guest that spins without limit does so only while something can wake it", async () => {
  expect(await program("spin without limit")).toEqual({ code: 0, output: "end\n" });
});

test("a signal completes its future; each waiting future has one listener, and removes it at its end", async () => {
  const received = spawn(signal("SIGUSR2"));
  await sleep(1);
  expect(process.listenerCount("SIGUSR2")).toBe(1);
  process.kill(process.pid, "SIGUSR2");
  expect(await received).toBe("SIGUSR2");
  expect(process.listenerCount("SIGUSR2")).toBe(0);
  const dropped = spawn(ctrlC());
  await sleep(1);
  expect(process.listenerCount("SIGINT")).toBe(1);
  dropped.abort();
  await dropped.then(null, () => {});
  expect(process.listenerCount("SIGINT")).toBe(0);
});

test.each<[EndingWorker]>([
  ["with an ambient runtime"],
  ["by process.exit"],
  ["while a runtime has work"],
  ["by process.exit within blockOn"],
])("a Worker that ends %s leaves no fd of its runtimes in the process", async (name) => {
  const before = countFds("timerfd");
  const url = new URL("../../support/programs/ending-worker.ts", import.meta.url);
  const worker = new Worker(url, { argv: [name] });
  const failures: unknown[] = [];
  worker.addEventListener("error", (event) => failures.push(event.message));
  await new Promise((resolve) => worker.addEventListener("close", resolve));
  expect(failures).toEqual([]);
  expect(countFds("timerfd")).toBeLessThanOrEqual(before);
});

test("a process ends at once when no task is pending, or nothing can wake the pending tasks", async () => {
  expect(await program("nothing pending")).toEqual({ code: 0, output: "end\n" });
  expect(await program("nothing can wake it")).toEqual({ code: 0, output: "end\n" });
});

test("pending work keeps the process alive; unref'd work does not", async () => {
  expect(await program("pending sleep")).toEqual({ code: 0, output: "woke\n" });
  expect(await program("unref'd sleep")).toEqual({ code: 0, output: "end\n" });
  expect(await program("ref'd again")).toEqual({ code: 0, output: "woke\n" });
  expect(await program("pending blocking job")).toEqual({ code: 0, output: "done\n" });
});

test("a failure that no task joins goes to uncaughtException", async () => {
  const uncaught = { code: 0, output: "UncaughtTaskError lost\n" };
  expect(await program("uncaught failure")).toEqual(uncaught);
  expect(await program("joined failure")).toEqual({ code: 0, output: "mine\n" });
  expect(new UncaughtTaskError("x", [1]).cause).toBe(1);
});

test("a process without an uncaughtException listener prints where its tasks failed, and ends", async () => {
  // Without the timer of Bun's garbage collector nothing wakes Bun's loop, which has to notice the failure.
  const env = { BUN_GC_TIMER_DISABLE: "1" };
  const { code, output } = await program("failures without a listener", env);
  expect(code).toBe(1);
  // Each failure once, with its own stack.
  expect(output.match(/guillotine: a task that nobody joined failed:/g)?.length).toBe(1);
  expect(output).toContain(
    "guillotine: task #1 failed, and nobody joined it (and 1 more): Error: lost",
  );
  expect(output.match(/error: lost/g)?.length).toBe(2);
  expect(output.match(/at culprit/g)?.length).toBe(2);
});

test("a failure ends the process when a top-level await has ended, if the main module waits in one", async () => {
  const { code, output } = await program("failure during a top-level await");
  expect(code).toBe(1);
  expect(output).toContain("nobody joined it: Error: mine");
  expect(output).toContain("continued");
});

test("a failure is reported only after the tasks that may join it were polled", async () => {
  expect(await program("2000 joined failures")).toEqual({ code: 0, output: "end\n" });
  expect(await program("reported failure that is joined")).toEqual({ code: 0, output: "end\n" });
});

test("a task that is always ready does not keep a failure from being reported", async () => {
  const { output } = await program("failure next to a busy task");
  expect(output).toContain("nobody joined it: Error: mine");
});

test("a runtime does not block the thread when the clock stands still, as with fake timers", async () => {
  expect(await program("stopped clock")).toEqual({
    code: 0,
    output: "DeadlockError\nrun, alongside Bun's loop\n",
  });
});

test("a task that nothing could wake is woken by a later write to its eventfd", async () => {
  expect(await program("woken by fd")).toEqual({ code: 0, output: "open\n" });
  expect(await program("woken by handle")).toEqual({ code: 0, output: "open\n" });
  expect(await program("woken in eager mode")).toEqual({ code: 0, output: "notified\n" });
});

test("a handle of a runtime that was never driven can be awaited", async () => {
  const handle = new Runtime().spawn(function* () {
    yield* sleep(1);
    return "done";
  });
  expect(await handle).toBe("done");
});

test("a handle of a runtime that was never driven can be awaited by a task of another runtime", async () => {
  const start = () => new Runtime().spawn(async () => (await sleep(1)) ?? "done");
  expect(await spawn(async () => await start())).toBe("done");
  expect(await spawn(() => start())).toBe("done");
});

test("a runtime that first parks without free fds starts no helper thread, which would end the process", async () => {
  const file = `${programs}guest.ts`;
  const { output } = await run(["sh", "-c", 'ulimit -n 200; exec bun "$0" "out of fds"', file]);
  expect(output).toBe("EMFILE\nawake\n");
});

test("a callback that outlives its task falls back to the ambient runtime", async () => {
  let later: Promise<string> | undefined;
  await spawn(async () => {
    later = new Promise<void>((resolve) => setTimeout(resolve, 5)).then(async () => {
      await sleep(1);
      return "after its task";
    });
  });
  expect(await later).toBe("after its task");
});

test("a future awaited outside a runtime does not belong to the runtime whose turn runs the microtasks", async () => {
  const gate = Promise.withResolvers<void>();
  const later = Promise.withResolvers<void>();
  const foreign = (async () => {
    await gate.promise;
    const slept = sleep(1).then(() => "slept");
    await later.promise;
    return await slept;
  })();
  {
    await using runtime = new Runtime();
    await runtime.run(async () => {
      gate.resolve();
      await yieldNow();
    });
  }
  later.resolve();
  expect(await foreign).toBe("slept");
});

test("a future awaited outside a runtime does not belong to the runtime whose blockOn runs the microtasks", async () => {
  await sleep(0); // from now on runtimes drain microtasks
  const foreign = (async () => {
    await null;
    await sleep(1);
    return "slept";
  })();
  {
    using runtime = new Runtime();
    runtime.blockOn(async () => {});
  }
  expect(await foreign).toBe("slept");
});

test("an ambient runtime that was disposed is replaced by another", async () => {
  expect(await program("disposed ambient runtime")).toEqual({ code: 0, output: "slept\n" });
});

test("a runtime that nothing drives becomes a guest of Bun's loop", async () => {
  const { code, output } = await program("spawn on a runtime that nothing drives");
  expect(output.trim().split("\n").sort()).toEqual(["42", "slept"]);
  expect(code).toBe(0);
});

test("tasks that are spawned between two blockOns wait for the second", async () => {
  const output = "before blockOn\ntask\n";
  expect(await program("spawn before a later blockOn")).toEqual({ code: 0, output });
});

test("the ambient runtime is configured before its first use, and not after", async () => {
  const { code, output } = await program("configured ambient runtime");
  expect(output).toContain("which nobody joined, failed: ");
  expect(output).toContain("ERR_AMBIENT_EXISTS: Runtime.configureAmbient: the ambient runtime");
  expect(output).toContain("in a module that is imported first\nhandled Error: mine\n");
  expect(code).toBe(0);
});

test("a future that is awaited twice runs once", async () => {
  let polls = 0;
  const future = intoFuture(async () => ++polls);
  expect(await Promise.all([future, future, future.then((n) => n + 1)])).toEqual([1, 1, 2]);
});

test("a runtime in a compiled executable parks, and is woken", async () => {
  const directory = mkdtempSync(join(tmpdir(), "guillotine-compiled-"));
  try {
    const executable = join(directory, "main");
    const built = await run([
      ...["bun", "build", "--compile", `${programs}guest.ts`, "--outfile", executable],
    ]);
    expect(built.output + built.code).toEndWith("0");
    expect(await run(["timeout", "50", executable])).toEqual({ code: 0, output: "woke 42\n" });
  } finally {
    rmSync(directory, { recursive: true });
  }
});
