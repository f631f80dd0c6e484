// A server that inherits its listener, and passes it on: socket activation, and a restart without a refused connection.
//
//   bun run examples/socket-activation.ts [port]          # 127.0.0.1:7000 by default; 0 picks a free port
//   curl http://127.0.0.1:7000                            # in another terminal: the pid of the server that answers
//   kill -HUP <pid>                                       # restarts it, for example with new code
//   systemd-socket-activate -l 7000 bun run examples/socket-activation.ts
//
// You will see: "<pid> listening on 127.0.0.1:7000", and after each SIGHUP the pid of the successor, "<pid> listening …",
// then "<pid> finished" of the old process. Connections that arrive meanwhile wait in the listener's backlog, which both
// processes share, so none is refused.

import {
  inheritedSockets,
  notify,
  orUndefined,
  Runtime,
  select,
  serve,
  signal,
  spawn,
  TcpListener,
  type TcpStream,
  UnixDatagram,
} from "../src/index.ts";

const port = process.argv[2] === undefined ? 7000 : Number(process.argv[2]);

function* answer(stream: TcpStream) {
  yield* stream.read(new Uint8Array(4096)); // the request: this server has one answer for all
  const body = `${process.pid}\n`;
  const head = `HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: ${body.length}\r\n\r\n`;
  yield* stream.writeAll(head + body);
  yield* stream.finish();
}

/** Starts this program again with our listener as its fd 3. Returns true once it says that it is ready. */
function* startSuccessor(listener: TcpListener) {
  using ready = UnixDatagram.bind(""); // an abstract name, which the kernel chooses
  // LISTEN_PID is the pid of the new process, so a shell sets it and then becomes that process.
  Bun.spawn({
    cmd: ["sh", "-c", 'LISTEN_PID=$$ exec "$0" "$@"', process.execPath, ...process.argv.slice(1)],
    env: {
      ...process.env,
      LISTEN_FDS: "1",
      LISTEN_FDNAMES: "http",
      NOTIFY_SOCKET: ready.localAddress.replace("\0", "@"),
    },
    stdio: ["inherit", "inherit", "inherit", listener.fd],
  }).unref();
  const buffer = new Uint8Array(1024);
  const message = yield* orUndefined(10_000, ready.recv(buffer));
  if (message === undefined) return false;
  return new TextDecoder().decode(buffer.subarray(0, message.bytes)).includes("READY=1");
}

const [passed] = inheritedSockets();
const listener = passed
  ? TcpListener.fromFd(passed.fd)
  : TcpListener.bind({ hostname: "127.0.0.1", port });

await using runtime = new Runtime({ onUncaught: "report" });
await runtime.run(function* () {
  const { hostname, port: bound } = listener.localAddress;
  const stop = new AbortController();
  const serving = spawn(serve(listener, answer, { signal: stop.signal }));
  // A task starts at the next turn: by then the select below handles the signals.
  spawn(function* () {
    console.log(`${process.pid} listening on ${hostname}:${bound}`);
    notify({ ready: true });
  }).detach();
  for (;;) {
    const { key } = yield* select({ reload: signal("SIGHUP"), stop: signal("SIGTERM") });
    if (key === "stop" || (yield* startSuccessor(listener))) break;
    console.log("the successor did not start; this process continues");
  }
  stop.abort(); // accept no more; let open connections finish
  yield* serving;
});
console.log(`${process.pid} finished`);
