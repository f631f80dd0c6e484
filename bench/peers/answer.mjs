// The protocol of peers that are not servers: a line `name count` in, a line with one number out. The number
// is in nanoseconds, unless the work returns another. NaN means that the peer does not support the work.

import { createInterface } from "node:readline";

/** @param {Record<string, (count: number) => unknown>} work */
export async function answer(work) {
  for await (const line of createInterface({ input: process.stdin })) {
    const [name, count] = line.split(" ");
    const start = process.hrtime.bigint();
    const result = name in work ? await work[name](Number(count)) : Number.NaN;
    const elapsed = Number(process.hrtime.bigint() - start);
    console.log(typeof result === "number" ? result : elapsed);
  }
  process.exit();
}

export const SLEEPS_MS = 1000;

/** The duration of each of many sleeps: spread over the last hundred milliseconds. */
export const sleepMs = (index) => SLEEPS_MS - ((index * 7919) % 100);

/** Returns the lateness of the last of the sleeps that `begin` starts, in nanoseconds. */
export async function lateness(begin) {
  const endMs = performance.now() + SLEEPS_MS;
  await begin();
  return (performance.now() - endMs) * 1e6;
}

/** Returns a percentile of the latenesses, in nanoseconds. */
export function percentile(lateMs, fraction) {
  return lateMs.sort((a, b) => a - b)[Math.floor(lateMs.length * fraction)] * 1e6;
}

/** Returns the bytes of memory per object that `make` creates; it creates `count`. */
export async function bytes(count, make) {
  const before = resident();
  const kept = await make();
  const each = (resident() - before) / count;
  return kept === undefined ? Number.NaN : each;
}

function resident() {
  globalThis.Bun?.gc(true);
  return process.memoryUsage.rss();
}
