// UDP echo, compared with Bun.udpSocket, node:dgram and C.

import { compare, finish, isQuick, perSecond } from "./harness.ts";
import { withServers } from "./servers.ts";

await withServers("udp", async (servers) => {
  for (const window of [1, 32]) {
    const milliseconds = isQuick ? 100 : 200;
    const load = { mode: "udp", arguments: [window, 64], milliseconds } as const;
    await compare("UDP echo", `64 B, ${window} in flight`, load, servers, perSecond);
  }
});
await finish();
