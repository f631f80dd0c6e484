// A TCP echo server: one task accepts, and each connection has a task that echoes.
//
//   bun run examples/tcp.ts [port]     # 127.0.0.1:7000 by default; 0 picks a free port
//   nc 127.0.0.1 7000                  # in another terminal: each line you type comes back
//
// You will see: the address it listens on, then a line with + for each connection that opens, and one
// with - for each that closes.

import { Runtime, SysError, spawn, TcpListener, type TcpStream } from "../src/index.ts";

const port = process.argv[2] === undefined ? 7000 : Number(process.argv[2]);

function* echo(stream: TcpStream) {
  using _ = stream;
  const { hostname, port } = stream.remoteAddress;
  console.log(`+ ${hostname}:${port}`);
  const buffer = new Uint8Array(4096); // small: 64 KiB per connection would make the garbage collector run more
  try {
    for (;;) {
      const count = yield* stream.read(buffer);
      if (count === 0) break;
      yield* stream.writeAll(buffer, count);
    }
    console.log(`- ${hostname}:${port}`);
  } catch (error) {
    // A peer that disconnects early ends its own connection, not the server.
    if (!(error instanceof SysError)) throw error;
    console.log(`- ${hostname}:${port} (${error.code})`);
  }
}

// A server: report the failure of one task, and keep serving the others.
using runtime = new Runtime({ onUncaught: "report" });

runtime.blockOn(function* () {
  using listener = TcpListener.bind({ hostname: "127.0.0.1", port });
  const { hostname, port: bound } = listener.localAddress;
  console.log(`listening on ${hostname}:${bound}`);
  for (;;) {
    const stream = yield* listener.accept();
    spawn(() => echo(stream)).detach();
  }
});
