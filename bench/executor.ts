// The executor alone, compared with promises, tokio, Effect and Effection.

import { compare, finish, isQuick, time } from "./harness.ts";
import { workers } from "./processes.ts";

/**
 * The title, the work, and the number of repetitions in one measurement. A measurement must take long: before it, the
 * peer was idle for seconds and returned its memory to the kernel. Allocating the first megabytes again can cost as
 * much as 50 ms of work.
 */
const all: [title: string, work: string, count: number][] = [
  ["yield", "yield", 5_000_000],
  ["spawn and join", "spawn", 1_000_000],
  ["round trip over two channels of capacity 1", "ping-pong", 1_500_000],
  ["join of 10,000, per future", "join", 1_000_000],
  ["yield at the bottom of 10 nested calls", "deep", 500_000],
  ["await a future in an async function", "await", 1_500_000],
  ["lock handover", "lock", 1_000_000],
  ["a race that drops its loser, a sleep", "losers", 200_000],
];

const peers = workers();
for (const [title, work, fullCount] of all) {
  const count = isQuick ? fullCount / 5 : fullCount;
  for (const peer of peers) await peer.measure({ work, count, want: "each" }); // warm-up: compiles the code
  await compare("Executor", title, { work, count, want: "each" }, peers, time);
  for (const peer of peers) peer.stop();
}
await finish();
