// Echo server on node:net, or on node:dgram with the argument `udp`.

import { createSocket } from "node:dgram";
import { createServer } from "node:net";

if (process.argv[2] === "udp") {
  const socket = createSocket("udp4");
  socket.on("message", (data, { address, port }) => socket.send(data, port, address));
  socket.bind(0, "127.0.0.1", () => console.log(`port ${socket.address().port}`));
} else {
  const server = createServer({ noDelay: true }, (socket) => {
    socket.on("error", () => {});
    socket.pipe(socket);
  });
  server.listen({ host: "127.0.0.1", port: 0, backlog: 4096 }, () =>
    console.log(`port ${server.address().port}`),
  );
}
