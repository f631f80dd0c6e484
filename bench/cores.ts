// A server on one Worker and on two, which share a port by SO_REUSEPORT, as in examples/many-cores.ts. Compared with
// Bun.listen and with epoll by hand, which scale by the same means.
//
//   bun bench/cores.ts [--quick] [--rounds N]
//
// Nothing is pinned, and the load runs on the same machine without busy-polling. With two cores and a load that takes L of
// CPU per message while a server takes S, a server that scales perfectly reaches 2S / (S + L) of one Worker, not 2. More
// cores than Workers show the scaling itself.

import { compare, finish, isQuick, perSecond, skip } from "./harness.ts";
import { cProgram, here } from "./processes.ts";
import { Server, withStarted } from "./servers.ts";

const KINDS: readonly (readonly [name: string, ...command: string[]])[] = [
  ["guillotine, blockOn", "guillotine.ts", "blockOn"],
  ["TypeScript by hand, epoll", "by-hand.ts"],
  ["Bun.listen", "bun.ts"],
];

const load = cProgram("load.c");
if (load === null) {
  skip("all servers: the load generator is C", "install a C compiler (cc)");
} else {
  const servers = KINDS.flatMap(([name, ...command]) =>
    [1, 2].map((workers) => {
      const cores = ["bun", `${here}peers/servers/cores.ts`, `${workers}`, ...command];
      return new Server(`${name}, ${workers} Worker${workers > 1 ? "s" : ""}`, cores, load, null);
    }),
  );
  await withStarted(servers, async () => {
    const milliseconds = isQuick ? 200 : 500;
    // Enough connections that the kernel spreads them evenly.
    const echo = { mode: "proxy", arguments: [400, 64, 1], milliseconds } as const;
    await compare("Many cores", "400 connections × 64 B", echo, servers, perSecond);
    const connect = { mode: "connect", arguments: [100], milliseconds } as const;
    await compare("Many cores", "100 short connections at a time", connect, servers, perSecond);
  });
}
await finish();
