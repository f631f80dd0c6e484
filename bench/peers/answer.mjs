// The protocol of peers that are not servers. Each reads lines `name count` and prints one number for each: the number
// that the work returned, or else its duration in nanoseconds. NaN: the peer does not support the work.

import { createInterface } from "node:readline";

/**
 * Answers requests from stdin until it ends, then exits.
 *
 * @param {Record<string, (count: number) => unknown>} work the functions by name
 */
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

/** Returns the duration of the sleep `index`, in ms: between 901 and SLEEPS_MS, evenly spread. */
export const sleepMs = (index) => SLEEPS_MS - ((index * 7919) % 100);

/** Awaits the sleeps that `begin` starts. Returns how late the last one ends, in nanoseconds. */
export async function lateness(begin) {
  const endMs = performance.now() + SLEEPS_MS;
  await begin();
  return (performance.now() - endMs) * 1e6;
}

/** Returns a percentile of `lateMs` (in ms), in nanoseconds. */
export function percentile(lateMs, fraction) {
  return lateMs.sort((a, b) => a - b)[Math.floor(lateMs.length * fraction)] * 1e6;
}

/** Returns the bytes of resident memory per object that `make` creates; it creates `count` objects. */
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
