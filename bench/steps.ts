// Counts by single steps what an echo runs outside the kernel: instructions, and cache lines of code.
//
//   bun bench/steps.ts [--peer TEXT] [--connections N] [--functions N]
//
// After each system call the caches are cold, so lines matter more than instructions. Not part of
// `bun run bench`: it takes half a minute per peer, and needs x86-64, a C compiler and the right to trace.
// The engine does not inline the same calls each time: compare three runs before you believe a difference.

import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { parseArgs } from "node:util";
import { Child, cProgram, pinned } from "./processes.ts";
import { serverCommands } from "./servers.ts";

const { values } = parseArgs({
  options: {
    peer: { type: "string", default: "" },
    connections: { type: "string", default: "50" },
    functions: { type: "string", default: "12" },
  },
});
const WARM_MS = 8000;
const STEPS = 200_000;
const LINE = 64;
const SEND = 44; // sendto(2): once per echo
const EPOLL_WAIT = 232;
const WRITE = 1; // C and Rust may send by it

/** A range of addresses, and the name of the code there. */
interface Region {
  readonly from: number;
  readonly to: number;
  readonly name: string;
}

/** The engine's compiled code, from its jitdump (linux: tools/perf/Documentation/jitdump-specification.txt). */
function compiled(directory: string): Region[] {
  const file = readdirSync(directory).find((name) => name.endsWith(".dump"));
  if (file === undefined) return [];
  const bytes = readFileSync(`${directory}/${file}`);
  const regions = new Map<number, Region>(); // the last one at an address counts
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

/** The mapped files, from `/proc/PID/maps`. */
function mapped(pid: number): Region[] {
  const lines = readFileSync(`/proc/${pid}/maps`, "utf8").trim().split("\n");
  return lines.map((line) => {
    const [range = "", , , , , path = "no file"] = line.split(/\s+/);
    const [from = 0, to = 0] = range.split("-").map((hex) => Number.parseInt(hex, 16));
    return { from, to, name: path.slice(path.lastIndexOf("/") + 1) };
  });
}

/** Names by address. Compiled code lies in memory that `/proc` maps to no file. */
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

/** The steps of each echo, from one send to the next. Skips echoes with an `epoll_wait` in between. */
function echoes(steps: BigUint64Array): number[][] {
  const all: number[][] = [];
  let echo: number[] | null = null;
  for (let index = 0; index < steps.length; index += 2) {
    const call = Number(steps[index + 1]) - 1;
    if (call === SEND || call === WRITE) {
      if (echo !== null) all.push(echo);
      echo = [];
    } else if (call === EPOLL_WAIT) echo = null;
    echo?.push(Number(steps[index]));
  }
  return all;
}

async function count(name: string, command: string[], load: string, tracer: string): Promise<void> {
  const directory = mkdtempSync(`${tmpdir()}/steps-`);
  const dump = ["BUN_JSC_useJITDump=1", `BUN_JSC_jitDumpDirectory=${directory}`];
  const server = new Child([...pinned(0), "env", ...dump, ...command]);
  const loads: Child[] = [];
  try {
    const port = /port (\d+)/.exec((await server.line()) ?? "")?.[1] ?? "";
    const words = ["tcp", port, values.connections, "64", "1"];
    loads.push(new Child([...pinned(1), load, ...words, `${WARM_MS * 10}`]));
    await Bun.sleep(WARM_MS);
    const { pid } = server.process;
    const nameOf = namer(compiled(directory), mapped(pid));
    const traced = Bun.spawnSync([tracer, `${pid}`, `${STEPS}`], { stderr: "inherit" });
    if (!traced.success) throw new Error("steps: tracing failed; it needs the right to ptrace");
    const bytes = traced.stdout;
    const all = echoes(new BigUint64Array(bytes.buffer, bytes.byteOffset, bytes.length / 8));
    if (all.length === 0) throw new Error("steps: no complete echo in the traced steps; try again");
    const functions = new Map<string, { steps: number; lines: number }>();
    let [instructions, lines] = [0, 0];
    for (const echo of all) {
      instructions += echo.length;
      const touched = new Map<number, string>();
      for (const address of echo) {
        const whose = nameOf(address);
        const one = functions.get(whose) ?? { steps: 0, lines: 0 };
        one.steps++;
        functions.set(whose, one);
        touched.set(Math.floor(address / LINE), whose);
      }
      lines += touched.size;
      for (const whose of touched.values()) functions.get(whose)!.lines++; // set above
    }
    const each = (sum: number): string => (sum / all.length).toFixed(0).padStart(6);
    console.log(`${name}: ${all.length} echoes`);
    console.log(`  ${each(instructions)} instructions ${each(lines)} lines  per echo`);
    const most = [...functions].sort(([, a], [, b]) => b.steps - a.steps);
    for (const [whose, one] of most.slice(0, Number(values.functions))) {
      if (one.lines < all.length / 2) continue; // not part of every echo
      console.log(`  ${each(one.steps)} instructions ${each(one.lines)} lines  ${whose}`);
    }
  } finally {
    for (const one of [server, ...loads]) one.stop();
    rmSync(directory, { recursive: true });
  }
}

const { commands, load } = serverCommands("tcp");
const tracer = cProgram("steps.c");
if (process.arch !== "x64" || tracer === null)
  throw new Error("steps: needs x86-64 and a C compiler (cc)");
for (const [name, command] of commands) {
  if (name.includes(values.peer)) await count(name, command, load, tracer);
}
