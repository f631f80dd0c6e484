// Guest mode: futures in a Bun server. An HTTP handler queries a line-based TCP service, with a timeout. When
// the client disconnects, the handler is cancelled. Ctrl-C or SIGTERM shuts the server down gracefully.
//
//   bun run examples/bun-server.ts [port]     # 127.0.0.1:3000 by default; 0 picks a free port
//   curl http://127.0.0.1:3000/hello          # in another terminal: HELLO
//   kill -TERM <pid>                          # open requests may finish, for at most a second
//
// You will see: the address it listens on and its pid; after the signal, how many requests it finishes, and
// that no task is left.

import {
  ctrlC,
  Runtime,
  race,
  SysError,
  scope,
  select,
  signal,
  sleep,
  spawn,
  TcpListener,
  TcpStream,
  TimeoutError,
  timeout,
  withSignal,
} from "../src/index.ts";

const port = process.argv[2] === undefined ? 3000 : Number(process.argv[2]);

/** Reads until a newline or the end of the stream. */
async function readLine(stream: TcpStream): Promise<string> {
  const buffer = new Uint8Array(1024);
  const decoder = new TextDecoder(); // a character may be split between two reads
  let line = "";
  while (!line.includes("\n")) {
    const count = await stream.read(buffer);
    if (count === 0) break;
    line += decoder.decode(buffer.subarray(0, count), { stream: true });
  }
  return line.trimEnd();
}

// The service: it reads one line and answers with it in capitals. For the line "slow" it waits a minute first.
const listener = TcpListener.bind("127.0.0.1:0");

async function answer(stream: TcpStream): Promise<void> {
  try {
    const line = await readLine(stream);
    // A minute, or until the client disconnects: then the read completes with the end of the stream.
    if (line === "slow") await race(sleep(60_000), stream.read(new Uint8Array(1)));
    await stream.writeAll(`${line.toUpperCase()}\n`);
  } catch (error) {
    // A client that disconnects early ends its own connection, not the service.
    if (!(error instanceof SysError)) throw error;
  }
}

const service = spawn(() =>
  scope(async (connections) => {
    for (;;) {
      const stream = await listener.accept();
      connections.spawn(() => answer(stream), { owns: stream });
    }
  }),
);

async function ask(line: string): Promise<string> {
  using stream = await TcpStream.connect(listener.localAddress);
  await stream.writeAll(`${line}\n`);
  return await readLine(stream);
}

const server = Bun.serve({
  hostname: "127.0.0.1",
  port,
  async fetch(request) {
    try {
      const line = decodeURIComponent(new URL(request.url).pathname.slice(1));
      const asking = withSignal(request.signal, () => ask(line));
      return new Response(`${await timeout(1000, asking)}\n`);
    } catch (error) {
      if (error instanceof TimeoutError) return new Response("too late\n", { status: 504 });
      if (error instanceof URIError) return new Response("bad escape\n", { status: 400 });
      if (error instanceof SysError) return new Response(`${error.code}\n`, { status: 503 });
      throw error;
    }
  },
});
console.log(`listening on ${server.hostname}:${server.port}, pid ${process.pid}`);

const received = await race(ctrlC(), signal("SIGTERM"));
console.log(`${received}: finishing ${server.pendingRequests} requests`);
const { key } = await select({ done: server.stop(), deadline: sleep(1000) });
if (key === "deadline") await server.stop(true);
service.abort();
await service.then(null, () => {}); // its connections are closed when this returns
listener.close();
console.log(`stopped, ${Runtime.ambient().tasks().length} tasks left`);
