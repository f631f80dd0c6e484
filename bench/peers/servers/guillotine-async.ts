// Echo server on this library in async functions, as users write them.
//
//   guillotine-async.ts blockOn|guest|ambient [natural]
//
// `blockOn` and `guest` spawn a task per connection. `ambient` spawns none: each `await` runs its future on the ambient
// runtime. `natural` is the echo that comes to mind first: a large buffer per connection, and a `subarray` per write.

import { Runtime, spawn, TcpListener, type TcpStream } from "../../../src/index.ts";
import { clock } from "./clock.ts";

const [mode = "blockOn", style] = process.argv.slice(2);

/** As in guillotine.ts, so that the two differ only in how they wait. */
const SMALL = 512;
const LARGE = 64 * 1024;

async function small(stream: TcpStream): Promise<void> {
  using _ = stream;
  stream.setNoDelay();
  let buffer = new Uint8Array(SMALL);
  try {
    for (;;) {
      const count = await stream.read(buffer);
      if (count === 0) break;
      await stream.writeAll(buffer, count);
      if (count === SMALL) buffer = Buffer.allocUnsafeSlow(LARGE);
    }
  } catch {}
}

async function natural(stream: TcpStream): Promise<void> {
  using _ = stream;
  stream.setNoDelay();
  const buffer = new Uint8Array(LARGE);
  try {
    for (;;) {
      const count = await stream.read(buffer);
      if (count === 0) break;
      await stream.writeAll(buffer.subarray(0, count));
    }
  } catch {}
}

const echo = style === "natural" ? natural : small;
const listener = TcpListener.bind("127.0.0.1:0");
console.log(`port ${listener.localAddress.port}`);

async function serve(): Promise<never> {
  for (;;) {
    const stream = await listener.accept();
    spawn(() => echo(stream)).detach();
  }
}

if (mode === "blockOn") new Runtime({ clock }).blockOn(serve);
else if (mode === "guest") await new Runtime({ clock }).run(serve);
else {
  Runtime.configureAmbient({ clock });
  for (;;) void echo(await listener.accept());
}
