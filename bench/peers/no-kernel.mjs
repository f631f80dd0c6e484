// The cost of an echo and of a timer in this library alone, over a Sys without a kernel.
//
//   no-kernel.mjs [idle sources] [pending timers]

import { joinAll, Runtime, sleep, spawn, TcpStream, yieldNow } from "../../src/index.ts";
import { Source } from "../../src/io/source.ts";
import { noKernel } from "../../test/support/no-kernel.ts";
import { answer } from "./answer.mjs";

const [idle = 0, timers = 0] = process.argv.slice(2).map(Number);
const BUSY = 50;

const sys = noKernel(BUSY);
const runtime = new Runtime({ sys });
const at = { hostname: "127.0.0.1", port: 0 };
const streams = Array.from({ length: BUSY + idle }, (_, fd) =>
  TcpStream.create(new Source(sys, fd), at),
);
for (const stream of streams.slice(BUSY)) runtime.spawn(stream.read(new Uint8Array(8))).detach();
for (let index = 0; index < timers; index++) runtime.spawn(sleep(1e9 + index)).detach();
runtime.blockOn(function* () {
  for (let polls = 0; polls <= (idle + timers) / 61; polls++) yield* yieldNow(); // until every task has been polled
});

/**
 * Inserts and removes one timer, always the same object. A new object each time would measure the garbage collector: it
 * lets new objects use as much memory as all live objects before it runs, on pages that it had returned to the kernel.
 * Each such page cost 10 µs on the measured machine, as much as a hundred timers.
 */
function timer(count) {
  const { timers } = runtime.reactor;
  const one = { deadlineMs: 0, target: null, before: null, after: null, list: null };
  for (let index = 0; index < count; index++) {
    const nowMs = performance.now();
    one.deadlineMs = nowMs + 1000;
    timers.insert(one, nowMs);
    timers.remove(one);
  }
}

const buffers = Array.from({ length: BUSY }, () => new Uint8Array(64 * 1024));
Bun.gc(true); // collect the garbage of the setup now, not during a measurement

await answer({
  echo(count) {
    let left = count;
    function* echo(stream, index) {
      const buffer = buffers[index];
      while (left-- > 0) {
        const bytes = yield* stream.read(buffer);
        yield* stream.writeAll(buffer, bytes);
      }
    }
    runtime.blockOn(function* () {
      yield* joinAll(streams.slice(0, BUSY).map((stream, index) => spawn(echo(stream, index))));
    });
  },
  timer,
});
