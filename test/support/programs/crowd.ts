// An echo server with as many idle tasks as its argument says: `crowd.ts 100000`.

import { Runtime, serve, sleep, spawn, TcpListener } from "../../../src/index.ts";

const [, , count = "0"] = process.argv;

using runtime = new Runtime();
runtime.blockOn(function* () {
  for (let index = 0; index < Number(count); index++) {
    spawn(sleep(3_600_000), { name: `idle ${index % 7}` }).detach();
  }
  using listener = TcpListener.bind("127.0.0.1:0");
  console.log(`port ${listener.localAddress.port}`);
  yield* serve(listener, function* (stream) {
    const buffer = new Uint8Array(1024);
    for (;;) {
      const length = yield* stream.read(buffer);
      if (length === 0) return;
      yield* stream.writeAll(buffer, length);
    }
  });
});
