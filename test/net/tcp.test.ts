// TcpStream and TcpListener: data, half-close, options, cancellation, and moves between tasks and runtimes.

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import {
  ClosedError,
  type Coroutine,
  joinAll,
  Runtime,
  race,
  sleep,
  spawn,
  TcpListener,
  TcpStream,
  yieldNow,
} from "../../src/index.ts";
import {
  IPPROTO_TCP,
  linux,
  SO_KEEPALIVE,
  SOL_SOCKET,
  TCP_KEEPIDLE,
  TCP_KEEPINTVL,
  TCP_NODELAY,
} from "../../src/sys/index.ts";
import { failureOf } from "../support/caught.ts";
import { FaultSys } from "../support/fault-sys.ts";
import { countFds } from "../support/fds.ts";
import { untilIdle } from "../support/idle.ts";
import { readAll, streamAndPeer, streamPair } from "../support/sockets.ts";

setDefaultTimeout(60_000); // a slow machine must not fail the test

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

function* readText(stream: TcpStream, size = 64): Coroutine<string> {
  const buffer = new Uint8Array(size);
  const count = yield* stream.read(buffer);
  return new TextDecoder().decode(buffer.subarray(0, count));
}

describe.each([["127.0.0.1"], ["::1"]])("at %s", (hostname) => {
  test("two streams exchange bytes and strings, agree on their addresses, and read 0 after a half-close", () => {
    using runtime = new Runtime();
    runtime.blockOn(function* () {
      const [a, b] = yield* streamPair(hostname);
      using _a = a;
      using _b = b;
      expect(a.remoteAddress).toEqual(b.localAddress);
      expect(b.remoteAddress).toEqual(a.localAddress);
      expect(b.remoteAddress.hostname).toBe(hostname);
      yield* a.writeAll("grüße");
      expect(yield* readText(b)).toBe("grüße");
      expect(yield* b.write(bytes("back"))).toBe(4);
      expect(yield* readText(a)).toBe("back");
      a.shutdown();
      expect(yield* readText(b)).toBe("");
      yield* b.writeAll("half open");
      expect(yield* readText(a)).toBe("half open");
    });
  });
});

test("a race of a read and sleep(0) shows whether a connection is idle, readable or closed", async () => {
  function* checkThrice(): Coroutine<unknown[]> {
    const [a, b] = yield* streamPair();
    using _a = a;
    const buffer = new Uint8Array(64);
    const check = () => race(a.read(buffer), sleep(0));
    yield* b.writeAll("hello");
    yield* a.read(buffer); // a short read: the next read needs an event
    const idle = yield* check();
    yield* b.writeAll("more");
    const readable = yield* check();
    b.close();
    return [idle, readable, yield* check()];
  }
  using runtime = new Runtime();
  expect(runtime.blockOn(checkThrice)).toEqual([undefined, 4, 0]);
  expect(await runtime.run(checkThrice)).toEqual([undefined, 4, 0]);
});

test("setNoDelay sets and clears TCP_NODELAY", () => {
  const { stream, source, peer } = streamAndPeer();
  using _ = stream;
  using _peer = peer;
  const isSet = (): number => linux().getsockopt(source.fd, IPPROTO_TCP, TCP_NODELAY);
  stream.setNoDelay();
  expect(isSet()).toBe(1);
  stream.setNoDelay(false);
  expect(isSet()).toBe(0);
});

test("setKeepAlive sets the probes in milliseconds, null disables them, and other values are refused", () => {
  const { stream, source, peer } = streamAndPeer();
  using _ = stream;
  using _peer = peer;
  const isSet = (): number => linux().getsockopt(source.fd, SOL_SOCKET, SO_KEEPALIVE);
  const seconds = (option: number): number => linux().getsockopt(source.fd, IPPROTO_TCP, option);
  stream.setKeepAlive({ idleMs: 31_001 });
  expect([isSet(), seconds(TCP_KEEPIDLE), seconds(TCP_KEEPINTVL)]).toEqual([1, 32, 32]);
  stream.setKeepAlive({ idleMs: 60_000, intervalMs: 5000, count: 3 });
  expect(stream.options.keepAlive).toEqual({ idleMs: 60_000, intervalMs: 5000, count: 3 });
  stream.setKeepAlive(null);
  expect([isSet(), stream.options.keepAlive]).toEqual([0, null]);
  for (const wrong of [0, 32_767_001, Number.NaN, "60" as unknown as number]) {
    expect(() => stream.setKeepAlive({ idleMs: wrong })).toThrow(
      "keepAlive.idleMs must be a number from 1 to 32767000",
    );
  }
  expect(() => stream.setKeepAlive({ idleMs: 1000, count: 0 })).toThrow("keepAlive.count must be");
  expect(() => stream.setKeepAlive(60 as never)).toThrow("keepAlive must be an object; got 60");
  expect(isSet()).toBe(0);
});

test("connect accepts an address as a string or an object, and localhost falls back to ::1", () => {
  using runtime = new Runtime();
  runtime.blockOn(function* () {
    using listener = TcpListener.bind("[::1]:0");
    const { port } = listener.localAddress;
    for (const address of [`[::1]:${port}`, `localhost:${port}`, { hostname: "localhost", port }]) {
      const accepted = spawn(listener.accept());
      using client = yield* TcpStream.connect(address);
      using server = yield* accepted;
      expect(client.remoteAddress).toEqual(server.localAddress);
    }
  });
});

test("a read returns 0 after a short read whose edge also carried the FIN", () => {
  using runtime = new Runtime();
  const { stream, peer } = streamAndPeer();
  using _ = stream;
  const read = runtime.spawn(() => readAll(stream));
  untilIdle(runtime); // the read waits and has registered, so the data causes an edge
  peer.send("hey");
  peer[Symbol.dispose]();
  expect(`${runtime.blockOn(read)}`).toBe("hey");
});

test("reads continue past TCP's urgent mark", () => {
  using runtime = new Runtime();
  const { stream, peer } = streamAndPeer();
  using _ = stream;
  const read = runtime.spawn(() => readAll(stream));
  untilIdle(runtime);
  peer.send("before");
  peer.send("!", 1); // MSG_OOB
  peer.send("after");
  untilIdle(runtime);
  peer[Symbol.dispose]();
  expect(`${runtime.blockOn(read)}`).toBe("beforeafter");
});

test("several tasks read, write and accept at once, and each gets its own bytes or connection", () => {
  using runtime = new Runtime();
  runtime.blockOn(function* () {
    using listener = TcpListener.bind("127.0.0.1:0");
    const acceptors = Array.from({ length: 4 }, () => spawn(listener.accept()));
    yield* untilIdle();
    const clients = yield* joinAll(
      Array.from({ length: 4 }, () => TcpStream.connect(listener.localAddress)),
    );
    const servers = yield* joinAll(acceptors);
    const ports = (streams: TcpStream[], side: "localAddress" | "remoteAddress"): number[] =>
      streams.map((stream) => stream[side].port).sort();
    expect(ports(servers, "remoteAddress")).toEqual(ports(clients, "localAddress"));

    const [client, server] = yield* streamPair();
    using _client = client;
    using _server = server;
    const readers = Array.from({ length: 3 }, () => spawn(() => readText(server, 1)));
    yield* untilIdle();
    yield* joinAll(["x", "y", "z"].map((text) => client.writeAll(text)));
    expect((yield* joinAll(readers)).sort()).toEqual(["x", "y", "z"]);
    for (const stream of [...clients, ...servers]) stream.close();
  });
});

test("close fails waiting reads and accepts with ClosedError, and later calls throw it too", () => {
  using runtime = new Runtime();
  runtime.blockOn(function* () {
    const listener = TcpListener.bind("127.0.0.1:0");
    const [a, b] = yield* streamPair();
    const waits = [
      ...Array.from({ length: 2 }, () => spawn(failureOf(readText(a)))),
      ...Array.from({ length: 2 }, () => spawn(failureOf(listener.accept()))),
    ];
    yield* untilIdle();
    listener.close();
    listener.close();
    a.close();
    for (const wait of waits) {
      const error = yield* wait;
      expect(error).toBeInstanceOf(ClosedError);
      expect((error as ClosedError).code).toBe("ERR_SOCKET_CLOSED");
    }
    for (const use of [
      () => a.read(bytes("x")).next(),
      () => a.write(bytes("x")).next(),
      () => a.writeAll("x").next(),
      () => listener.accept().next(),
      () => a.shutdown(),
      () => a.setNoDelay(),
      () => a.setKeepAlive({ idleMs: 60_000 }),
      () => a.localAddress,
    ]) {
      expect(use).toThrow(ClosedError);
    }
    expect(yield* readText(b)).toBe("");
    b.close();
  });
});

test("a socket works in another runtime once no future of the first runtime waits on it", () => {
  const { stream, peer } = streamAndPeer();
  using _stream = stream;
  using _peer = peer;
  using first = new Runtime();
  const abandoned = first.spawn(() => readText(stream));
  untilIdle(first); // registered in the first runtime, with a waiter
  using second = new Runtime();
  expect(() => second.blockOn(() => readText(stream))).toThrow("has waiters in another runtime");
  abandoned.abort();
  first.block();
  peer.send("one");
  expect(second.blockOn(() => readText(stream))).toBe("one");
  const waits = second.spawn(() => readText(stream));
  untilIdle(second);
  peer.send("two");
  expect(second.blockOn(waits)).toBe("two");
  second[Symbol.dispose]();
  const again = first.spawn(() => readText(stream));
  untilIdle(first);
  peer.send("three");
  expect(first.blockOn(again)).toBe("three");
});

test("a read that one runtime has polled completes in another runtime", () => {
  const { stream, peer } = streamAndPeer();
  using _stream = stream;
  using _peer = peer;
  using first = new Runtime();
  using second = new Runtime();
  const read = stream.read(new Uint8Array(8));
  first.blockOn(function* () {
    expect(read.next().done).toBe(false);
    yield* yieldNow();
  });
  const moved = second.spawn(read);
  untilIdle(second);
  peer.send("hello");
  expect(second.blockOn(moved)).toBe(5);
});

test("a read that one task has polled completes in another task", () => {
  using runtime = new Runtime();
  const { stream, peer } = streamAndPeer();
  using _stream = stream;
  using _peer = peer;
  const buffer = new Uint8Array(8);
  const read = stream.read(buffer);
  runtime.blockOn(function* () {
    expect(read.next().done).toBe(false);
    const finisher = spawn(read);
    yield* untilIdle();
    peer.send("moved");
    expect(yield* finisher).toBe(5);
  });
});

test("data that arrives after a read was dropped wakes no task and goes to the next read", () => {
  const faults = new FaultSys();
  using runtime = new Runtime({ sys: faults.sys });
  const { stream, peer } = streamAndPeer(faults.sys);
  using _stream = stream;
  using _peer = peer;
  const dropped = runtime.spawn(() => readText(stream));
  untilIdle(runtime);
  dropped.abort();
  runtime.block();
  const { polls } = runtime.metrics();
  peer.send("kept");
  runtime.blockOn(function* () {
    for (let turn = 0; turn < 200; turn++) yield* yieldNow();
  });
  expect(runtime.metrics().polls - polls).toBe(201);
  expect(runtime.blockOn(() => readText(stream))).toBe("kept");
});

test("a connect that is dropped or fails closes its fd", () => {
  const before = countFds("socket");
  const faults = new FaultSys().fail("connect", -115); // EINPROGRESS, although no connect begins
  using runtime = new Runtime({ sys: faults.sys });
  const connecting = runtime.spawn(TcpStream.connect("127.0.0.1:1"));
  runtime.blockOn(yieldNow()); // one turn only: a second connect(2) would return ECONNREFUSED
  expect(countFds("socket")).toBe(before + 1);
  connecting.abort();
  runtime.block();
  expect(countFds("socket")).toBe(before);
  expect(() => runtime.blockOn(TcpStream.connect("127.0.0.1:1"))).toThrow("ECONNREFUSED");
  expect(countFds("socket")).toBe(before);
});

test("20 MB in both directions at once arrive unchanged through full buffers", () => {
  using runtime = new Runtime();
  const size = 20 << 20;
  const sent = new Uint8Array(size);
  for (let index = 0; index < size; index += 65536) {
    crypto.getRandomValues(sent.subarray(index, index + 65536));
  }
  const expected = Bun.hash(sent);
  function* receive(stream: TcpStream): Coroutine<bigint | number> {
    const all = new Uint8Array(size);
    for (let at = 0; at < size; ) {
      const count = yield* stream.read(all.subarray(at));
      if (count === 0) throw new Error(`the stream ended after ${at} of ${size} bytes`);
      at += count;
    }
    return Bun.hash(all);
  }
  runtime.blockOn(function* () {
    const [a, b] = yield* streamPair();
    const all = yield* joinAll([receive(a), receive(b), a.writeAll(sent), b.writeAll(sent)]);
    expect(all.slice(0, 2)).toEqual([expected, expected]);
    a.close();
    b.close();
  });
});

test("writeAll of empty data completes and writes nothing", () => {
  using runtime = new Runtime();
  const { stream, peer } = streamAndPeer();
  using _stream = stream;
  using _peer = peer;
  runtime.blockOn(function* () {
    yield* stream.writeAll("");
    yield* stream.writeAll(new Uint8Array(0));
    yield* stream.writeAll("x");
  });
  expect(peer.recv()).toBe("x");
});

test("writeAll with a length writes exactly that many bytes, even if the kernel accepts three at a time", () => {
  const faults = new FaultSys();
  using runtime = new Runtime({ sys: faults.sys });
  const { stream, peer } = streamAndPeer(faults.sys);
  using _stream = stream;
  using _peer = peer;
  const real = linux();
  faults.on("send", (_, fd, data, flags, length = data.length) =>
    real.send(fd, data, flags, Math.min(length, 3)),
  );
  runtime.blockOn(function* () {
    yield* stream.writeAll(bytes("hello, world"), 7);
    yield* stream.writeAll(bytes("nothing"), 0);
    yield* stream.writeAll(bytes("all"), 3);
  });
  expect(faults.count("send")).toBe(4);
  expect(peer.recv()).toBe("hello, all");
  for (const length of [-1, 4, 1.5, Number.NaN, "3", null]) {
    expect(() => stream.writeAll(bytes("all"), length as number)).toThrow(
      "writeAll: length must be an integer from 0 to data's length, 3; got",
    );
  }
});

test("two listeners with reusePort share a port", () => {
  using runtime = new Runtime();
  using first = TcpListener.bind({ hostname: "127.0.0.1", port: 0, reusePort: true });
  using second = TcpListener.bind({ ...first.localAddress, reusePort: true });
  runtime.blockOn(function* () {
    const accepted = spawn(function* () {
      return yield* joinAll(
        Array.from({ length: 20 }, () => TcpStream.connect(first.localAddress)),
      );
    });
    const streams = yield* accepted;
    expect(second.localAddress).toEqual(first.localAddress);
    for (const stream of streams) stream.close();
  });
});
