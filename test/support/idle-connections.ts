// Prints the objects that an idle connection keeps alive, and the bytes of one, by class, as JSON.
//
//   idle-connections.ts coroutine|async
//
// Runs in its own process: the engine keeps each heap snapshot, which slows later collections down.

import {
  type IntoFuture,
  Runtime,
  spawn,
  TcpListener,
  type TcpStream,
  yieldNow,
} from "../../src/index.ts";
import { EAGAIN } from "../../src/sys/errno.ts";
import { noNetwork } from "./no-kernel.ts";

const COUNT = 1000;

type Objects = Record<string, { count: number; bytes: number }>;

function* echo(stream: TcpStream) {
  for (let chunk = yield* stream.readChunk(); chunk !== null; chunk = yield* stream.readChunk())
    yield* stream.writeAll(chunk);
}

async function echoAsync(stream: TcpStream): Promise<void> {
  for (let chunk = await stream.readChunk(); chunk !== null; chunk = await stream.readChunk())
    await stream.writeAll(chunk);
}

/** Returns the live objects by class. */
function liveObjects(): Objects {
  const { nodes, nodeClassNames } = Bun.generateHeapSnapshot();
  const live: Objects = {};
  for (let node = 0; node < nodes.length; node += 4) {
    const name = nodeClassNames[nodes[node + 2]!]!;
    const { count, bytes } = live[name] ?? { count: 0, bytes: 0 };
    live[name] = { count: count + 1, bytes: bytes + nodes[node + 1]! };
  }
  return live;
}

/** Performs one echo on each of COUNT connections. Their tasks then wait for more. */
function connections(serve: (stream: TcpStream) => IntoFuture<void>): Runtime {
  const network = noNetwork();
  const hasSent = new Set<number>();
  const recv = (fd: number): number => (hasSent.size === hasSent.add(fd).size ? -EAGAIN : 64);
  const runtime = new Runtime({ sys: { ...network.sys, recv } });
  network.arrive(COUNT);
  runtime.blockOn(function* () {
    using listener = TcpListener.bind({ hostname: "127.0.0.1", port: 0 });
    for (let index = 0; index < COUNT; index++) spawn(serve(yield* listener.accept())).detach();
    for (let turn = 0; turn < 100; turn++) yield* yieldNow(); // until each waits for more data
  });
  return runtime;
}

const serve = process.argv[2] === "async" ? (stream: TcpStream) => () => echoAsync(stream) : echo;
const warm = connections(serve); // the first run also creates compiled code
const before = liveObjects();
const runtime = connections(serve);
const kept: Objects = {};
for (const [name, { count, bytes }] of Object.entries(liveObjects())) {
  const { count: countBefore, bytes: bytesBefore } = before[name] ?? { count: 0, bytes: 0 };
  const each = Math.round((count - countBefore) / COUNT);
  if (each === 0) continue;
  const size = Math.round((bytes - bytesBefore) / COUNT / each / 8) * 8;
  kept[name] = { count: each, bytes: size };
}
const waiting = (warm.tasks().length + runtime.tasks().length) / COUNT / 2;
console.log(JSON.stringify({ waiting, kept }));
process.exit();
