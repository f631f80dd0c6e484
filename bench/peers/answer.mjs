// The protocol of peers that are not servers. They read lines `name count` from stdin, perform that work, and
// write one number per line: the elapsed nanoseconds, or the number that the work returned. NaN means that the
// peer does not have this work.

import { createInterface } from "node:readline";

/**
 * Answers requests until stdin ends.
 *
 * @param {Record<string, (count: number) => unknown>} work
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

/** The duration of sleep number `index`. The sleeps end spread over the last 100 ms. */
export const sleepMs = (index) => SLEEPS_MS - ((index * 7919) % 100);

/** Returns how many nanoseconds late the last sleep ended. `begin` starts all sleeps and awaits them. */
export async function lateness(begin) {
  const endMs = performance.now() + SLEEPS_MS;
  await begin();
  return (performance.now() - endMs) * 1e6;
}

/** Returns a percentile of `lateMs` in nanoseconds. */
export function percentile(lateMs, fraction) {
  return lateMs.sort((a, b) => a - b)[Math.floor(lateMs.length * fraction)] * 1e6;
}

/** Returns the bytes of resident memory that each of `count` objects occupies. `make` creates and returns them. */
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
