// Each peer runs in its own process, so that none warms up or disturbs another.

import { mkdirSync, readdirSync, readFileSync } from "node:fs";
import type { Peer } from "./harness.ts";
import { skip } from "./harness.ts";

export const here: string = new URL(".", import.meta.url).pathname;
const build = `${here}.build`; // ignored by git
mkdirSync(build, { recursive: true });

const canPin = Bun.which("taskset") !== null && navigator.hardwareConcurrency > 1;

/** A command prefix that pins to one core, where possible: servers to 0, load to 1. */
export function pinned(core: number): string[] {
  return canPin ? ["taskset", "-c", `${core}`] : [];
}

function make(command: string[], target: string, cwd: string = here): string | null {
  if (Bun.which(command[0]!) === null) return null;
  const { exitCode } = Bun.spawnSync(command, { cwd, stderr: "ignore", stdout: "ignore" });
  return exitCode === 0 ? target : null;
}

/** Compiles a C program of this folder; null without a compiler. */
export function cProgram(source: string): string | null {
  const target = `${build}/${source.replaceAll(/\W/g, "-")}`;
  return make(["cc", "-O2", "-o", target, source], target);
}

let rust: string | null | undefined;

/** Builds the peers in Rust; null where cargo cannot. */
export function rustPeers(): string | null {
  if (rust !== undefined) return rust;
  const target = `${build}/rust`;
  const command = ["cargo", "build", "--release", "--target-dir", target];
  // Debian's librust packages need no network.
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

  /** The next line; null when the process has ended. */
  async line(): Promise<string | null> {
    for (;;) {
      const [line, ...rest] = this.#text.split("\n");
      if (rest.length > 0) {
        this.#text = rest.join("\n");
        return line!; // split returns at least one
      }
      const { done, value } = await this.#chunks.next();
      if (done) return null;
      this.#text += new TextDecoder().decode(value);
    }
  }

  /** User CPU of all its threads so far, in seconds. */
  get userSeconds(): number {
    const fields = readFileSync(`/proc/${this.process.pid}/stat`, "utf8")
      .split(") ")[1]
      ?.split(" ");
    return Number(fields?.[11]) / 100; // in ticks of 10 ms: precise enough over all rounds
  }

  /** CPU of all its threads so far, user and system, in nanoseconds. */
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

/** A question to a peer that answers lines (peers/answer.mjs). */
export interface Question {
  readonly work: string;
  readonly count: number;
  /** Whether to return the answer, or the answer divided by `count`. */
  readonly want: "answer" | "each";
  /** Asks a new process each time. */
  readonly isFresh?: boolean;
}

/** A peer that does the work itself, and answers how long it took. */
export class Worker implements Peer<Question> {
  readonly name: string;
  readonly #command: string[];
  /** The largest `count` in one question: some peers would take minutes for more. */
  readonly #most: number;
  #child: Child | null = null;
  #cpu = 0;
  #count = 0;

  constructor(name: string, command: string[], most: number = Number.POSITIVE_INFINITY) {
    this.name = name;
    this.#command = command;
    this.#most = most;
  }

  async measure({ work, count: wanted, want, isFresh = false }: Question): Promise<number> {
    const count = want === "each" ? Math.min(wanted, this.#most) : wanted;
    if (isFresh) this.stop();
    // Not pinned: the engine's compiler threads need the other core.
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

  /** CPU of all its threads, user and system, per operation. */
  cost(): number {
    const micros = this.#cpu / this.#count / 1e3;
    this.#cpu = this.#count = 0;
    return micros;
  }

  /** Stops the process. The next question starts a new one, which has compiled nothing yet. */
  stop(): void {
    this.#child?.stop();
    this.#child = null;
  }
}

/** All installed peers. Promises are the first: the others are relative to them. */
export function workers(): Worker[] {
  const binary = rustPeers();
  const all = [
    new Worker("promises", ["bun", `${here}peers/promises.mjs`]),
    new Worker("guillotine", ["bun", `${here}peers/guillotine.mjs`]),
  ];
  if (binary !== null) all.push(new Worker("tokio", [binary, "micro"], 100_000));
  for (const [name, most] of [
    ["effect", 20_000],
    ["effection", 1000],
  ] as const) {
    if (existsIn(`${here}peers/node_modules`, new RegExp(`^${name}$`))) {
      all.push(new Worker(name, ["bun", `${here}peers/${name}.mjs`], most));
    } else skip(name, "bun install, in bench/peers");
  }
  return all;
}
