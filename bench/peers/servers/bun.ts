// Echo server on Bun.listen, or on Bun.udpSocket with the argument `udp`.

import { announce, port, reusePort } from "./place.ts";

if (process.argv[2] === "udp") {
  const socket = await Bun.udpSocket({
    hostname: "127.0.0.1",
    socket: {
      data(socket, data, port, address) {
        try {
          socket.send(data, port, address);
        } catch {} // the client is gone: an earlier answer caused an ICMP error
      },
    },
  });
  console.log(`port ${socket.port}`);
} else listen();

function listen(): void {
  const server = Bun.listen<{ rest: Uint8Array | null }>({
    hostname: "127.0.0.1",
    port,
    ...{ reusePort }, // an option that the types of Bun lack
    socket: {
      open(socket) {
        socket.data = { rest: null };
        socket.setNoDelay(true);
      },
      data(socket, data) {
        const written = socket.write(data);
        if (written < data.length) {
          const rest = data.slice(written);
          const { data: state } = socket;
          if (state.rest === null) state.rest = rest;
          else state.rest = Buffer.concat([state.rest, rest]);
        }
      },
      drain(socket) {
        const { rest } = socket.data;
        if (rest === null) return;
        const written = socket.write(rest);
        socket.data.rest = written < rest.length ? rest.subarray(written) : null;
      },
      error() {},
    },
  });
  announce(server.port);
}
