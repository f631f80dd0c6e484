// Line server by hand on Bun.listen: splits the text of each chunk. It ignores backpressure.

const server = Bun.listen<{ rest: string }>({
  hostname: "127.0.0.1",
  port: 0,
  socket: {
    open(socket) {
      socket.data = { rest: "" };
      socket.setNoDelay(true);
    },
    data(socket, data) {
      const lines = (socket.data.rest + data.toString("utf8")).split("\n");
      socket.data.rest = lines.pop() ?? "";
      for (const line of lines) socket.write(`${line}\n`);
    },
    error() {},
  },
});
console.log(`port ${server.port}`);
