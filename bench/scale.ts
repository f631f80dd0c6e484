// Cost grows with the work alone: a busy source beside idle ones, a timer beside pending ones. Without a
// kernel (peers/no-kernel.mjs): what is measured is ours.

import { compare, finish, isQuick, time } from "./harness.ts";
import { here, Worker } from "./processes.ts";

const beside = (name: string, ...words: number[]): Worker =>
  new Worker(name, ["bun", `${here}peers/no-kernel.mjs`, ...words.map(String)]);

const alone = beside("nothing");
const sources = beside("100,000 idle sources", 100_000);
const timers = beside("1,000,000 pending timers", 0, 1_000_000);

const count = isQuick ? 200_000 : 500_000;
const ask = (work: string) => ({ work, count, want: "each" }) as const;
await compare("Scale", "an echo, without the kernel, beside", ask("echo"), [alone, sources], time);
await compare("Scale", "a timer, beside", ask("timer"), [alone, timers], time);
for (const one of [alone, sources, timers]) one.stop();
await finish();
