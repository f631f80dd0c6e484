// A chat server with three bugs, one per argument: a lock that is never released, a loop that never ends, a task that
// is leaked per connection. docs/debugging.md finds each with one command; test/inspect/debugging.test.ts runs it.

import {
  BufReader,
  Mutex,
  Runtime,
  serve,
  sleep,
  spawn,
  TcpListener,
  type TcpStream,
} from "../../../src/index.ts";

const bug = process.argv[2];
const room = new Mutex<string[]>([], { name: "room" });

function* remember(line: string) {
  const guard = yield* room.lock();
  if (bug === "lock" && line === "") return; // leaves without releasing: `using guard` would not
  guard.value.push(line);
  guard.release();
}

function* heartbeat(stream: TcpStream) {
  for (;;) {
    yield* sleep(1000);
    if (bug === "leak") continue; // never writes, so it never learns that the client is gone
    yield* stream.writeAll("ping\n");
  }
}

function censor(line: string): string {
  let text = line;
  while (text.includes("darn")) {
    text = text.replace("darn", bug === "loop" ? "darn!" : "****");
  }
  return text;
}

function* talk(stream: TcpStream) {
  if (bug === "leak") spawn(heartbeat(stream), { name: "heartbeat" }).detach();
  const lines = new BufReader(stream).lines();
  for (;;) {
    const next = yield* lines.next();
    if (next === null) return;
    const line = censor(next);
    yield* spawn(remember(line), { name: `message from ${stream.remoteAddress.hostname}` });
    yield* stream.writeAll("ok\n");
  }
}

using runtime = new Runtime();
runtime.blockOn(function* () {
  using listener = TcpListener.bind("127.0.0.1:0");
  console.log(`port ${listener.localAddress.port}`);
  yield* serve(listener, talk);
});
