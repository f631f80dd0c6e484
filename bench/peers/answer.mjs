// How a peer that is no server is asked: a line `name count` in, a line with one number out, which is
// nanoseconds unless the work gives another. NaN: it has no such work.

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

/** How long each of many sleeps is: spread over the last hundred milliseconds. */
export const sleepMs = (index) => SLEEPS_MS - ((index * 7919) % 100);

/** How late, in nanoseconds, the last of `sleeps` ended, which `begin` starts. */
export async function lateness(begin) {
  const endMs = performance.now() + SLEEPS_MS;
  await begin();
  return (performance.now() - endMs) * 1e6;
}

/** The percentile of how late, in nanoseconds, sleeps of a millisecond end. */
export function percentile(lateMs, fraction) {
  return lateMs.sort((a, b) => a - b)[Math.floor(lateMs.length * fraction)] * 1e6;
}

/** Bytes of memory that each of `count` takes. */
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
