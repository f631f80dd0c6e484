// Counts the instructions that one echo runs in user space, and the cache lines of code that it touches, by
// single-stepping a server.
//
// It counts whole cycles: from a send on one connection to a later send on the same one, all connections included. Only
// that contains all of an echo, because a server may dispatch all events, then perform all reads, then all writes. It
// also prints the instructions from one send to the next, which exclude what is done for all connections at once.
//
//   bun bench/steps.ts [--peer TEXT | --command "bun my-server.ts"] [--connections N] [--functions N]
//
// The server runs some 5000 times slower than usual, and its clock does, too (peers/servers/clock.ts). The timers of the
// engine's garbage collector do not: a collection would be due in each turn and take all of the traced steps. So a server
// in Bun runs without it, and the count contains no collection.
//
// After each system call the caches are cold, so cache lines matter more than instructions. Not part of
// `bun run bench`: this takes 15 seconds per peer, and needs x86-64, a C compiler and permission to ptrace. The JIT
// does not inline the same calls in each run: compare three runs before you believe a difference.

import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { parseArgs } from "node:util";
import { Child, cProgram, pinned } from "./processes.ts";
import { serverCommands } from "./servers.ts";

const { values } = parseArgs({
  options: {
    peer: { type: "string", default: "" },
    command: { type: "string" },
    connections: { type: "string", default: "50" },
    functions: { type: "string", default: "12" },
  },
});
const WARM_MS = 8000;
const STEPS = 800_000;
const LINE = 64; // bytes
// System call numbers on x86-64.
const SEND = 44; // sendto(2): once per echo
const WAITS = new Set([232, 281, 441]); // epoll_wait, epoll_pwait, epoll_pwait2
const WRITE = 1; // servers in C and Rust may send with write(2)

/** A range of addresses, and the name of the code there. */
interface Region {
  readonly from: number;
  readonly to: number;
  readonly name: string;
}

/** Returns the JIT's compiled code, from its jitdump (linux: tools/perf/Documentation/jitdump-specification.txt). */
function compiled(directory: string): Region[] {
  const file = readdirSync(directory).find((name) => name.endsWith(".dump"));
  if (file === undefined) return [];
  const bytes = readFileSync(`${directory}/${file}`);
  const regions = new Map<number, Region>(); // by start address: later code replaces earlier code
  for (let at = bytes.readUInt32LE(8); at + 16 <= bytes.length; ) {
    const [kind, size] = [bytes.readUInt32LE(at), bytes.readUInt32LE(at + 4)];
    if (size === 0) break;
    if (kind === 0) {
      const from = Number(bytes.readBigUInt64LE(at + 32));
      const length = Number(bytes.readBigUInt64LE(at + 40));
      const name = bytes.toString("latin1", at + 56, bytes.indexOf(0, at + 56));
      regions.set(from, { from, to: from + length, name });
    }
    at += size;
  }
  return [...regions.values()];
}

/** Returns the mapped files of a process, from `/proc/PID/maps`. */
function mapped(pid: number): Region[] {
  const lines = readFileSync(`/proc/${pid}/maps`, "utf8").trim().split("\n");
  return lines.map((line) => {
    const [range = "", , , , , path = "no file"] = line.split(/\s+/);
    const [from = 0, to = 0] = range.split("-").map((hex) => Number.parseInt(hex, 16));
    return { from, to, name: path.slice(path.lastIndexOf("/") + 1) };
  });
}

/** Returns a function that names the code at an address: compiled code first, because `/proc` maps it to no file. */
function namer(inner: Region[], outer: Region[]): (address: number) => string {
  const find = (regions: Region[], address: number): Region | undefined =>
    regions.find(({ from, to }) => from <= address && address < to);
  const known = new Map<number, string>();
  return (address) => {
    let name = known.get(address);
    if (name === undefined) {
      name = (find(inner, address) ?? find(outer, address))?.name ?? "unknown";
      known.set(address, name);
    }
    return name;
  };
}

/** The instruction addresses of one echo: all since the send before it. */
interface Echo {
  readonly addresses: number[];
  /** True if the server waited in epoll meanwhile. */
  hasWaited: boolean;
}

/** Returns the echoes of as many whole cycles as possible. Leaves out rounds of epoll that call nothing else: a spin. */
function echoes(steps: BigUint64Array): Echo[] {
  const all: Echo[] = [];
  let echo: Echo = { addresses: [], hasWaited: false };
  let firstFd: number | null = null;
  let wholeCycles = 0; // in echoes
  let roundStart = 0; // in `echo.addresses`
  let isIdle = false;
  for (let index = 0; index < steps.length; index += 2) {
    const word = steps[index + 1]!; // a step is two words
    const call = Number(word & 0xffffffffn) - 1;
    if (WAITS.has(call)) {
      if (isIdle) echo.addresses.length = roundStart;
      roundStart = echo.addresses.length;
      isIdle = echo.hasWaited = true;
    } else if (call >= 0) isIdle = false;
    if (call === SEND || call === WRITE) {
      const fd = Number(word >> 32n);
      if (firstFd === null) firstFd = fd;
      else {
        all.push(echo);
        if (fd === firstFd) wholeCycles = all.length;
      }
      echo = { addresses: [], hasWaited: false };
      roundStart = 0;
    }
    echo.addresses.push(Number(steps[index]));
  }
  return all.slice(0, wholeCycles);
}

/** Returns the mean number of instructions of the echoes during which the server did not wait. */
function betweenSends(all: Echo[]): number {
  const plain = all.filter(({ hasWaited }) => !hasWaited);
  return plain.reduce((sum, { addresses }) => sum + addresses.length, 0) / plain.length;
}

/** Counts one server's echoes and prints the result. */
async function count(name: string, command: string[], load: string, tracer: string): Promise<void> {
  const directory = mkdtempSync(`${tmpdir()}/steps-`);
  const dump = ["BUN_JSC_useJITDump=1", `BUN_JSC_jitDumpDirectory=${directory}`];
  const env = ["env", "CLOCK_SLOWDOWN=5000", "BUN_JSC_useGC=0", ...dump];
  const server = new Child([...pinned(0), ...env, ...command]);
  const loads: Child[] = [];
  try {
    const port = /port (\d+)/.exec((await server.line()) ?? "")?.[1] ?? "";
    const args = ["tcp", port, values.connections, "64", "1", `${WARM_MS * 10}`];
    loads.push(new Child([...pinned(1), load, ...args]));
    await Bun.sleep(WARM_MS);
    const { pid } = server.process;
    const nameOf = namer(compiled(directory), mapped(pid));
    // On the server's core, because each step switches between the two: on another one a step takes five times as long.
    const traced = Bun.spawnSync([...pinned(0), tracer, `${pid}`, `${STEPS}`], {
      stderr: "inherit",
    });
    if (!traced.success)
      throw new Error("steps: tracing failed; allow ptrace (see ptrace_scope in ptrace(2))");
    const bytes = traced.stdout;
    const all = echoes(new BigUint64Array(bytes.buffer, bytes.byteOffset, bytes.length / 8));
    if (all.length === 0) throw new Error("steps: no whole cycle in the traced steps; try again");
    const functions = new Map<string, { steps: number; lines: number }>();
    let [instructions, lines] = [0, 0];
    for (const { addresses } of all) {
      instructions += addresses.length;
      const touched = new Map<number, string>();
      for (const address of addresses) {
        const owner = nameOf(address);
        const one = functions.get(owner) ?? { steps: 0, lines: 0 };
        one.steps++;
        functions.set(owner, one);
        touched.set(Math.floor(address / LINE), owner);
      }
      lines += touched.size;
      for (const owner of touched.values()) functions.get(owner)!.lines++; // set above
    }
    const each = (sum: number): string => (sum / all.length).toFixed(0).padStart(6);
    console.log(`${name}: ${all.length} echoes`);
    const between = betweenSends(all).toFixed(0);
    console.log(
      `  ${each(instructions)} instructions ${each(lines)} lines  per echo (${between} from send to send)`,
    );
    const most = [...functions].sort(([, a], [, b]) => b.steps - a.steps);
    for (const [owner, one] of most.slice(0, Number(values.functions))) {
      if (one.steps < all.length) continue; // not part of every echo
      console.log(`  ${each(one.steps)} instructions ${each(one.lines)} lines  ${owner}`);
    }
  } finally {
    for (const one of [server, ...loads]) one.stop();
    rmSync(directory, { recursive: true });
  }
}

const { commands: peers, load } = serverCommands("tcp");
const own = values.command;
const commands: typeof peers = own === undefined ? peers : [[own, own.split(" ")]];
const tracer = cProgram("steps.c");
if (process.arch !== "x64" || tracer === null)
  throw new Error("steps: needs x86-64 and a C compiler (cc)");
for (const [name, command] of commands) {
  if (name.includes(values.peer)) await count(name, command, load, tracer);
}
