// TCP proxy on copyBidirectional: `blockOn` blocks the thread; `guest` runs on Bun's event loop.
//
//   guillotine.ts blockOn|guest PORT

import { copyBidirectional, Runtime, spawn, TcpListener, TcpStream } from "../../../src/index.ts";

const [mode, port] = process.argv.slice(2);
const upstream = { hostname: "127.0.0.1", port: Number(port) };

function* proxy(client: TcpStream) {
  using _client = client;
  try {
    using server = yield* TcpStream.connect(upstream);
    client.setNoDelay();
    server.setNoDelay();
    yield* copyBidirectional(client, server);
  } catch {}
}

function* serve() {
  using listener = TcpListener.bind("127.0.0.1:0");
  console.log(`port ${listener.localAddress.port}`);
  for (;;) spawn(proxy(yield* listener.accept())).detach();
}

const runtime = new Runtime();
if (mode === "blockOn") runtime.blockOn(serve);
else await runtime.run(serve);
