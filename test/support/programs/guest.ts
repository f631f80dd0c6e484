// Programs of test/runtime/guest/guest.test.ts. Each needs a process of its own, because its test checks when the
// process ends, or what it prints at its end. Usage: bun guest.ts <name>
//
// The last line awaits the program, so an `await` in a program is a top-level await of the process.

import { openSync, writeSync } from "node:fs";
import {
  type Context,
  Future,
  joinAll,
  mpsc,
  Notify,
  Pending,
  type Poll,
  Runtime,
  sleep,
  spawn,
  spawnBlocking,
  TcpListener,
  TcpStream,
  Waker,
  yieldNow,
} from "../../../src/index.ts";

class Never extends Future<void> {
  override poll(): Poll<void> {
    return Pending;
  }
}

/** Completes at the first poll after `isOpen` was set. Exposes the waker of its latest poll. */
class Gate extends Future<string> {
  isOpen = false;
  waker: Waker | null = null;

  override poll(cx: Context): Poll<string> {
    if (this.isOpen) return "open";
    this.waker = cx.waker.clone();
    return Pending;
  }
}

/** Spawns a task that waits for a gate, then opens the gate without waking. Returns the waker of the task. */
async function openGate(): Promise<Waker> {
  const gate = new Gate();
  spawn(gate).then(console.log);
  while (gate.waker === null) await new Promise<void>((resolve) => setImmediate(resolve));
  gate.isOpen = true;
  return gate.waker;
}

async function fail(): Promise<never> {
  throw new Error("mine");
}

function printUncaught(): void {
  process.on("uncaughtException", (error) => console.log("uncaught:", error.message));
}

const programs = {
  async "spin without limit"(): Promise<void> {
    const runtime = new Runtime({ spinMicros: Number.POSITIVE_INFINITY });
    await runtime.run(sleep(1));
    console.log("end");
  },

  async "nothing pending"(): Promise<void> {
    await sleep(1);
    console.log("end");
  },

  async "nothing can wake it"(): Promise<void> {
    spawn(new Never());
    console.log("end");
  },

  async "pending sleep"(): Promise<void> {
    spawn(async () => {
      await sleep(50);
      console.log("woke");
    });
  },

  async "unref'd sleep"(): Promise<void> {
    spawn(async () => {
      await sleep(1e9);
      console.log("woke");
    }).unref();
    await sleep(5);
    console.log("end");
  },

  async "ref'd again"(): Promise<void> {
    const handle = spawn(async () => {
      await sleep(50);
      console.log("woke");
    }).unref();
    handle.ref();
  },

  async "pending blocking job"(): Promise<void> {
    spawn(async () => {
      const answer = await spawnBlocking(() => {
        Bun.sleepSync(50);
        return "done";
      });
      console.log(answer);
    });
  },

  async "uncaught failure"(): Promise<void> {
    process.on("uncaughtException", (error) =>
      console.log(error.name, (error.cause as Error).message),
    );
    spawn(async () => {
      await sleep(1);
      throw new Error("lost");
    });
  },

  async "joined failure"(): Promise<void> {
    await spawn(fail).then(null, (error: Error) => console.log(error.message));
  },

  async "failures without a listener"(): Promise<void> {
    const both = new Notify(); // the two must fail in the same turn: the first report ends the process
    function* culprit() {
      yield* both.notified();
      throw new Error("lost");
    }
    spawn(culprit);
    spawn(culprit);
    spawn(function* () {
      yield* sleep(1);
      both.notifyAll();
    });
    spawn(sleep(1e9)); // only the failure ends the process
  },

  async "failure during a top-level await"(): Promise<void> {
    spawn(fail);
    await sleep(20);
    console.log("continued");
  },

  /** More tasks than one turn polls, so that the failures and their joiners run in different turns. */
  async "2000 joined failures"(): Promise<void> {
    printUncaught();
    await Promise.allSettled(Array.from({ length: 2000 }, () => spawn(fail)));
    const handles = Array.from({ length: 2000 }, () => spawn(fail));
    const joiners = handles.map(
      (handle) =>
        function* () {
          try {
            yield* handle;
          } catch {}
        },
    );
    await Runtime.ambient().run(() => joinAll(joiners));
    console.log("end");
  },

  async "reported failure that is joined"(): Promise<void> {
    const runtime = new Runtime({ onUncaught: "report" });
    await runtime.run(sleep(0));
    await runtime.spawn(fail).then(null, () => console.log("end"));
  },

  async "failure next to a busy task"(): Promise<void> {
    printUncaught();
    spawn(function* () {
      for (;;) yield* yieldNow();
    });
    spawn(fail);
    process.once("uncaughtException", () => process.exit());
  },

  async "stopped clock"(): Promise<void> {
    const stopped = performance.now();
    performance.now = () => stopped;
    const listener = TcpListener.bind("127.0.0.1:0");
    const work = function* () {
      const accepting = spawn(listener.accept());
      (yield* TcpStream.connect(listener.localAddress)).close();
      (yield* accepting).close();
    };
    new Runtime().blockOn(work);
    try {
      new Runtime().blockOn(mpsc(1).receiver.recv());
    } catch (error) {
      console.log((error as Error).name);
    }
    spawn(function* () {
      for (;;) yield* yieldNow();
    });
    await Runtime.ambient().run(work);
    setTimeout(() => {
      console.log("run, alongside Bun's loop");
      process.exit();
    });
  },

  async "woken by fd"(): Promise<void> {
    const { fd } = await openGate(); // exposes the fd: from now on a write may wake the task, so the process stays alive
    const one = new Uint8Array(new BigUint64Array([1n]).buffer);
    setTimeout(() => writeSync(fd, one), 20).unref();
  },

  async "woken by handle"(): Promise<void> {
    Waker.fromHandle((await openGate()).toHandle()).wake();
  },

  async "woken in eager mode"(): Promise<void> {
    const notify = new Notify();
    new Runtime({ eventfd: "eager" }).run(notify.notified()).then(() => console.log("notified"));
    setTimeout(() => notify.notifyOne(), 1);
  },

  async "out of fds"(): Promise<void> {
    Runtime.ambient().blockOn(sleep(1)); // opens the timerfd, but starts no helper thread yet
    try {
      for (;;) openSync("/dev/null", "r");
    } catch (error) {
      console.log((error as NodeJS.ErrnoException).code);
    }
    await sleep(30);
    console.log("awake");
  },

  async "spawn on a runtime that nothing drives"(): Promise<void> {
    const runtime = new Runtime();
    runtime.spawn(function* () {
      yield* sleep(1);
      console.log("slept");
    });
    new Runtime().spawnBlocking(() => 42).then(console.log);
  },

  async "spawn before a later blockOn"(): Promise<void> {
    using runtime = new Runtime();
    runtime.blockOn(function* () {});
    runtime.spawn(function* () {
      console.log("task");
    });
    await new Promise<void>((resolve) => setImmediate(resolve));
    console.log("before blockOn");
    runtime.block();
  },

  async "configured ambient runtime"(): Promise<void> {
    Runtime.configureAmbient({ onUncaught: "report" });
    spawn(fail);
    await sleep(1);
    try {
      Runtime.configureAmbient({});
    } catch (error) {
      const { code, message } = error as { code?: string } & Error;
      console.log(`${code}: ${message}`);
    }
    await Runtime.ambient()[Symbol.asyncDispose]();
    Runtime.configureAmbient({ onUncaught: (error) => console.log("handled", String(error)) });
    spawn(fail);
    await sleep(1);
  },

  async "disposed ambient runtime"(): Promise<void> {
    spawn(function* () {
      try {
        yield* sleep(1e6);
      } finally {
        yield* sleep(5);
      }
    });
    await sleep(1);
    const disposed = Runtime.ambient()[Symbol.asyncDispose]();
    await sleep(1); // works also while the disposed runtime cleans up
    await disposed;
    await sleep(1);
    console.log("slept");
  },

  async "sleep and blocking job"(): Promise<void> {
    await sleep(20);
    console.log("woke", await spawn(async () => await spawnBlocking(() => 6 * 7)));
  },
};

export type GuestProgram = keyof typeof programs;

const name = process.argv[2] ?? "sleep and blocking job"; // a compiled executable has no argument
await programs[name as GuestProgram]();
