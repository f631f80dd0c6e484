// Echo on node:net as many write it: async iteration over each socket, and a wait for `drain`.

import { type AddressInfo, createServer } from "node:net";

const server = createServer(async (socket) => {
  socket.setNoDelay(true);
  try {
    for await (const chunk of socket) {
      if (!socket.write(chunk)) await new Promise((resolve) => socket.once("drain", resolve));
    }
  } catch {}
});
server.listen(0, "127.0.0.1", () => {
  console.log(`port ${(server.address() as AddressInfo).port}`);
});
