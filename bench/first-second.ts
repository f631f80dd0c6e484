// The first half second of an echo server in a fresh process, compared with Bun.listen and node:net. A short run of
// any other benchmark would measure this: what the engine has not compiled yet.

import { compare, finish, isQuick, type Peer, perSecond } from "./harness.ts";
import { Server, serverCommands } from "./servers.ts";

const load = { mode: "tcp", arguments: [50, 64, 1], milliseconds: 500 } as const;
const { commands, load: program } = serverCommands("tcp");
const servers: Peer<typeof load>[] = commands.map(([name, command]) => ({
  name,
  async measure(shape) {
    const server = await new Server(name, command, program).ready();
    try {
      return await server.measure(shape);
    } finally {
      server.stop();
    }
  },
}));
await compare(
  "The first half second",
  "50 connections × 64 B",
  load,
  servers,
  perSecond,
  isQuick ? 3 : 11,
  false,
);
await finish();
