// Timers, beside Bun.sleep, setTimeout, tokio, Effect and Effection.

import { compare, finish, isQuick, time } from "./harness.ts";
import { type Question, workers } from "./processes.ts";

const peers = workers();
const count = isQuick ? 10_000 : 100_000;
const many = `${count.toLocaleString("en")} sleeps at once`;
const all: [title: string, question: Question][] = [
  [`${many}: how late the last is`, { work: "sleeps", count, want: "answer" }],
  ["made and cancelled", { work: "cancel", count: isQuick ? 50_000 : 1_000_000, want: "each" }],
  ["how late a sleep of 1 ms is, p50", { work: "p50", count: 100, want: "answer" }],
  ["how late a sleep of 1 ms is, p99", { work: "p99", count: 100, want: "answer" }],
];
for (const [title, question] of all) {
  await compare("Timers", title, question, peers, time);
  for (const peer of peers) peer.stop();
}
await finish();
