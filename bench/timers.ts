// Timers, compared with Bun.sleep, setTimeout, tokio, Effect and Effection.

import { compare, finish, isQuick, time } from "./harness.ts";
import { type Question, workers } from "./processes.ts";

const peers = workers();
const count = isQuick ? 10_000 : 100_000;
const sleeps = `${count.toLocaleString("en")} concurrent sleeps`;
const all: [title: string, question: Question][] = [
  [`${sleeps}: lateness of the last`, { work: "sleeps", count, want: "answer" }],
  ["create and cancel", { work: "cancel", count: isQuick ? 50_000 : 1_000_000, want: "each" }],
  ["lateness of a 1 ms sleep, p50", { work: "p50", count: 100, want: "answer" }],
  ["lateness of a 1 ms sleep, p99", { work: "p99", count: 100, want: "answer" }],
];
for (const [title, question] of all) {
  await compare("Timers", title, question, peers, time);
  for (const peer of peers) peer.stop();
}
await finish();
