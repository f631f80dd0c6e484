// Resident memory of a task, a sleep and a connection, compared with promises, tokio, Effect and other servers. Each
// measurement starts a new process.

import { compare, finish, isQuick, memory, type Peer } from "./harness.ts";
import { workers } from "./processes.ts";
import { Server, serverCommands } from "./servers.ts";

const count = isQuick ? 20_000 : 200_000;
const peers = workers();
for (const [title, work] of [
  ["a suspended task", "task-bytes"],
  ["a sleep", "sleep-bytes"],
] as const) {
  const question = { work, count, want: "answer", isFresh: true } as const;
  await compare("Memory", title, question, peers, memory, 5, false);
}
for (const peer of peers) peer.stop();

const connections = isQuick ? 500 : 5000;
const { commands, load } = serverCommands("tcp");
const servers: Peer<null>[] = commands.map(([name, command]) => ({
  name,
  async measure() {
    const server = await new Server(name, command, load).ready();
    try {
      return await server.idleBytes(connections);
    } finally {
      server.stop();
    }
  },
}));
await compare("Memory", "an idle connection", null, servers, memory, 5, false);
await finish();
