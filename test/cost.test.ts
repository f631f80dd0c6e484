// What does not depend on the machine: how many calls, objects and bytes an operation costs. One more
// of any fails here. (What it costs in time is in bench/.)

import { heapStats } from "bun:jsc";
import { expect, setDefaultTimeout, test } from "bun:test";
import { mpsc, Runtime, sleep, spawn, TcpListener, TcpStream, yieldNow } from "../src/index.ts";
import { Source } from "../src/io/source.ts";
import type { Sys } from "../src/sys/index.ts";
import { FaultSys } from "./support/fault-sys.ts";
import { noKernel, noNetwork } from "./support/no-kernel.ts";
import { run } from "./support/program.ts";

setDefaultTimeout(60_000); // a slow machine is no failure

const at = { hostname: "127.0.0.1", port: 0 };

/** Objects made by `work`, by the engine's classes; those that were collected meanwhile are not seen. */
function objectsOf(work: () => void): Map<string, number> {
  Bun.gc(true);
  const before = heapStats().objectTypeCounts;
  work();
  const after = Object.entries(heapStats().objectTypeCounts);
  return new Map(after.map(([name, count]) => [name, count - (before[name] ?? 0)]));
}

/** Objects that each of many makes: what is made once is not counted. */
function objectsOfEach(perform: (count: number) => void): Record<string, number> {
  perform(1000); // compiled, registered
  const few = objectsOf(() => perform(1000));
  const many = objectsOf(() => perform(3000));
  const each = [...many].map(([name, count]) => [name, (count - (few.get(name) ?? 0)) / 2000]);
  return Object.fromEntries(each.filter(([, count]) => (count as number) > 0.1));
}

/** Nothing but these, and no more of each. (The compiler does without some of them.) */
function expectAtMost(made: Record<string, number>, most: Record<string, number>): void {
  for (const [name, count] of Object.entries(made)) {
    expect([name, count]).toEqual([name, Math.min(count, (most[name] ?? 0) + 0.1)]);
  }
}

/** An echo: a read that has to wait, and a write. */
function echoOver(sys: Sys): (count: number) => void {
  const runtime = new Runtime({ sys });
  const stream = new TcpStream(new Source(sys, 0), at);
  const buffer = new Uint8Array(1024);
  return (count) =>
    runtime.blockOn(function* () {
      for (let index = 0; index < count; index++) {
        const bytes = yield* stream.read(buffer);
        yield* stream.writeAll(buffer, bytes);
      }
    });
}

test("an echo makes three calls of the kernel", () => {
  const kernel = new FaultSys(noKernel(1));
  const echo = echoOver(kernel.sys);
  echo(2); // the second read has to wait, and registers
  kernel.calls.clear();
  echo(1000);
  const { epollWait = 0, ...others } = Object.fromEntries(kernel.calls);
  expect(others).toEqual({ recv: 1000, send: 1000 });
  expect(epollWait).toBeLessThanOrEqual(1000);
});

// The array is AsyncResource's, which passes on arguments of which there are none.
test("an echo makes nothing but what the generator's `next` returns", () => {
  expectAtMost(objectsOfEach(echoOver(noKernel(1))), { Object: 1, Array: 1 });
});

/** Short connections: each is accepted, echoes once, reads the end, and is closed. */
function connectionsOver(sys: Sys, arrive: (count: number) => void): (count: number) => void {
  const runtime = new Runtime({ sys });
  const buffer = new Uint8Array(1024);
  let ended = 0;
  function* echo(stream: TcpStream) {
    using _ = stream;
    for (;;) {
      const bytes = yield* stream.read(buffer);
      if (bytes === 0) break;
      yield* stream.writeAll(buffer, bytes);
    }
    ended++;
  }
  const listener = runtime.blockOn(function* () {
    return TcpListener.bind(at); // inside: it is then `sys` that is asked
  });
  return (count) => {
    arrive(count);
    ended = 0;
    runtime.spawn(function* () {
      for (let index = 0; index < count; index++) spawn(echo(yield* listener.accept())).detach();
    });
    runtime.block();
    expect(ended).toBe(count);
  };
}

test("a short connection makes seven calls of the kernel", () => {
  const network = noNetwork();
  const kernel = new FaultSys(network.sys);
  const connections = connectionsOver(kernel.sys, network.arrive);
  kernel.calls.clear();
  connections(1000);
  const { epollWait = 0, ...others } = Object.fromEntries(kernel.calls);
  const each = { accept: 1000, send: 1000, epollAdd: 1000, epollDelete: 1000, close: 1000 };
  expect(others).toEqual({ ...each, recv: 2000 });
  expect(epollWait).toBeLessThanOrEqual(100); // one for many
});

// The source, and who waits to read; the stream; the task, its AsyncResource, its coroutine, its handle
// and its outcome; a read and a write; and twice what a generator's `next` returns. An array holds
// the read and the write when they are spare; the others are what AsyncResource makes of no arguments,
// and fewer once it is compiled.
test("a short connection makes twelve objects, its generator, and no address", () => {
  const network = noNetwork();
  expectAtMost(objectsOfEach(connectionsOver(network.sys, network.arrive)), {
    Object: 12,
    Array: 8,
    Generator: 1,
    Function: 1, // the generator's body, and its scopes
    JSLexicalEnvironment: 2,
  });
});

test("a message that is sent and received makes what `recv` returns, and what `next` does", () => {
  const runtime = new Runtime();
  const { sender, receiver } = mpsc<number>(1);
  const messages = (count: number): void =>
    runtime.blockOn(function* () {
      for (let index = 0; index < count; index++) {
        yield* sender.send(index);
        yield* receiver.recv();
      }
    });
  expectAtMost(objectsOfEach(messages), { Object: 1 });
});

test("a sleep creates one future, what the generator's `next` returns, and the lists of those due", () => {
  const runtime = new Runtime();
  const sleeps = (count: number): void =>
    runtime.blockOn(function* () {
      for (let index = 0; index < count; index++) yield* sleep(0.001);
    });
  expectAtMost(objectsOfEach(sleeps), { Object: 2, Array: 3 });
});

test("a yield makes one future, and what the generator's `next` returns", () => {
  const runtime = new Runtime();
  const yields = (count: number): void =>
    runtime.blockOn(function* () {
      for (let index = 0; index < count; index++) yield* yieldNow();
    });
  expectAtMost(objectsOfEach(yields), { Object: 2, Array: 2 });
});

test("a task that waits keeps 500 bytes at most, a sleep 150", async () => {
  const { output } = await run(["bun", "test/support/bytes.ts"]);
  const { task, sleep } = JSON.parse(output) as { task: number; sleep: number };
  expect(task).toBeGreaterThan(100);
  expect(task).toBeLessThan(500);
  expect(sleep).toBeGreaterThan(50);
  expect(sleep).toBeLessThan(150);
});
