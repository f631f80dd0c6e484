// A program of test/net/finish.test.ts: a server that answers and hangs up while its client keeps talking. Prints how many
// bytes of the answer the client received. With the argument `close` the client usually loses the tail.
//
//   close-loses.ts finish|close

import {
  type Coroutine,
  Runtime,
  SysError,
  sleep,
  spawn,
  TcpListener,
  TcpStream,
} from "../../../src/index.ts";

const SIZE = 2 << 20;
const hangUp = process.argv[2];

function* serve(listener: TcpListener): Coroutine<void> {
  const stream = yield* listener.accept();
  yield* stream.writeAll(new Uint8Array(SIZE));
  if (hangUp === "finish") yield* stream.finish();
  else stream.close();
}

function* client(): Coroutine<number> {
  using listener = TcpListener.bind("127.0.0.1:0");
  spawn(serve(listener)).detach();
  using stream = yield* TcpStream.connect(listener.localAddress);
  const buffer = new Uint8Array(65_536);
  let total = 0;
  try {
    for (;;) {
      yield* stream.writeAll("x");
      const count = yield* stream.read(buffer);
      if (count === 0) break;
      total += count;
      yield* sleep(1);
    }
  } catch (error) {
    if (!(error instanceof SysError)) throw error;
  }
  return total;
}

const received = new Runtime().blockOn(client);
console.log(`${received} of ${SIZE} bytes`);
