// An agent that opens files for other processes: it checks who asks, and passes the open file over a unix socket.
//
//   bun run examples/unix-agent.ts serve [socket]            # /tmp/guillotine-agent.sock by default
//   bun run examples/unix-agent.ts open FILE [socket]        # in another terminal: prints the file
//
// You will see: "listening on …", then a line for each request with the pid and the user of the process that asked. The
// client prints a file that the agent has opened. A process of another user is refused, whatever the file. Ctrl-C
// stops the agent, which removes its socket.

import { constants, openSync } from "node:fs";
import {
  AsyncFd,
  ctrlC,
  OwnedFd,
  Runtime,
  race,
  serve,
  signal,
  UnixSeqpacket,
  UnixSeqpacketListener,
} from "../src/index.ts";

const DEFAULT_SOCKET = "/tmp/guillotine-agent.sock";
const [command, ...rest] = process.argv.slice(2);
const encode = (text: string): Uint8Array => new TextEncoder().encode(text);
const decode = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);

/** Answers one client: a packet per request, with the name of a file. */
function* answer(client: UnixSeqpacket) {
  const { pid, uid } = client.peerCredentials(); // the kernel vouches for them
  const buffer = new Uint8Array(4096);
  for (;;) {
    using request = yield* client.recv(buffer, { maxFds: 0 });
    if (request.bytes === 0) return; // the client has closed
    const name = decode(buffer.subarray(0, request.bytes));
    console.log(`pid ${pid} of user ${uid} asks for ${name}`);
    if (uid !== process.getuid?.()) {
      yield* client.send(encode("error: not your agent"));
      continue;
    }
    try {
      // Without O_NONBLOCK, the open of a FIFO would wait for a writer, and all other clients with it.
      using file = new OwnedFd(openSync(name, constants.O_RDONLY | constants.O_NONBLOCK));
      // This fd is ours; the client gets a copy.
      yield* client.send(encode("ok"), { fds: [file] });
    } catch (error) {
      yield* client.send(encode(`error: ${(error as { code?: string }).code}`));
    }
  }
}

function* runAgent(path = DEFAULT_SOCKET) {
  // Only our user may connect, and a file that a crashed agent has left is replaced.
  using listener = UnixSeqpacketListener.bind({ path, mode: 0o600, replaceStale: true });
  console.log(`listening on ${path}`);
  yield* race(serve(listener, answer), ctrlC(), signal("SIGTERM"));
  // The listener closes here, and removes its file.
}

function* printFile(name: string, path = DEFAULT_SOCKET) {
  using agent = yield* UnixSeqpacket.connect(path, { timeoutMs: 5000 });
  yield* agent.send(encode(name));
  const buffer = new Uint8Array(256);
  using reply = yield* agent.recv(buffer);
  const [file] = reply.fds;
  if (file === undefined) throw new Error(decode(buffer.subarray(0, reply.bytes)));
  using open = new AsyncFd(file.release());
  for (;;) {
    const chunk = yield* open.readChunk();
    if (chunk === null) return;
    process.stdout.write(chunk);
  }
}

using runtime = new Runtime({ onUncaught: "report" });
const [first, second] = rest;
if (command === "serve") runtime.blockOn(() => runAgent(first));
else if (command === "open" && first) runtime.blockOn(() => printFile(first, second));
else console.log("usage: unix-agent.ts serve [socket] | open FILE [socket]");
