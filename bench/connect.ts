// Short connections (connect, send, receive, close), compared with Bun.listen, node:net, C, tokio and smol.

import { compare, finish, isQuick, perSecond } from "./harness.ts";
import { withServers } from "./servers.ts";

await withServers("tcp", async (servers) => {
  const milliseconds = isQuick ? 100 : 200;
  const load = { mode: "connect", arguments: [50], milliseconds } as const;
  await compare("Short connections", "50 at once, 64 B each", load, servers, perSecond);
});
await finish();
