// Echo on this library. `blockOn` holds the thread; `guest` runs on Bun's own loop.
//
//   guillotine.ts blockOn|guest [tcp|udp] [spin in microseconds]

import { Runtime, spawn, TcpListener, type TcpStream, UdpSocket } from "../../../src/index.ts";

const [mode = "blockOn", protocol = "tcp", spin] = process.argv.slice(2);

/**
 * The size of a buffer until a message fills it. With 64 KiB per connection the collector runs so much more often
 * that a short connection costs 9 µs more, and an idle one keeps the pages that were touched.
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
      // Not zeroed, because reads overwrite it.
      if (count === SMALL) buffer = Buffer.allocUnsafeSlow(64 * 1024);
    }
  } catch {}
}

function* tcp() {
  using listener = TcpListener.bind("127.0.0.1:0");
  console.log(`port ${listener.localAddress.port}`);
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

const runtime = new Runtime(spin === undefined ? {} : { spinMicros: Number(spin) });
const serve = protocol === "udp" ? udp : tcp;
if (mode === "blockOn") runtime.blockOn(serve);
else await runtime.run(serve);
