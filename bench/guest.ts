// Guest mode compared with Bun alone: waking a parked runtime, the lateness of Bun's own timers and requests
// alongside saturated sockets, and the cost of an import.
//
//   bun bench/guest.ts [--quick] [--rounds N] [--only park]
//   taskset -c 0 bun bench/guest.ts --only park      # both threads on one core
//
// Goals: a wake takes at most 4 times as long as Atomics.waitAsync alone (2 times on one core). Timers and requests are
// not later than with Bun.listen.

import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Context, Future, Pending, type Poll, Runtime } from "../src/index.ts";
import { compare, finish, isQuick, type Peer, skip, time } from "./harness.ts";
import { ASKED, FD, nowMicros, SEEN } from "./peers/waker.ts";
import { Child, cProgram, here, pinned } from "./processes.ts";

const directory = mkdtempSync(join(tmpdir(), "guillotine-bench-"));

/** Returns the value below which the fraction `share` of the values lies. */
function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(Math.floor(sorted.length * share), sorted.length - 1)] ?? Number.NaN;
}

// 1. Waking a parked runtime. A Worker stores the time and wakes this thread, which has been asleep for 2 ms.

const WAKES = isQuick ? 20 : 50;
const waker = new Worker(`${here}peers/waker.ts`);
waker.unref();
const shared = new Int32Array(new SharedArrayBuffer(12));
const wokenAt = new Float64Array(new SharedArrayBuffer(8));
waker.postMessage({ shared, wokenAt });

/** Returns the time since the Worker's latest wake, in µs. */
const sinceMicros = (): number => nowMicros() - (wokenAt[0] ?? Number.NaN);

/** Asks the Worker for a wake: a write to `fd`, or Atomics if `fd` is -1. */
function ask(fd: number): void {
  Atomics.store(shared, FD, fd);
  Atomics.add(shared, ASKED, 1);
  Atomics.notify(shared, ASKED);
}

const hop: Peer<void> = {
  name: "Atomics.waitAsync",
  async measure() {
    const latencies: number[] = [];
    // The unref'd Worker does not keep the process alive.
    const alive = setInterval(() => {}, 1e6);
    for (let count = 0; count < WAKES; count++) {
      const seen = Atomics.load(shared, SEEN);
      const wait = Atomics.waitAsync(shared, SEEN, seen);
      ask(-1);
      await wait.value;
      latencies.push(sinceMicros());
    }
    clearInterval(alive);
    return quantile(latencies, 0.5) * 1000;
  },
};

/** Completes after WAKES wakes through its waker's eventfd. Returns the latency of each, in µs. */
class Woken extends Future<number[]> {
  readonly #latencies: number[] = [];
  #fd = -1;

  override poll(cx: Context): Poll<number[]> {
    if (this.#fd >= 0) this.#latencies.push(sinceMicros());
    else this.#fd = cx.waker.fd;
    if (this.#latencies.length === WAKES) return this.#latencies;
    ask(this.#fd);
    return Pending;
  }
}

const runtime = new Runtime();
const park: Peer<void> = {
  name: "guillotine, parked",
  measure: async () => quantile(await runtime.run(new Woken()), 0.5) * 1000,
};

await compare("Guest mode", "waking a parked runtime, p50", undefined, [hop, park], time);
await runtime[Symbol.asyncDispose]();

// 2. Bun's loop alongside saturated sockets: an interval of 1 ms, and the handler of Bun.serve.

interface Load {
  readonly connections: number;
  readonly size: number;
  readonly depth: number;
}
/** The p99 gap of the interval, and the p99 response time of Bun.serve, in µs. */
interface Lateness {
  readonly interval: number;
  readonly handler: number;
}

const load = cProgram("load.c");

/** An echo server process that also runs an interval and Bun.serve (peers/lateness.ts). */
class LatenessServer {
  readonly #child: Child;
  #http = 0;
  #echo = 0;

  constructor(...command: string[]) {
    const [server = "", ...args] = command;
    const program = ["--preload", `${here}peers/lateness.ts`, `${here}peers/servers/${server}`];
    this.#child = new Child([...pinned(0), "bun", ...program, ...args]);
  }

  /** Waits for both ports. Throws if the server does not start. */
  async ready(): Promise<this> {
    while (this.#http === 0 || this.#echo === 0) {
      const [, what, port] = /(http|port) (\d+)/.exec((await this.#child.line()) ?? "") ?? [];
      if (what === "http") this.#http = Number(port);
      else if (what === "port") this.#echo = Number(port);
      else throw new Error("the server ended before it printed its two ports");
    }
    return this;
  }

  async measure({ connections, size, depth }: Load): Promise<Lateness> {
    const args = [this.#echo, connections, size, depth, isQuick ? 300 : 700].map(String);
    const command = [...pinned(1), load!, "tcp", ...args]; // not null: without it, no server was started
    const run = Bun.spawn(command, { stdout: "ignore" });
    let isOver = false;
    const over = run.exited.then(() => {
      isOver = true;
    });
    const url = `http://127.0.0.1:${this.#http}/`;
    await (await fetch(url)).text(); // resets the gaps measured before the load
    const latencies: number[] = [];
    while (!isOver) {
      const startMs = performance.now();
      await (await fetch(`${url}hello`)).text();
      latencies.push((performance.now() - startMs) * 1000);
    }
    await over;
    const interval = Number(await (await fetch(url)).text());
    return { interval, handler: quantile(latencies, 0.99) };
  }

  stop(): void {
    this.#child.stop();
  }
}

const servers: LatenessServer[] = [];
try {
  if (load === null) skip("lateness: the load generator is C", "install a C compiler (cc)");
  else {
    const listen = await new LatenessServer("bun.ts").ready();
    servers.push(listen);
    const guest = await new LatenessServer("guillotine.ts", "guest").ready();
    servers.push(guest);
    const shapes: [string, Load][] = [
      ["50 connections × 64 B", { connections: 50, size: 64, depth: 1 }],
      ["50 connections × 64 B, 16 in flight", { connections: 50, size: 64, depth: 16 }],
      ["50 connections × 64 KiB", { connections: 50, size: 65_536, depth: 1 }],
    ];
    for (const [name, shape] of shapes) {
      for (const what of ["interval", "handler"] as const) {
        const peer = (name: string, server: LatenessServer): Peer<Load> => ({
          name,
          measure: async (load) => (await server.measure(load))[what] * 1000,
        });
        const peers = [peer("Bun.listen", listen), peer("guillotine, guest mode", guest)];
        const title = what === "interval" ? "setInterval of 1 ms, p99 gap" : "Bun.serve, p99";
        await compare("Guest mode", `${title}, alongside ${name}`, shape, peers, time);
      }
    }
  }

  // 3. The cost of an import: the built package in a fresh process, compared with an empty script.

  Bun.spawnSync(["bun", "run", "build"], { cwd: join(here, "..") });
  mkdirSync(join(directory, "import"));
  const script = async (name: string, code: string): Promise<Peer<void>> => {
    const file = join(directory, "import", name);
    await Bun.write(file, code);
    return {
      name,
      measure() {
        const startMs = performance.now();
        Bun.spawnSync(["bun", file]);
        return (performance.now() - startMs) * 1e6;
      },
    };
  };
  await Bun.write(join(directory, "import", "one.js"), "export const one = 1;\n");
  const dist = JSON.stringify(join(here, "../dist/index.js"));
  await compare(
    "Guest mode",
    "import of the package in a fresh process",
    undefined,
    [
      await script("empty.js", ""),
      await script("one-line-module.js", `import { one } from "./one.js"; one;`),
      await script("package.js", `import { sleep } from ${dist}; sleep;`),
    ],
    time,
  );
  await finish();
} finally {
  for (const server of servers) server.stop();
  rmSync(directory, { recursive: true });
}
