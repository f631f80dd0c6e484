// Echo server on this library: `blockOn` blocks the thread; `guest` runs on Bun's event loop.
//
//   guillotine.ts blockOn|guest [tcp|udp] [spin in µs]

import { Runtime, spawn, TcpListener, type TcpStream, UdpSocket } from "../../../src/index.ts";
import { clock } from "./clock.ts";
import { announce, port, reusePort } from "./place.ts";

const [mode = "blockOn", protocol = "tcp", spin] = process.argv.slice(2);

/**
 * The size of a buffer in bytes until a read fills it. With 64 KiB per connection the garbage collector runs more often,
 * which costs 9 µs per short connection, and an idle connection keeps the touched pages.
 */
const SMALL = 512;

function* echo(stream: TcpStream) {
  using _ = stream;
  stream.setNoDelay();
  let buffer = new Uint8Array(SMALL);
  try {
    for (;;) {
      const count = yield* stream.read(buffer);
      if (count === 0) break;
      yield* stream.writeAll(buffer, count);
      // Need not be zeroed, because reads overwrite it.
      if (count === SMALL) buffer = Buffer.allocUnsafeSlow(64 * 1024);
    }
  } catch {}
}

function* tcp() {
  using listener = TcpListener.bind({ hostname: "127.0.0.1", port, reusePort });
  announce(listener.localAddress.port);
  for (;;) spawn(echo(yield* listener.accept())).detach();
}

function* udp() {
  using socket = UdpSocket.bind("127.0.0.1:0");
  console.log(`port ${socket.localAddress.port}`);
  const buffer = new Uint8Array(64 * 1024);
  for (;;) {
    const { bytes, address } = yield* socket.recvFrom(buffer);
    yield* socket.sendTo(buffer.subarray(0, bytes), address);
  }
}

const runtime = new Runtime({ clock, ...(spin === undefined ? {} : { spinMicros: Number(spin) }) });
const serve = protocol === "udp" ? udp : tcp;
if (mode === "blockOn") runtime.blockOn(serve);
else await runtime.run(serve);
