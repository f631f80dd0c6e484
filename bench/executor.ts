// The executor by itself, beside promises, tokio, Effect and Effection.

import { compare, finish, isQuick, time } from "./harness.ts";
import { workers } from "./processes.ts";

/**
 * What is counted, and how many a measurement has: so many that it lasts. A peer has been idle for seconds
 * when it is asked, and has given its memory back: the first megabytes that it takes again can cost as
 * much as 50 ms of work.
 */
const all: [title: string, work: string, count: number][] = [
  ["yield", "yield", 5_000_000],
  ["spawn and join", "spawn", 1_000_000],
  ["ping-pong over channels of one: there and back", "ping-pong", 1_500_000],
  ["join of 10,000: each", "join", 1_000_000],
  ["wait at the bottom of 10 calls", "deep", 500_000],
  ["await a future, in an async function", "await", 1_500_000],
  ["a lock handed over", "lock", 1_000_000],
  ["a race whose loser, a sleep, is dropped", "losers", 200_000],
];

const peers = workers();
for (const [title, work, many] of all) {
  const count = isQuick ? many / 5 : many;
  for (const peer of peers) await peer.measure({ work, count, want: "each" }); // is compiled
  await compare("Executor", title, { work, count, want: "each" }, peers, time);
  for (const peer of peers) peer.stop();
}
await finish();
