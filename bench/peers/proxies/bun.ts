// TCP proxy on Bun.listen and Bun.connect, with backpressure: what the other side does not accept is kept, and the
// source is paused until it has left.
//
//   bun.ts PORT

import type { Socket } from "bun";

const port = Number(process.argv[2]);

interface Side {
  other: Socket<Side> | null;
  /** What this side has not accepted yet. */
  rest: Uint8Array | null;
  /** The peer of the other side has ended: end this side once `rest` is written. */
  isEnding: boolean;
}

function write(to: Socket<Side>, data: Uint8Array, from: Socket<Side> | null): void {
  const { data: side } = to;
  if (side.rest !== null) {
    side.rest = Buffer.concat([side.rest, data]);
    return;
  }
  const written = to.write(data);
  if (written < data.length) {
    side.rest = data.slice(written);
    from?.pause();
  }
}

const handler = {
  data(socket: Socket<Side>, data: Uint8Array) {
    const { other } = socket.data;
    if (other !== null) write(other, data, socket);
    else socket.data.rest = Buffer.concat([socket.data.rest ?? new Uint8Array(0), data]); // not connected yet
  },
  drain(socket: Socket<Side>) {
    const { data: side } = socket;
    if (side.rest !== null) {
      const written = socket.write(side.rest);
      side.rest = written < side.rest.length ? side.rest.subarray(written) : null;
    }
    if (side.rest !== null) return;
    side.other?.resume();
    if (side.isEnding) socket.shutdown();
  },
  end(socket: Socket<Side>) {
    const { other } = socket.data;
    if (other === null) return;
    other.data.isEnding = true;
    if (other.data.rest === null) other.shutdown();
  },
  close(socket: Socket<Side>) {
    socket.data.other?.end();
  },
  error() {},
};

const server = Bun.listen<Side>({
  hostname: "127.0.0.1",
  port: 0,
  allowHalfOpen: true,
  socket: {
    ...handler,
    open(client) {
      client.data = { other: null, rest: null, isEnding: false };
      client.setNoDelay(true);
      Bun.connect<Side>({
        hostname: "127.0.0.1",
        port,
        allowHalfOpen: true,
        data: { other: client, rest: null, isEnding: false },
        socket: {
          ...handler,
          open(upstream) {
            upstream.setNoDelay(true);
            client.data.other = upstream;
            const { rest } = client.data;
            client.data.rest = null;
            if (rest !== null) write(upstream, rest, client);
          },
          connectError() {
            client.end();
          },
        },
      });
    },
  },
});
console.log(`port ${server.port}`);
