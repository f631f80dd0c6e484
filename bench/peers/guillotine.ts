// TCP echo on this library. `blockOn`: the thread is the runtime's; `guest`: on Bun's own loop.

import { Runtime, spawn, TcpListener, type TcpStream } from "../../src/index.ts";

const [mode = "blockOn", spin] = process.argv.slice(2);

function* echo(stream: TcpStream) {
  using _ = stream;
  stream.setNoDelay();
  const buffer = new Uint8Array(64 * 1024);
  try {
    for (;;) {
      const count = yield* stream.read(buffer);
      if (count === 0) break;
      yield* stream.writeAll(count === buffer.length ? buffer : buffer.subarray(0, count));
    }
  } catch {}
}

function* serve() {
  using listener = TcpListener.bind("127.0.0.1:0");
  console.log(`port ${listener.localAddress.port}`);
  for (;;) {
    const stream = yield* listener.accept();
    spawn(echo(stream)).detach();
  }
}

const runtime = new Runtime(spin === undefined ? {} : { spinMicros: Number(spin) });
if (mode === "blockOn") runtime.blockOn(serve);
else await runtime.run(serve);
