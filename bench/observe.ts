// What it costs to look: the executor with each kind of observation on, relative to a runtime that nobody looks at.

import { fileURLToPath } from "node:url";
import { compare, finish, isQuick, time } from "./harness.ts";
import { Worker } from "./processes.ts";

const program = fileURLToPath(new URL("peers/guillotine.mjs", import.meta.url));
const peer = (name: string, options: readonly string[], maxCount?: number): Worker =>
  new Worker(name, ["env", ...options], maxCount);

const peers = [
  peer("nobody looks", ["bun", program]),
  peer("watchdog", ["GUILLOTINE_WATCHDOG_MS=500", "bun", program]),
  peer("console open", ["GUILLOTINE_INSPECT=0", "bun", program]),
  peer("console looked at", ["bun", program, "looked-at"]),
  peer("observed", ["bun", program, "observed"]),
  peer("debug mode", ["GUILLOTINE_DEBUG=1", "bun", program]),
  // Few at once: a trace ends when it has its largest size.
  peer("trace to a file", ["GUILLOTINE_TRACE=/dev/null", "bun", program], 20_000),
];
const all: [title: string, work: string, count: number][] = [
  ["yield", "yield", 1_000_000],
  ["spawn and join", "spawn", 300_000],
  ["await a future in an async function", "await", 300_000],
  ["echo over TCP, among 100,000 idle tasks", "crowded-echo", 100_000],
];
for (const [title, work, fullCount] of all) {
  const count = isQuick ? fullCount / 5 : fullCount;
  await compare("Looking", title, { work, count, want: "each" }, peers, time);
  for (const one of peers) one.stop();
}
await finish();
