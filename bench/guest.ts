// Guest mode beside Bun alone: a wake from the park, how late Bun's own timers and requests are beside
// saturated sockets, and what an import costs.
//
//   bun bench/guest.ts [--quick] [--rounds N] [--only park]
//   taskset -c 0 bun bench/guest.ts --only park      # both threads on one core
//
// Aims: a wake at least 0.25 of a bare hop (0.5 on one core); not below 1 for lateness beside
// Bun.listen; an import at most 5 ms over an empty script.

import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Context, Future, Pending, type Poll, Runtime } from "../src/index.ts";
import { compare, finish, isQuick, type Peer } from "./harness.ts";
import { ASKED, FD, nowMicros, SEEN } from "./peers/waker.ts";

const here = new URL(".", import.meta.url).pathname;
const directory = mkdtempSync(join(tmpdir(), "guillotine-bench-"));

function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(Math.floor(sorted.length * share), sorted.length - 1)] ?? Number.NaN;
}

/** Larger is better: the rate of something that takes so long. */
const perSecond = (micros: number): number => 1e6 / micros;
const micros = (rate: number): string => `${(1e6 / rate).toFixed(0)} µs`;

// 1. A wake from the park. A Worker notes the time, and wakes this thread, which is long asleep.

const WAKES = isQuick ? 20 : 50;
const waker = new Worker(`${here}peers/waker.ts`);
waker.unref();
const words = new Int32Array(new SharedArrayBuffer(12));
const at = new Float64Array(new SharedArrayBuffer(8));
waker.postMessage({ words, at });

const sinceMicros = (): number => nowMicros() - (at[0] ?? Number.NaN);

function ask(fd: number): void {
  Atomics.store(words, FD, fd);
  Atomics.add(words, ASKED, 1);
  Atomics.notify(words, ASKED);
}

const hop: Peer<void> = {
  name: "Atomics.waitAsync",
  async measure() {
    const taken: number[] = [];
    // A Worker that waits for its thread does not keep the process alive.
    const alive = setInterval(() => {}, 1e6);
    for (let count = 0; count < WAKES; count++) {
      const seen = Atomics.load(words, SEEN);
      const wait = Atomics.waitAsync(words, SEEN, seen);
      ask(-1);
      await wait.value;
      taken.push(sinceMicros());
    }
    clearInterval(alive);
    return perSecond(quantile(taken, 0.5));
  },
};

/** Is woken through its waker's eventfd, as often as asked. */
class Woken extends Future<number[]> {
  readonly #taken: number[] = [];
  #fd = -1;

  override poll(cx: Context): Poll<number[]> {
    if (this.#fd >= 0) this.#taken.push(sinceMicros());
    else this.#fd = cx.waker.fd;
    if (this.#taken.length === WAKES) return this.#taken;
    ask(this.#fd);
    return Pending;
  }
}

const runtime = new Runtime();
const park: Peer<void> = {
  name: "guillotine, parked",
  measure: async () => perSecond(quantile(await runtime.run(new Woken()), 0.5)),
};

await compare("wake", "from the park, p50", undefined, [hop, park], micros);
await runtime[Symbol.asyncDispose]();

// 2. Bun's loop beside saturated sockets: an interval of 1 ms, and the handler of Bun.serve.

interface Load {
  readonly connections: number;
  readonly size: number;
  readonly depth: number;
}
interface Lateness {
  readonly interval: number;
  readonly handler: number;
}

const load = join(directory, "load");
const canLoad =
  Bun.which("cc") !== null &&
  Bun.spawnSync(["cc", "-O2", "-o", load, `${here}load.c`]).exitCode === 0;
const canPin = Bun.which("taskset") !== null && navigator.hardwareConcurrency > 1;
const pin = (core: number): string[] => (canPin ? ["taskset", "-c", `${core}`] : []);

/** A server process: echo over its sockets, and Bun.serve, which tells how late the interval is. */
class Beside {
  readonly #child: Bun.Subprocess<"ignore", "pipe", "inherit">;
  #ports: string[] = [];

  constructor(peer: string, ...args: string[]) {
    const command = ["bun", "--preload", `${here}peers/beside.ts`, `${here}peers/${peer}`, ...args];
    this.#child = Bun.spawn([...pin(0), ...command], { stdin: "ignore", stdout: "pipe" });
  }

  async ready(): Promise<this> {
    let text = "";
    for await (const chunk of this.#child.stdout) {
      text += new TextDecoder().decode(chunk);
      const http = /http (\d+)/.exec(text)?.[1];
      const echo = /port (\d+)/.exec(text)?.[1];
      if (http !== undefined && echo !== undefined) {
        this.#ports = [http, echo];
        return this;
      }
    }
    throw new Error("a server did not start");
  }

  async measure({ connections, size, depth }: Load): Promise<Lateness> {
    const [http = "", echo = ""] = this.#ports;
    const ms = isQuick ? 300 : 700;
    const args = [echo, connections, size, depth, ms].map(String);
    const run = Bun.spawn([...pin(1), load, ...args], { stdout: "ignore" });
    let isOver = false;
    const over = run.exited.then(() => {
      isOver = true;
    });
    const url = `http://127.0.0.1:${http}/`;
    await (await fetch(url)).text(); // forgets what came before the load
    const taken: number[] = [];
    while (!isOver) {
      const startMs = performance.now();
      await (await fetch(`${url}hello`)).text();
      taken.push((performance.now() - startMs) * 1000);
    }
    await over;
    const interval = Number(await (await fetch(url)).text());
    return { interval, handler: quantile(taken, 0.99) };
  }

  stop(): void {
    this.#child.kill("SIGKILL");
  }
}

const servers: Beside[] = [];
try {
  if (!canLoad) console.log("skipped: lateness (the load generator needs cc)");
  else {
    const listen = await new Beside("bun-listen.ts").ready();
    servers.push(listen);
    const guest = await new Beside("guillotine.ts", "guest").ready();
    servers.push(guest);
    const shapes: [string, Load][] = [
      ["50 connections × 64 B", { connections: 50, size: 64, depth: 1 }],
      ["50 connections × 64 B, 16 under way", { connections: 50, size: 64, depth: 16 }],
      ["50 connections × 64 KiB", { connections: 50, size: 65_536, depth: 1 }],
    ];
    for (const [name, shape] of shapes) {
      for (const what of ["interval", "handler"] as const) {
        const peer = (name: string, server: Beside): Peer<Load> => ({
          name,
          measure: async (load) => perSecond((await server.measure(load))[what]),
        });
        const peers = [peer("Bun.listen", listen), peer("guillotine, guest mode", guest)];
        const title = what === "interval" ? "setInterval of 1 ms, p99 gap" : "Bun.serve, p99";
        await compare(title, `beside ${name}`, shape, peers, micros);
      }
    }
  }

  // 3. What an import costs: the built package in a fresh process, beside an empty script.

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
        return perSecond((performance.now() - startMs) * 1000);
      },
    };
  };
  await Bun.write(join(directory, "import", "one.js"), "export const one = 1;\n");
  const dist = JSON.stringify(join(here, "../dist/index.js"));
  await compare(
    "import",
    "of the package, whole process",
    undefined,
    [
      await script("empty.js", ""),
      await script("one-line-module.js", `import { one } from "./one.js"; one;`),
      await script("package.js", `import { sleep } from ${dist}; sleep;`),
    ],
    (rate) => `${(1000 / rate).toFixed(1)} ms`,
  );
  await finish();
} finally {
  for (const server of servers) server.stop();
  rmSync(directory, { recursive: true });
}
