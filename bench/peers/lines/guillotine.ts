// Line server on this library: BufReader and writeAll.
//
//   guillotine.ts coroutine|async|buffered
//
// `buffered` collects the answers to a chunk in a BufWriter, and flushes it when no whole line is left.

import {
  BufReader,
  BufWriter,
  Runtime,
  serve,
  TcpListener,
  type TcpStream,
} from "../../../src/index.ts";

const [mode = "coroutine"] = process.argv.slice(2);

function* inCoroutine(stream: TcpStream) {
  stream.setNoDelay();
  const reader = new BufReader(stream);
  for (;;) {
    const line = yield* reader.readLine();
    if (line === null) return;
    yield* stream.writeAll(`${line}\n`);
  }
}

async function inAsync(stream: TcpStream): Promise<void> {
  stream.setNoDelay();
  const reader = new BufReader(stream);
  for (;;) {
    const line = await reader.readLine();
    if (line === null) return;
    await stream.writeAll(`${line}\n`);
  }
}

function* buffered(stream: TcpStream) {
  stream.setNoDelay();
  const reader = new BufReader(stream);
  const writer = new BufWriter(stream);
  for (;;) {
    if (reader.buffered === 0) yield* writer.flush();
    const line = yield* reader.readLine();
    if (line === null) return;
    yield* writer.writeAll(`${line}\n`);
  }
}

const handler = { coroutine: inCoroutine, async: inAsync, buffered }[mode] ?? inCoroutine;
const listener = TcpListener.bind("127.0.0.1:0");
console.log(`port ${listener.localAddress.port}`);
new Runtime().blockOn(serve(listener, handler));
