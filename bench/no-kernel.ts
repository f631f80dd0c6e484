// What is ours of an echo: over a Sys without a kernel, in which every socket is always ready again.
//
//   bun bench/no-kernel.ts [connections] [idle sources]
//
// Prints nanoseconds per echo, four times: the code is compiled meanwhile. Idle sources must not
// change it.

import { Runtime, spawn, TcpStream } from "../src/index.ts";
import { Source } from "../src/reactor/source.ts";
import { EPOLLIN } from "../src/sys/epoll.ts";
import { linux } from "../src/sys/linux.ts";
import type { Sys } from "../src/sys/sys.ts";

const [connections = 50, idle = 0] = process.argv.slice(2).map(Number);
const ECHOES = 2_000_000;

const slots: [slot: number, generation: number][] = [];
const sys: Sys = {
  ...linux(),
  epollAdd(_epoll, fd, _events, slot, generation) {
    slots[fd] = [slot, generation];
    return 0;
  },
  epollDelete: () => 0,
  close: () => 0,
  epollWait(_epoll, events) {
    let count = 0;
    for (let fd = 0; fd < connections; fd++) {
      const registered = slots[fd];
      if (registered !== undefined) events.set(count++, EPOLLIN, ...registered);
    }
    return count;
  },
  recv: (fd) => (fd < connections ? 64 : -11),
  send: (_fd, data) => data.length,
};

let echoes = 0;
function* echo(stream: TcpStream) {
  const buffer = new Uint8Array(64 * 1024);
  while (echoes < ECHOES) {
    const count = yield* stream.read(buffer);
    yield* stream.writeAll(buffer.subarray(0, count));
    echoes++;
  }
}

const runtime = new Runtime({ sys });
const streams = Array.from(
  { length: connections + idle },
  (_, fd) => new TcpStream(new Source(sys, fd), { hostname: "127.0.0.1", port: 0 }),
);
runtime.blockOn(function* () {
  for (let index = 0; index < idle; index++) {
    spawn(streams[connections + index]!.read(new Uint8Array(8))).detach();
  }
  for (let round = 0; round < 4; round++) {
    echoes = 0;
    Bun.gc(true);
    const startMs = performance.now();
    const handles = streams.slice(0, connections).map((stream) => spawn(echo(stream)));
    for (const handle of handles) yield* handle;
    const nanoseconds = ((performance.now() - startMs) * 1e6) / echoes;
    console.log(`${nanoseconds.toFixed(0)} ns per echo`);
  }
});
process.exit();
