// Guest mode, in this process: `bun test` itself is a host.

import { expect, setDefaultTimeout, spyOn, test } from "bun:test";
import { constants } from "node:os";
import {
  ctrlC,
  fromPromise,
  intoFuture,
  type JoinHandle,
  join,
  joinAll,
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
import { streamAndPeer } from "../../support/sockets.ts";

setDefaultTimeout(60_000); // a slow machine is no failure

/** A program of its own, since it is about when a process ends, or what it prints at its end. */
function program(code: string): Promise<{ code: number; output: string }> {
  const imports = `import * as g from ${JSON.stringify(`${root}src/index.ts`)};`;
  return run(["timeout", "20", "bun", "-e", `${imports}\n${code}`]);
}

test("run resolves with the value, and rejects with the error", async () => {
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

test("Bun's loop and ours go on side by side", async () => {
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

test("promises in coroutines", async () => {
  await using runtime = new Runtime();
  const text = await runtime.run(function* () {
    const response = yield* fromPromise(fetch("data:text/plain,hello"));
    return yield* fromPromise(response.text());
  });
  expect(text).toBe("hello");
  expect(() => fromPromise(1 as never)).toThrow("promise must be a promise; got 1");
});

test("sockets, driven by Bun's loop", async () => {
  await using runtime = new Runtime();
  const text = await runtime.run(async () => {
    using listener = TcpListener.bind("127.0.0.1:0");
    const server = spawn(async () => {
      using stream = await listener.accept();
      await stream.writeAll("hello");
    });
    using client = await TcpStream.connect(listener.localAddress);
    const buffer = new Uint8Array(16);
    const [count] = await join(client.read(buffer), server);
    return new TextDecoder().decode(buffer.subarray(0, count));
  });
  expect(text).toBe("hello");
});

test("await using drives cleanup to its end, and gives all fds back", async () => {
  const faults = new FaultSys(); // counts; in /proc the fds of helper threads come and go
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
    await using _second = runtime; // twice is once
  }
  expect(log).toEqual(["cleaned up"]);
  const made = faults.count("epollCreate") + faults.count("timerfdCreate");
  expect(made).toBe(2);
  expect(faults.count("close")).toBe(made + faults.count("eventfd"));
});

test("disposed twice at once, both wait for the cleanup; a sync dispose ends the wait", async () => {
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
    if (dispose === Symbol.dispose) await runtime.run(sleep(1)); // it has parked
    const told = never.then(null, (error: unknown) => `${error}`);
    await runtime[dispose]();
    expect(await told).toBe("AbortError: task run was aborted: its runtime was disposed");
    expect(() => runtime.run(sleep(1))).toThrow("disposed");
  }
});

test("a dispose that gives up on a cleanup tells who waits for it", async () => {
  using report = captureConsoleError();
  const runtime = new Runtime();
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
  expect(report).toHaveBeenCalledTimes(1);
});

test("a task that such a cleanup has spawned ends with it", async () => {
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

test("blockOn, between guest turns, is allowed; inside one it is refused", async () => {
  const runtime = Runtime.ambient();
  await sleep(1);
  expect(runtime.blockOn(async () => (await sleep(1)) ?? "sync")).toBe("sync");
  const refused = runtime.run(function* () {
    yield* yieldNow();
    runtime.blockOn(sleep(1));
  });
  expect(await refused.then(null, (error: Error) => error.message)).toContain("driven already");
});

test("tasks that blockOn left go on as guests", async () => {
  const runtime = Runtime.ambient();
  const left = runtime.spawn(sleep(5));
  runtime.blockOn(sleep(1));
  await left;
  expect(left.isFinished).toBe(true);
});

test("a turn is bounded: a task that is always ready does not starve Bun's timers", async () => {
  await using runtime = new Runtime();
  let isOver = false;
  const busy = runtime.run(function* () {
    while (!isOver) yield* yieldNow();
  });
  await new Promise<void>((resolve) => setTimeout(resolve, 1));
  isOver = true;
  await busy;
});

test("a turn is bounded: of long polls there is one in each", async () => {
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

test("out of fds for a timerfd, sockets are still looked at", async () => {
  const { sys } = new FaultSys().on("timerfdCreate", () => -constants.errno.EMFILE);
  await using runtime = new Runtime({ sys, spinMicros: 0 });
  const { stream, peer } = streamAndPeer();
  using _ = stream;
  using _peer = peer;
  runtime.spawn(sleep(1e9));
  const count = runtime.run(stream.read(new Uint8Array(8)));
  await new Promise<void>((resolve) => setTimeout(resolve, 1)); // it has had a turn, and parked
  peer.send("hey");
  expect(await count).toBe(3);
});

test("a guest that has spun in vain some times parks at once", async () => {
  const faults = new FaultSys();
  await using runtime = new Runtime({ sys: faults.sys, spinMicros: 2000 });
  const looksOf = async (count: number) => {
    const before = faults.count("epollWait");
    for (let index = 0; index < count; index++) await runtime.run(sleep(20));
    return faults.count("epollWait") - before;
  };
  await looksOf(9);
  // A turn or two before the park, and one or two after it. (Not the first time, if the machine took the
  // thread away for longer than it sleeps: then a spin was not in vain.)
  while ((await looksOf(5)) >= 5 * 6);
});

test("a guest that spins for ever does so only while something can wake it", async () => {
  const code = `const runtime = new g.Runtime({ spinMicros: Infinity }); await runtime.run(g.sleep(1)); console.log("end");`;
  expect(await program(code)).toEqual({ code: 0, output: "end\n" });
});

test("signals: delivered, one listener each, and none left", async () => {
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

test("signals: refused in blockOn, and for what cannot be caught", () => {
  using runtime = new Runtime();
  expect(() => runtime.blockOn(ctrlC())).toThrow("holds the thread");
  expect(() => signal("SIGKILL")).toThrow('got "SIGKILL"');
  expect(() => signal("SIGNOPE" as "SIGTERM")).toThrow('got "SIGNOPE"');
});

test("signals: refused in Workers, where Bun delivers none", async () => {
  const code = `if (Bun.isMainThread) {
  const worker = new Worker(import.meta.url);
  worker.onmessage = ({ data }) => { console.log(data); worker.terminate(); };
} else postMessage(await g.signal("SIGUSR2").then(null, (error) => error.message));`;
  const file = `${root}test/support/signal-worker.tmp.ts`;
  await Bun.write(file, `import * as g from "../../src/index.ts";\n${code}`);
  try {
    const { code, output } = await run(["timeout", "20", "bun", file]);
    expect({ code, output }).toEqual({
      code: 0,
      output: expect.stringContaining("main thread only"),
    });
  } finally {
    await Bun.file(file).delete();
  }
});

test.each([
  ["await g.sleep(1);"],
  ["await g.sleep(1); process.exit();"],
  ["new g.Runtime().run(g.sleep(1));"],
  ["new g.Runtime().blockOn(function* () { yield* g.sleep(1); process.exit(); });"],
])("a Worker that ends leaves no fd of its runtimes in the process: %s", async (work) => {
  const before = countFds("timerfd");
  const code = `import * as g from "${root}src/index.ts"; ${work}`;
  const worker = new Worker(URL.createObjectURL(new Blob([code], { type: "text/javascript" })));
  await new Promise((resolve) => worker.addEventListener("close", resolve));
  expect(countFds("timerfd")).toBeLessThanOrEqual(before);
});

test("a process with nothing pending ends at once; so does one that nothing can wake", async () => {
  expect(await program(`await g.sleep(1); console.log("end");`)).toEqual({
    code: 0,
    output: "end\n",
  });
  const never = `class Never extends g.Future { poll() { return g.Pending; } }
g.spawn(new Never()); console.log("end");`;
  expect(await program(never)).toEqual({ code: 0, output: "end\n" });
});

test("pending work keeps the process alive; unref'd work does not", async () => {
  const pending = `g.spawn(async () => { await g.sleep(50); console.log("woke"); });`;
  expect(await program(pending)).toEqual({ code: 0, output: "woke\n" });
  const unref = `g.spawn(async () => { await g.sleep(1e9); console.log("woke"); }).unref(); await g.sleep(5); console.log("end");`;
  expect(await program(unref)).toEqual({ code: 0, output: "end\n" });
  const reref = `const h = g.spawn(async () => { await g.sleep(50); console.log("woke"); }).unref(); h.ref();`;
  expect(await program(reref)).toEqual({ code: 0, output: "woke\n" });
  const job = `g.spawn(async () => console.log(await g.spawnBlocking(() => { Bun.sleepSync(50); return "done"; })));`;
  expect(await program(job)).toEqual({ code: 0, output: "done\n" });
});

test("a failure that nobody took goes to uncaughtException", async () => {
  const caught = `process.on("uncaughtException", (e) => console.log(e.name, e.cause.message));
g.spawn(async () => { await g.sleep(1); throw new Error("lost"); });`;
  expect(await program(caught)).toEqual({ code: 0, output: "UncaughtTaskError lost\n" });
  const joined = `const h = g.spawn(async () => { throw new Error("mine"); });
await h.then(null, (e) => console.log(e.message));`;
  expect(await program(joined)).toEqual({ code: 0, output: "mine\n" });
  expect(new UncaughtTaskError("x", [1]).cause).toBe(1);
});

test("where nobody listens, what is printed tells where the task failed", async () => {
  const failing = `function* culprit() { yield* g.sleep(1); throw new Error("lost"); }
g.spawn(culprit); g.spawn(culprit);
setInterval(() => {}, 1000); // only the failure ends it`;
  const { code, output } = await program(failing);
  expect(code).toBe(1);
  expect(output.match(/guillotine: a task that nobody joined failed:/g)?.length).toBe(2);
  expect(output.match(/at culprit/g)?.length).toBe(2);
  expect(output).toContain("UncaughtTaskError: task #1 failed, and nobody joined it");
});

test("a failure is not told before those who were to join it have had their turn", async () => {
  const many = `process.on("uncaughtException", (e) => console.log("told:", e.message));
const fail = async () => { throw new Error("mine"); };`;
  // More than a turn can poll, so that the failures and their joiners are in different turns.
  const joined = `${many}
await Promise.allSettled(Array.from({ length: 2000 }, () => g.spawn(fail)));
const handles = Array.from({ length: 2000 }, () => g.spawn(fail));
await g.Runtime.ambient().run(() => g.joinAll(handles.map((handle) => function* () { try { yield* handle } catch {} })));
console.log("end");`;
  expect(await program(joined)).toEqual({ code: 0, output: "end\n" });
  const reported = `const runtime = new g.Runtime({ onUncaught: "report" });
await runtime.run(g.sleep(0));
await runtime.spawn(async () => { throw new Error("mine"); }).then(null, () => console.log("end"));`;
  expect(await program(reported)).toEqual({ code: 0, output: "end\n" });
  // One that is always ready does not keep a failure from being told.
  const busy = `${many}
g.spawn(function* () { for (;;) yield* g.yieldNow(); });
g.spawn(fail);
process.once("uncaughtException", () => process.exit());`;
  expect((await program(busy)).output).toContain("nobody joined it: Error: mine");
});

test("a clock that stands still, as a test's fake timers make it, holds the thread nowhere", async () => {
  const code = `const stopped = performance.now();
performance.now = () => stopped;
const listener = g.TcpListener.bind("127.0.0.1:0");
const work = function* () {
  const accepting = g.spawn(listener.accept());
  (yield* g.TcpStream.connect(listener.localAddress)).close();
  (yield* accepting).close();
};
new g.Runtime().blockOn(work);
try { new g.Runtime().blockOn(g.mpsc(1).receiver.recv()); } catch (error) { console.log(error.name); }
const busy = g.spawn(function* () { for (;;) yield* g.yieldNow(); });
await g.Runtime.ambient().run(work);
setTimeout(() => { console.log("run, beside Bun's loop"); process.exit(); });`;
  expect(await program(code)).toEqual({
    code: 0,
    output: "DeadlockError\nrun, beside Bun's loop\n",
  });
});

test("one that nothing could wake is woken by its eventfd, if that is asked for, or written to, later", async () => {
  const gate = `import { writeSync } from "node:fs";
class Gate extends g.Future {
  poll(cx) { if (this.isOpen) return "open"; this.waker = cx.waker.clone(); return g.Pending; }
}
const gate = new Gate();
g.spawn(gate).then(console.log);
while (gate.waker === undefined) await new Promise((resolve) => setImmediate(resolve));
gate.isOpen = true;`;
  const byFd = `const { fd } = gate.waker; // from here on the process stays alive for it
const one = new Uint8Array(new BigUint64Array([1n]).buffer);
setTimeout(() => writeSync(fd, one), 20).unref();`;
  expect(await program(`${gate}\n${byFd}`)).toEqual({ code: 0, output: "open\n" });
  const byHandle = "g.Waker.fromHandle(gate.waker.toHandle()).wake();";
  expect(await program(`${gate}\n${byHandle}`)).toEqual({ code: 0, output: "open\n" });
  const eager = `const notify = new g.Notify();
new g.Runtime({ eventfd: "eager" }).run(notify.notified()).then(() => console.log("notified"));
setTimeout(() => notify.notifyOne(), 1);`;
  expect(await program(eager)).toEqual({ code: 0, output: "notified\n" });
});

test("a handle of a runtime that nobody has driven yet can be awaited", async () => {
  const handle = new Runtime().spawn(function* () {
    yield* sleep(1);
    return "done";
  });
  expect(await handle).toBe("done");
});

test("also by a task of another runtime", async () => {
  const start = () => new Runtime().spawn(async () => (await sleep(1)) ?? "done");
  expect(await spawn(async () => await start())).toBe("done");
  expect(await spawn(() => start())).toBe("done");
});

test("out of fds, a first park does without the helper: Bun would end the process with it", async () => {
  const code = `import { openSync } from "node:fs";
import { Runtime, sleep } from "${root}src/index.ts";
Runtime.ambient().blockOn(sleep(1)); // there is a timerfd, and no helper yet
try { for (;;) openSync("/dev/null"); } catch (error) { console.log(error.code); }
await sleep(30);
console.log("awake");`;
  const { output } = await run(["sh", "-c", 'ulimit -n 200; exec bun -e "$0"', code]);
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

test("what foreign code awaits is not of the runtime whose turn happens to run its microtasks", async () => {
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

test("nor of one whose blockOn happens to run them", async () => {
  await sleep(0); // promises have taken part
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

test("when the ambient runtime was disposed there is another", async () => {
  const code = `g.spawn(function* () { try { yield* g.sleep(1e6); } finally { yield* g.sleep(5); } });
await g.sleep(1);
const disposed = g.Runtime.ambient()[Symbol.asyncDispose]();
await g.sleep(1); // also while its tasks clean up
await disposed;
await g.sleep(1);
console.log("slept");`;
  expect(await program(code)).toEqual({ code: 0, output: "slept\n" });
});

test("the same future, awaited twice, is performed once", async () => {
  let polls = 0;
  const future = intoFuture(async () => ++polls);
  expect(await Promise.all([future, future, future.then((n) => n + 1)])).toEqual([1, 1, 2]);
});

test("a compiled executable parks, and is woken", async () => {
  const script = `
import { mkdtempSync, rmSync } from "node:fs";
const dir = mkdtempSync("/tmp/guillotine-compiled-");
await Bun.write(dir + "/main.ts", 'import { sleep, spawnBlocking, spawn } from "${root}src/index.ts"; await sleep(20); console.log("woke", await spawn(async () => await spawnBlocking(() => 6 * 7)));');
const built = Bun.spawnSync(["bun", "build", "--compile", dir + "/main.ts", "--outfile", dir + "/main"]);
if (built.exitCode !== 0) console.log(built.stderr.toString());
console.log(Bun.spawnSync([dir + "/main"]).stdout.toString().trim());
rmSync(dir, { recursive: true });`;
  expect(await run(["timeout", "50", "bun", "-e", script])).toEqual({
    code: 0,
    output: "woke 42\n",
  });
});
