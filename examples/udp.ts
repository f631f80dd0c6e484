// A UDP echo server: it sends each datagram back to its sender.
//
//   bun run examples/udp.ts [port]     # 127.0.0.1:7000 by default; 0 picks a free port
//   nc -u 127.0.0.1 7000               # in another terminal: each line you type comes back
//
// You will see: the address it is bound to, then a line for each datagram.

import { Runtime, SysError, UdpSocket } from "../src/index.ts";

const port = process.argv[2] === undefined ? 7000 : Number(process.argv[2]);

using runtime = new Runtime();

runtime.blockOn(function* () {
  using socket = UdpSocket.bind({ hostname: "127.0.0.1", port });
  const { hostname, port: bound } = socket.localAddress;
  console.log(`bound to ${hostname}:${bound}`);
  const buffer = new Uint8Array(65_536); // no datagram is larger
  for (;;) {
    const { bytes, address } = yield* socket.recvFrom(buffer);
    console.log(`${bytes} bytes from ${address.hostname}:${address.port}`);
    try {
      yield* socket.sendTo(buffer.subarray(0, bytes), address);
    } catch (error) {
      // A sender's address may be impossible to answer, such as port 0. Keep serving the others.
      if (!(error instanceof SysError)) throw error;
      console.log(`no answer to ${address.hostname}:${address.port} (${error.code})`);
    }
  }
});
