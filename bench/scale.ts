// Shows that idle fds and pending timers cost nothing: an echo alongside 100,000 idle sources, and a timer alongside
// 1,000,000 pending timers. Runs without a kernel (peers/no-kernel.mjs), so it measures only this library.

import { compare, finish, isQuick, time } from "./harness.ts";
import { here, Worker } from "./processes.ts";

const peer = (name: string, idleSources = 0, pendingTimers = 0): Worker =>
  new Worker(name, ["bun", `${here}peers/no-kernel.mjs`, `${idleSources}`, `${pendingTimers}`]);

const alone = peer("nothing");
const sources = peer("100,000 idle sources", 100_000);
const timers = peer("1,000,000 pending timers", 0, 1_000_000);

const count = isQuick ? 200_000 : 500_000;
const ask = (work: string) => ({ work, count, want: "each" }) as const;
await compare(
  "Scale",
  "an echo without the kernel, alongside",
  ask("echo"),
  [alone, sources],
  time,
);
await compare("Scale", "a timer, alongside", ask("timer"), [alone, timers], time);
for (const one of [alone, sources, timers]) one.stop();
await finish();
