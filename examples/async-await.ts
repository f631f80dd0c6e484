// Plain async functions as work: they await futures like promises, and can be cancelled.
//
//   bun run examples/async-await.ts
//
// You will see: 42, from a synchronous blockOn; two greetings over a socket; then "goodbye", from the
// cleanup of a task that was aborted in its sleep, and the AbortError of that task.

import { Runtime, sleep, spawn, TcpListener, TcpStream } from "../src/index.ts";

using runtime = new Runtime();

const answer = runtime.blockOn(async () => {
  await sleep(10);
  return 42;
});
console.log(answer);

async function greet(listener: TcpListener) {
  using stream = await listener.accept();
  await stream.writeAll("hello from an async function\n");
}

runtime.blockOn(async () => {
  using listener = TcpListener.bind("127.0.0.1:0");
  for (let count = 1; count <= 2; count++) {
    const server = spawn(() => greet(listener));
    using client = await TcpStream.connect(listener.localAddress);
    const buffer = new Uint8Array(64);
    const bytes = await client.read(buffer);
    console.log(`${count}: ${new TextDecoder().decode(buffer.subarray(0, bytes)).trim()}`);
    await server;
  }

  const sleeper = spawn(async () => {
    try {
      await sleep(1000);
    } finally {
      await sleep(10); // cleanup may wait, and the runtime waits for it
      console.log("goodbye");
    }
  });
  await sleep(20);
  sleeper.abort();
  await sleeper.then(null, (error: Error) => console.log(error.message));
});
