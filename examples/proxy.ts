// A TCP proxy: connects each client to one upstream server. Bytes flow both ways until both sides have ended.
//
//   bun run examples/proxy.ts [port] host:port     # listens on 127.0.0.1:7000 by default; 0 picks a free port
//   bun run examples/proxy.ts 127.0.0.1:3000       # in front of a server on port 3000
//   curl http://127.0.0.1:7000/                    # in another terminal
//   kill -TERM <pid>                               # open connections may finish, for at most a second
//
// It serves at most MAX_CONNECTIONS clients at once (1000); others wait to be accepted. It closes a connection on which no
// byte moves for IDLE_MS milliseconds (60,000). Both are environment variables.
//
// You will see: the address it listens on and its pid, and one line for each connection that ends: the bytes that went
// each way, or why it failed. After Ctrl-C or SIGTERM: how many connections are open, and that it has stopped.

import {
  copyBidirectional,
  ctrlC,
  Runtime,
  race,
  serve,
  signal,
  spawn,
  TcpListener,
  TcpStream,
  timeout,
} from "../src/index.ts";

const [upstream = "", port = "7000"] = process.argv.slice(2).reverse();
if (upstream === "") throw new Error("usage: proxy.ts [port] host:port");
const maxConnections = Number(process.env.MAX_CONNECTIONS ?? 1000);
const idleMs = Number(process.env.IDLE_MS ?? 60_000);
const CONNECT_MS = 5000;
const GRACE_MS = 1000;

let open = 0;

function log({ remoteAddress: { hostname, port } }: TcpStream, text: string): void {
  console.log(`${hostname}:${port}: ${text}`);
}

function* proxy(client: TcpStream) {
  open++;
  try {
    using server = yield* timeout(CONNECT_MS, TcpStream.connect(upstream));
    client.setNoDelay(); // the peers decide what to coalesce
    server.setNoDelay();
    const { aToB, bToA } = yield* copyBidirectional(client, server, { idleMs });
    log(client, `${aToB} bytes to upstream, ${bToA} back`);
  } finally {
    open--;
  }
}

await using runtime = new Runtime({ onUncaught: "report" });
await runtime.run(function* () {
  const listener = TcpListener.bind({ hostname: "127.0.0.1", port: Number(port) });
  console.log(`listening on 127.0.0.1:${listener.localAddress.port}, pid ${process.pid}`);
  const stop = new AbortController();
  const server = spawn(
    serve(listener, proxy, {
      signal: stop.signal,
      graceMs: GRACE_MS,
      maxConnections,
      // No upstream, a reset, the idle timeout, no free fd: it ends this connection only.
      onError: (error, client) => log(client, (error as Error).message),
    }),
  );
  const received = yield* race(ctrlC(), signal("SIGTERM"), server); // throws if the server fails
  console.log(`${received}, open connections: ${open}`);
  stop.abort();
  yield* server;
  console.log("stopped");
});
