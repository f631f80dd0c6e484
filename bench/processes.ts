// Builds and runs the peers. Each runs in its own process, so that no peer affects the JIT or the heap of another.

import { mkdirSync, readdirSync, readFileSync } from "node:fs";
import type { Peer } from "./harness.ts";
import { skip } from "./harness.ts";

export const here: string = new URL(".", import.meta.url).pathname;
const build = `${here}.build`; // ignored by git
mkdirSync(build, { recursive: true });

const canPin = Bun.which("taskset") !== null && navigator.hardwareConcurrency > 1;

/** Returns a command prefix that pins a process to a core, if possible. Servers run on core 0, the load on core 1. */
export function pinned(core: number): string[] {
  return canPin ? ["taskset", "-c", `${core}`] : [];
}

/** Runs a build command. Returns `target`, or null if the build fails. */
function make(command: string[], target: string, cwd: string = here): string | null {
  if (Bun.which(command[0]!) === null) return null;
  const { exitCode } = Bun.spawnSync(command, { cwd, stderr: "ignore", stdout: "ignore" });
  return exitCode === 0 ? target : null;
}

/** Compiles a C program of this folder. Returns its path, or null without a compiler. */
export function cProgram(source: string): string | null {
  const target = `${build}/${source.replaceAll(/\W/g, "-")}`;
  return make(["cc", "-O2", "-o", target, source], target);
}

let rust: string | null | undefined;

/** Builds the peers in Rust. Returns their path, or null if cargo cannot build them. */
export function rustPeers(): string | null {
  if (rust !== undefined) return rust;
  const target = `${build}/rust`;
  const command = ["cargo", "build", "--release", "--target-dir", target];
  // If Debian's librust packages are installed, build from them, without a network.
  const debian = "/usr/share/cargo/registry";
  const hasDebian = existsIn(debian, /^tokio-1/) && existsIn(debian, /^smol-1/);
  const source = hasDebian
    ? [
        ...["--offline", "--config", 'source.crates-io.replace-with="debian"'],
        ...["--config", `source.debian.directory="${debian}"`],
      ]
    : [];
  rust = make([...command, ...source], `${target}/release/peers`, `${here}peers/rust`);
  if (rust === null)
    skip("tokio and smol", "apt install librust-tokio-dev librust-smol-dev, cargo");
  return rust;
}

function existsIn(directory: string, name: RegExp): boolean {
  try {
    return readdirSync(directory).some((entry) => name.test(entry));
  } catch {
    return false;
  }
}

/** A child process, with its output line by line. */
export class Child {
  readonly process: Bun.Subprocess<"pipe", "pipe", "inherit">;
  readonly #chunks: AsyncIterator<Uint8Array>;
  #text = "";

  constructor(command: string[]) {
    this.process = Bun.spawn(command, { stdin: "pipe", stdout: "pipe" });
    this.#chunks = this.process.stdout[Symbol.asyncIterator]();
  }

  /** Returns the next line; null if the process ends before it. */
  async line(): Promise<string | null> {
    for (;;) {
      const [line, ...rest] = this.#text.split("\n");
      if (rest.length > 0) {
        this.#text = rest.join("\n");
        return line!; // split returns at least one element
      }
      const { done, value } = await this.#chunks.next();
      if (done) return null;
      this.#text += new TextDecoder().decode(value);
    }
  }

  /** The user CPU time of all threads so far, in seconds. */
  get userSeconds(): number {
    const fields = readFileSync(`/proc/${this.process.pid}/stat`, "utf8")
      .split(") ")[1]
      ?.split(" ");
    return Number(fields?.[11]) / 100; // counted in ticks of 10 ms: precise enough over all rounds
  }

  /** The CPU time of all living threads so far, user and system, in nanoseconds. */
  get cpuNanoseconds(): number {
    const tasks = `/proc/${this.process.pid}/task`;
    return readdirSync(tasks)
      .map((thread) => Number(readFileSync(`${tasks}/${thread}/schedstat`, "utf8").split(" ")[0]))
      .reduce((sum, one) => sum + one, 0);
  }

  get residentBytes(): number {
    const pages = readFileSync(`/proc/${this.process.pid}/statm`, "utf8").split(" ")[1];
    return Number(pages) * 4096;
  }

  stop(): void {
    this.process.kill("SIGKILL");
  }
}

/** A measurement to ask a peer for, by the protocol of peers/answer.mjs. */
export interface Question {
  readonly work: string;
  readonly count: number;
  /** "answer": return the peer's number. "each": divide it by `count`. */
  readonly want: "answer" | "each";
  /** If true, each measurement starts a new process. */
  readonly isFresh?: boolean;
}

/** A peer process that performs the work itself and prints how long it took. */
export class Worker implements Peer<Question> {
  readonly name: string;
  readonly #command: string[];
  /** The largest `count` of one measurement: with more, some peers would take minutes. */
  readonly #maxCount: number;
  #child: Child | null = null;
  #cpu = 0;
  #count = 0;

  constructor(name: string, command: string[], maxCount: number = Number.POSITIVE_INFINITY) {
    this.name = name;
    this.#command = command;
    this.#maxCount = maxCount;
  }

  async measure({ work, count: wanted, want, isFresh = false }: Question): Promise<number> {
    const count = want === "each" ? Math.min(wanted, this.#maxCount) : wanted;
    if (isFresh) this.stop();
    // Not pinned: the JIT's compiler threads need the other core.
    this.#child ??= new Child(this.#command);
    const child = this.#child;
    const before = child.cpuNanoseconds;
    child.process.stdin.write(`${work} ${count}\n`);
    child.process.stdin.flush();
    const line = await child.line();
    if (line === null) throw new Error(`${this.name} ended while it measured ${work}`);
    this.#cpu += child.cpuNanoseconds - before;
    this.#count += count;
    return line === "NaN" || want === "answer" ? Number(line) : Number(line) / count;
  }

  /** Returns the CPU time of all threads per operation, user and system, in µs. */
  cost(): number {
    const micros = this.#cpu / this.#count / 1e3;
    this.#cpu = this.#count = 0;
    return micros;
  }

  /** Stops the process. The next measurement starts a new one, whose JIT has compiled nothing yet. */
  stop(): void {
    this.#child?.stop();
    this.#child = null;
  }
}

/** Returns all installed peers. The first is promises: all results are relative to it. */
export function workers(): Worker[] {
  const binary = rustPeers();
  const all = [
    new Worker("promises", ["bun", `${here}peers/promises.mjs`]),
    new Worker("guillotine", ["bun", `${here}peers/guillotine.mjs`]),
  ];
  if (binary !== null) all.push(new Worker("tokio", [binary, "micro"], 100_000));
  for (const [name, maxCount] of [
    ["effect", 20_000],
    ["effection", 1000],
  ] as const) {
    if (existsIn(`${here}peers/node_modules`, new RegExp(`^${name}$`))) {
      all.push(new Worker(name, ["bun", `${here}peers/${name}.mjs`], maxCount));
    } else skip(name, "bun install, in bench/peers");
  }
  return all;
}

/** Returns a port that is free now. */
export function freePort(): number {
  const listener = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
  listener.stop(true);
  return listener.port;
}
