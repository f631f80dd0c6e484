// TCP echo, compared with Bun.listen, node:net, C, tokio and smol.

import { compare, finish, isQuick, perSecond, rounds } from "./harness.ts";
import { withServers } from "./servers.ts";

const shapes: [name: string, connections: number, size: number, depth: number][] = [
  ["1 connection × 64 B", 1, 64, 1],
  ["50 connections × 64 B", 50, 64, 1],
  ["500 connections × 64 B", 500, 64, 1],
  ["5000 connections × 64 B", 5000, 64, 1],
  ["50 connections × 64 KiB", 50, 65_536, 1],
  ["50 connections × 64 B, 16 in flight", 50, 64, 16],
];

await withServers("tcp", async (servers) => {
  for (const [name, ...shape] of shapes) {
    const load = { mode: "tcp", arguments: shape, milliseconds: isQuick ? 100 : 200 } as const;
    // Opening 5000 connections takes longer than one measurement.
    const runs = shape[0] < 5000 ? rounds : Math.min(rounds, 11);
    await compare("TCP echo", name, load, servers, perSecond, runs);
  }
});
await finish();
