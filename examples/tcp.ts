// A TCP echo server: `serve` accepts, and each connection has a task that echoes.
//
//   bun run examples/tcp.ts [port]     # 127.0.0.1:7000 by default; 0 picks a free port
//   nc 127.0.0.1 7000                  # in another terminal: each line you type comes back
//
// You will see: the address it listens on, then a line with + for each connection that opens, and one
// with - for each that closes.

import { isDisconnect, Runtime, serve, TcpListener, type TcpStream } from "../src/index.ts";

const port = process.argv[2] === undefined ? 7000 : Number(process.argv[2]);

function* echo(stream: TcpStream) {
  const { hostname, port } = stream.remoteAddress;
  console.log(`+ ${hostname}:${port}`);
  const buffer = new Uint8Array(4096); // small: 64 KiB per connection would make the garbage collector run more
  for (;;) {
    const count = yield* stream.read(buffer);
    if (count === 0) break;
    yield* stream.writeAll(buffer, count);
  }
  console.log(`- ${hostname}:${port}`);
}

function onError(error: unknown, { remoteAddress: { hostname, port } }: TcpStream): void {
  if (!isDisconnect(error)) throw error; // a bug: the runtime prints it, and the other connections continue
  console.log(`- ${hostname}:${port} (${(error as { code?: string }).code})`);
}

using runtime = new Runtime({ onUncaught: "report" });

runtime.blockOn(function* () {
  const listener = TcpListener.bind({ hostname: "127.0.0.1", port });
  const { hostname, port: bound } = listener.localAddress;
  console.log(`listening on ${hostname}:${bound}`);
  yield* serve(listener, echo, { onError });
});
