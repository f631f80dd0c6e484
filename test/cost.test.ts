// Costs that do not depend on the machine: the syscalls, objects and bytes of an operation. A single
// additional one fails a test. (bench/ measures time.)

import { heapStats } from "bun:jsc";
import { expect, setDefaultTimeout, test } from "bun:test";
import { mpsc, Runtime, sleep, spawn, TcpListener, TcpStream, yieldNow } from "../src/index.ts";
import { Source } from "../src/io/source.ts";
import type { Sys } from "../src/sys/index.ts";
import { FaultSys } from "./support/fault-sys.ts";
import { noKernel, noNetwork } from "./support/no-kernel.ts";
import { run } from "./support/program.ts";

setDefaultTimeout(60_000); // the machine may be slow

const at = { hostname: "127.0.0.1", port: 0 };

/** Counts the objects that `work` creates, by engine class. Misses those that are collected meanwhile. */
function objectsOf(work: () => void): Map<string, number> {
  Bun.gc(true);
  const before = heapStats().objectTypeCounts;
  work();
  const after = Object.entries(heapStats().objectTypeCounts);
  return new Map(after.map(([name, count]) => [name, count - (before[name] ?? 0)]));
}

/** Returns how many objects one of many operations creates. Objects that are created once do not count. */
function objectsOfEach(perform: (count: number) => void): Record<string, number> {
  perform(1000); // compiles the code and registers the fds
  const few = objectsOf(() => perform(1000));
  const many = objectsOf(() => perform(3000));
  const each = [...many].map(([name, count]) => [name, (count - (few.get(name) ?? 0)) / 2000]);
  return Object.fromEntries(each.filter(([, count]) => (count as number) > 0.1));
}

/** Fails if there are more objects of a class than in `limits`. (The JIT avoids some allocations.) */
function expectAtMost(created: Record<string, number>, limits: Record<string, number>): void {
  for (const [name, count] of Object.entries(created)) {
    expect([name, count]).toEqual([name, Math.min(count, (limits[name] ?? 0) + 0.1)]);
  }
}

/** Performs echoes: each is a read that has to wait, and a write. */
function echoOver(sys: Sys): (count: number) => void {
  const runtime = new Runtime({ sys });
  const stream = TcpStream.create(new Source(sys, 0), at);
  const buffer = new Uint8Array(1024);
  return (count) =>
    runtime.blockOn(function* () {
      for (let index = 0; index < count; index++) {
        const bytes = yield* stream.read(buffer);
        yield* stream.writeAll(buffer, bytes);
      }
    });
}

test("an echo makes three syscalls: recv, send and epoll_wait", () => {
  const kernel = new FaultSys(noKernel(1));
  const echo = echoOver(kernel.sys);
  echo(2); // the second read has to wait, and registers the fd
  kernel.calls.clear();
  echo(1000);
  const { epollWait = 0, ...others } = Object.fromEntries(kernel.calls);
  expect(others).toEqual({ recv: 1000, send: 1000 });
  expect(epollWait).toBeLessThanOrEqual(1000);
});

// AsyncResource creates the array: it holds the arguments to forward, of which there are none.
test("an echo creates no objects except the generator's result", () => {
  expectAtMost(objectsOfEach(echoOver(noKernel(1))), { Object: 1, Array: 1 });
});

/** Performs awaits of one kind in an async function. */
function awaitsOver(sys: Sys, start: (stream: TcpStream) => PromiseLike<unknown>) {
  const runtime = new Runtime({ sys });
  const stream = TcpStream.create(new Source(sys, 0), at);
  return (count: number): void =>
    runtime.blockOn(async () => {
      for (let index = 0; index < count; index++) await start(stream);
    });
}

// The engine creates two functions and a reaction for an await of any thenable. Ours are the future and its
// AwaitResult. The arrays and the scope disappear once the code is compiled.
const EACH_AWAIT = {
  Object: 2,
  Function: 2,
  SlimPromiseReaction: 1,
  JSLexicalEnvironment: 1,
  Array: 2,
};

test("an await of a ready future in an async function creates two objects beyond what the engine needs", () => {
  const buffer = new Uint8Array(64);
  const writes = awaitsOver(noKernel(1), (stream) => stream.writeAll(buffer));
  expectAtMost(objectsOfEach(writes), EACH_AWAIT);
});

test("an await of a pending future in an async function creates no more than one of a ready future", () => {
  const buffer = new Uint8Array(1024);
  const reads = awaitsOver(noKernel(1), (stream) => stream.read(buffer));
  expectAtMost(objectsOfEach(reads), EACH_AWAIT);
});

test("an await creates no more while an earlier await of the same function stays pending", () => {
  const runtime = new Runtime({ sys: noKernel(1) });
  const buffer = new Uint8Array(64);
  const stream = TcpStream.create(new Source(noKernel(1), 0), at);
  const writes = (count: number): void =>
    runtime.blockOn(async () => {
      const { sender, receiver } = mpsc<number>(1);
      const pending = (async () => await receiver.recv())();
      for (let index = 0; index < count; index++) await stream.writeAll(buffer);
      await sender.send(1);
      await pending;
    });
  expectAtMost(objectsOfEach(writes), EACH_AWAIT);
});

/** Performs short connections: the server accepts each, echoes once, reads the end, and closes it. */
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
    return TcpListener.bind(at); // in a poll, so that it uses `sys`
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

test("a short connection makes seven syscalls, and shares each epoll_wait with other connections", () => {
  const network = noNetwork();
  const kernel = new FaultSys(network.sys);
  const connections = connectionsOver(kernel.sys, network.arrive);
  kernel.calls.clear();
  connections(1000);
  const { epollWait = 0, ...others } = Object.fromEntries(kernel.calls);
  const each = { accept: 1000, send: 1000, epollAdd: 1000, epollDelete: 1000, close: 1000 };
  expect(others).toEqual({ ...each, recv: 2000 });
  expect(epollWait).toBeLessThanOrEqual(100); // one returns many events
});

// The objects: the source and its queue of readers; the stream; the task, its AsyncResource, its coroutine, its
// handle and its outcome; a read and a write; and two generator results. One array holds the read and the write
// for reuse. AsyncResource creates the other arrays for the arguments to forward; once compiled, it creates fewer.
test("a short connection creates twelve objects, one generator, and no address", () => {
  const network = noNetwork();
  expectAtMost(objectsOfEach(connectionsOver(network.sys, network.arrive)), {
    Object: 12,
    Array: 8,
    Generator: 1,
    Function: 1, // the generator's body; its scopes are next
    JSLexicalEnvironment: 2,
  });
});

test("sending and receiving a message creates one object at most: the result of `recv` or of `next`", () => {
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

test("a sleep creates one future, one generator result, and three lists of due timers", () => {
  const runtime = new Runtime();
  const sleeps = (count: number): void =>
    runtime.blockOn(function* () {
      for (let index = 0; index < count; index++) yield* sleep(0.001);
    });
  expectAtMost(objectsOfEach(sleeps), { Object: 2, Array: 3 });
});

test("a yieldNow creates one future and one generator result", () => {
  const runtime = new Runtime();
  const yields = (count: number): void =>
    runtime.blockOn(function* () {
      for (let index = 0; index < count; index++) yield* yieldNow();
    });
  expectAtMost(objectsOfEach(yields), { Object: 2, Array: 2 });
});

/** Returns the bytes of each object that an idle connection keeps alive, by class. */
async function keptByEach(kind: "coroutine" | "async"): Promise<Record<string, number>> {
  const { output } = await run(["bun", "test/support/idle-connections.ts", kind]);
  const { waiting, kept } = JSON.parse(output) as {
    waiting: number;
    kept: Record<string, { count: number; bytes: number }>;
  };
  expect(waiting).toBe(1);
  const ofEngine =
    /^(Function|Generator|AsyncFunctionGenerator|JSLexicalEnvironment|Frame)$|Promise/;
  const ours = Object.entries(kept).filter(([name]) => !ofEngine.test(name));
  for (const [name, { count }] of ours) expect([name, count]).toEqual([name, 1]);
  return Object.fromEntries(ours.map(([name, { bytes }]) => [name, bytes]));
}

// The engine allocates 48, 64, 80, 112, 160 or 224 bytes: one field more may cost 64.
test("an idle connection of a coroutine keeps six small objects besides the generator", async () => {
  expect(await keptByEach("coroutine")).toEqual({
    Source: 80,
    TcpStream: 64,
    ReadChunk: 80,
    WriteAll: 80,
    Task: 160,
    AsyncResource: 48,
  });
});

test("an idle connection of an async function keeps no leaf but the read that waits", async () => {
  expect(await keptByEach("async")).toEqual({
    Source: 80,
    TcpStream: 64,
    ReadChunk: 80,
    AwaitResult: 64,
    Await: 160,
    List: 48,
    AsyncFuture: 112,
    LazyFuture: 48,
    Task: 160,
    AsyncResource: 48,
  });
});

test("a waiting task occupies at most 380 bytes, and a sleep at most 120", async () => {
  const { output } = await run(["bun", "test/support/bytes.ts"]);
  const { task, sleep } = JSON.parse(output) as { task: number; sleep: number };
  expect(task).toBeGreaterThan(100);
  expect(task).toBeLessThan(380);
  expect(sleep).toBeGreaterThan(50);
  expect(sleep).toBeLessThan(120);
});
