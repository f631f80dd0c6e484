// Echo server on this library without a buffer per connection: `readChunk` returns what has arrived.
//
//   guillotine-chunks.ts blockOn|guest

import { Runtime, spawn, TcpListener, type TcpStream } from "../../../src/index.ts";
import { clock } from "./clock.ts";

const [mode = "blockOn"] = process.argv.slice(2);

function* echo(stream: TcpStream) {
  using _ = stream;
  stream.setNoDelay();
  try {
    for (;;) {
      const chunk = yield* stream.readChunk();
      if (chunk === null) break;
      yield* stream.writeAll(chunk);
    }
  } catch {}
}

function* serve() {
  using listener = TcpListener.bind("127.0.0.1:0");
  console.log(`port ${listener.localAddress.port}`);
  for (;;) spawn(echo(yield* listener.accept())).detach();
}

const runtime = new Runtime({ clock });
if (mode === "blockOn") runtime.blockOn(serve);
else await runtime.run(serve);
