// TCP echo: servers in processes of their own, a C load generator in another, pinned apart.

import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { compare, finish, isQuick, type Peer } from "./harness.ts";

interface Shape {
  readonly connections: number;
  readonly size: number;
  readonly depth: number;
}

const here = new URL(".", import.meta.url).pathname;
const directory = mkdtempSync(join(tmpdir(), "guillotine-bench-"));
const canPin = Bun.which("taskset") !== null && navigator.hardwareConcurrency > 1;
const pin = (core: number): string[] => (canPin ? ["taskset", "-c", `${core}`] : []);
const CLOCK_TICKS_PER_SECOND = 100;

function compile(source: string, target: string): string | null {
  if (Bun.which("cc") === null) return null;
  const built = Bun.spawnSync(["cc", "-O2", "-o", join(directory, target), here + source]);
  return built.exitCode === 0 ? join(directory, target) : null;
}

const load = compile("load.c", "load");
if (load === null) {
  console.log("skipped: the load generator is C; install a C compiler (cc)");
  process.exit();
}

class Server implements Peer<Shape> {
  readonly name: string;
  readonly #child: Bun.Subprocess<"ignore", "pipe", "inherit">;
  #port = 0;
  #echoes = 0;
  #cpuSeconds = 0;

  constructor(name: string, command: string[]) {
    this.name = name;
    this.#child = Bun.spawn([...pin(0), ...command], { stdin: "ignore", stdout: "pipe" });
  }

  async ready(): Promise<this> {
    let text = "";
    for await (const chunk of this.#child.stdout) {
      text += new TextDecoder().decode(chunk);
      const port = /port (\d+)/.exec(text)?.[1];
      if (port !== undefined) {
        this.#port = Number(port);
        return this;
      }
    }
    throw new Error(`${this.name} did not start`);
  }

  async measure({ connections, size, depth }: Shape): Promise<number> {
    const before = this.#userSeconds();
    const ms = isQuick ? 150 : 300;
    const args = [this.#port, connections, size, depth, ms].map(String);
    const run = Bun.spawn([...pin(1), load as string, ...args], { stdout: "pipe" });
    const output = await new Response(run.stdout).text();
    if ((await run.exited) !== 0) throw new Error(`the load failed against ${this.name}`);
    const [echoes = 0, micros = 1] = output.split(" ").map(Number);
    this.#echoes += echoes;
    this.#cpuSeconds += this.#userSeconds() - before;
    return (echoes / micros) * 1e6;
  }

  note(): string {
    const text = `${((this.#cpuSeconds / this.#echoes) * 1e6).toFixed(2)} µs user CPU per echo`;
    this.#cpuSeconds = this.#echoes = 0;
    return text;
  }

  /** Of all its threads, in ticks of 10 ms: it adds up over the rounds. */
  #userSeconds(): number {
    const fields = readFileSync(`/proc/${this.#child.pid}/stat`, "utf8").split(") ")[1]?.split(" ");
    return Number(fields?.[11] ?? 0) / CLOCK_TICKS_PER_SECOND;
  }

  stop(): void {
    this.#child.kill("SIGKILL");
  }
}

const commands: [string, string[] | null][] = [
  ["Bun.listen", ["bun", `${here}peers/bun-listen.ts`]],
  ["guillotine, blockOn", ["bun", `${here}peers/guillotine.ts`, "blockOn"]],
  ["guillotine, blockOn, 50 µs spin", ["bun", `${here}peers/guillotine.ts`, "blockOn", "50"]],
  ["guillotine, guest mode", ["bun", `${here}peers/guillotine.ts`, "guest"]],
  [
    "C, epoll",
    ((binary) => binary && [binary])(compile("peers/echo.c", "echo")) as string[] | null,
  ],
  ["node:net on Bun", ["bun", `${here}peers/node-net.mjs`]],
  ["node:net on Node", Bun.which("node") === null ? null : ["node", `${here}peers/node-net.mjs`]],
];

const servers: Server[] = [];
try {
  for (const [name, command] of commands) {
    if (command === null) console.log(`skipped: ${name} (not installed)`);
    else servers.push(await new Server(name, command).ready());
  }
  const shapes: [string, Shape][] = [
    ["1 connection × 64 B", { connections: 1, size: 64, depth: 1 }],
    ["50 connections × 64 B", { connections: 50, size: 64, depth: 1 }],
    ["500 connections × 64 B", { connections: 500, size: 64, depth: 1 }],
    ["50 connections × 64 KiB", { connections: 50, size: 65_536, depth: 1 }],
    ["50 connections × 64 B, 16 under way", { connections: 50, size: 64, depth: 16 }],
  ];
  for (const [name, shape] of shapes) {
    await compare("TCP echo", name, shape, servers, (value) => `${Math.round(value)}/s`);
  }
  await finish();
} finally {
  for (const server of servers) server.stop();
  rmSync(directory, { recursive: true });
}
