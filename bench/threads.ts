// A round trip to another thread by a waker, compared with postMessage and Atomics.

import { compare, finish, isQuick, time } from "./harness.ts";
import { here, Worker } from "./processes.ts";

const peers = [
  ["postMessage", "message"],
  ["guillotine, a waker", "waker"],
  ["Atomics, both blocked", "atomics"],
].map(([name = "", way = ""]) => new Worker(name, ["bun", `${here}peers/threads.mjs`, way]));

const question = { work: "wake", count: isQuick ? 2000 : 10_000, want: "each" } as const;
await compare("Threads", "round trip", question, peers, time);
for (const peer of peers) peer.stop();
await finish();
