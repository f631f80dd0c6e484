// Echo server on this library in async functions, as users write them.
//
//   guillotine-async.ts blockOn|guest|ambient [buffer size in bytes]
//
// `blockOn` and `guest` spawn a task per connection. `ambient` spawns none: each `await` runs its future on the ambient
// runtime.

import { Runtime, spawn, TcpListener, type TcpStream } from "../../../src/index.ts";

const [mode = "blockOn", size = "4096"] = process.argv.slice(2);

async function echo(stream: TcpStream): Promise<void> {
  using _ = stream;
  stream.setNoDelay();
  const buffer = new Uint8Array(Number(size));
  try {
    for (;;) {
      const count = await stream.read(buffer);
      if (count === 0) break;
      await stream.writeAll(buffer.subarray(0, count));
    }
  } catch {}
}

const listener = TcpListener.bind("127.0.0.1:0");
console.log(`port ${listener.localAddress.port}`);

async function serve(): Promise<never> {
  for (;;) {
    const stream = await listener.accept();
    spawn(() => echo(stream)).detach();
  }
}

if (mode === "blockOn") new Runtime().blockOn(serve);
else if (mode === "guest") await new Runtime().run(serve);
else for (;;) void echo(await listener.accept());
