// What the random scripts of fidelity.test.ts do not reach, because it takes time or a wire.

import { expect, test } from "bun:test";
import {
  type Coroutine,
  type Datagram,
  type IntoFuture,
  LookupError,
  Runtime,
  type SysError,
  sleep,
  TcpListener,
  TcpStream,
  timeout,
  UdpSocket,
  UnixListener,
  UnixStream,
} from "../../src/index.ts";
import { type Host, simulate } from "../../src/sim/index.ts";
import { SimSys } from "../../src/sim/kernel/sim-sys.ts";
import { EAGAIN, ECONNRESET, SHUT_RD, SOL_SOCKET } from "../../src/sys/index.ts";
import { SO_LINGER } from "../../src/sys/socket.ts";
import { failureOf } from "../support/caught.ts";
import { rawPair } from "../support/sockets.ts";

test("a socket that lingers for no time resets its connection when it is closed", () => {
  const sys = new SimSys();
  const [ours, peer] = rawPair(sys);
  const linger = new Uint8Array(new Int32Array([1, 0]).buffer);
  expect(sys.setsockoptBytes(ours, SOL_SOCKET, SO_LINGER, linger)).toBe(0);
  const read = new Uint8Array(8);
  expect(sys.getsockoptBytes(ours, SOL_SOCKET, SO_LINGER, read)).toBe(8);
  expect([...new Int32Array(read.buffer)]).toEqual([1, 0]);
  sys.close(ours);
  expect(sys.recv(peer, read, 0)).toBe(-ECONNRESET);
});

test("room that reads make after a shutdown of reading is found by the probes of the peer", () => {
  const sys = new SimSys();
  const [ours, peer] = rawPair(sys);
  const buffer = new Uint8Array(65_536);
  while (sys.send(ours, buffer, 0) > 0);
  expect(sys.shutdown(peer, SHUT_RD)).toBe(0);
  while (sys.recv(peer, buffer, 0) > 0);
  expect(sys.send(ours, buffer, 0)).toBe(-EAGAIN);
  sys.stack.agenda.runNext();
  expect(sys.send(ours, buffer, 0)).toBeGreaterThan(0);
});

test("what was sent or written stays as it was when its Buffer changes", () => {
  const seen: (Uint8Array | null)[] = [];
  simulate(function* (world) {
    const host: Host = world.host("host", function* () {
      const written = Buffer.from("sent");
      host.disk.write("file", written);
      using listener = TcpListener.bind("127.0.0.1:7000");
      using stream = yield* TcpStream.connect("127.0.0.1:7000");
      using peer = yield* listener.accept();
      using unixListener = UnixListener.bind("/socket");
      using unixStream = yield* UnixStream.connect("/socket");
      using unixPeer = yield* unixListener.accept();
      using udp = UdpSocket.bind("127.0.0.1:7000");
      yield* stream.writeAll(written);
      yield* unixStream.writeAll(written);
      yield* udp.sendTo(written, udp.localAddress);
      written.fill("x");
      const [{ data }] = (yield* udp.recvMany()) as [Datagram];
      seen.push(yield* peer.readChunk(), yield* unixPeer.readChunk(), data, host.disk.read("file"));
    });
    yield* host;
  });
  expect(seen.map((bytes) => Buffer.from(bytes!).toString())).toEqual(new Array(4).fill("sent"));
});

test("an option that is given as a Buffer is read as its bytes", () => {
  const sys = new SimSys();
  const [ours] = rawPair(sys);
  const linger = Buffer.from(new Int32Array([7, 1, 0]).buffer, 4);
  expect(sys.setsockoptBytes(ours, SOL_SOCKET, SO_LINGER, linger)).toBe(0);
  const read = new Uint8Array(8);
  sys.getsockoptBytes(ours, SOL_SOCKET, SO_LINGER, read);
  expect([...new Int32Array(read.buffer)]).toEqual([1, 0]);
});

test("options read as on Linux, before a program sets them and after it has", () => {
  function* work() {
    using listener = TcpListener.bind("127.0.0.1:0");
    using tcp = yield* TcpStream.connect(listener.localAddress);
    using udp = UdpSocket.bind("127.0.0.1:0");
    using udp6 = UdpSocket.bind("[::1]:0");
    const [unix, unixPeer] = UnixStream.pair();
    using _unix = unix;
    using _unixPeer = unixPeer;
    const seen: unknown[] = [listener.options.maxSegmentBytes, tcp.options.maxSegmentBytes > 536];
    for (const { options } of [listener, tcp]) seen.push(options.quickAck);
    for (const { options } of [udp, udp6]) seen.push(options.multicastTtl, options.multicastLoop);
    for (const { options } of [listener, tcp, udp, udp6]) {
      seen.push(options.ttl);
      options.ttl = 9;
      seen.push(options.ttl);
    }
    for (const { options } of [listener, tcp, udp, udp6, unix]) {
      seen.push(options.sendBufferBytes > 0, options.receiveBufferBytes > 0);
      for (const bytes of [1, 2000, 50_000]) {
        options.sendBufferBytes = options.receiveBufferBytes = bytes;
        seen.push(options.sendBufferBytes, options.receiveBufferBytes);
      }
    }
    return seen;
  }
  using runtime = new Runtime();
  expect(simulate(work)).toEqual(runtime.blockOn(work));
});

test("a name that no host has is not found, and a host finds itself by its name", () => {
  const seen = simulate(function* (world) {
    const host = world.host("host", function* () {
      using listener = TcpListener.bind("0.0.0.0:7000");
      using stream = yield* TcpStream.connect("host:7000");
      using peer = yield* listener.accept();
      const error = yield* failureOf(TcpStream.connect("nobody:7000"));
      return [stream.remoteAddress, peer.remoteAddress.hostname, error instanceof LookupError];
    });
    return yield* host;
  });
  expect(seen).toEqual([{ hostname: "10.0.0.2", port: 7000 }, "10.0.0.2", true]);
});

test("a host has no route to addresses of a family that it has no address of", () => {
  function* reach(hostname: string) {
    const to = { hostname, port: 7000 };
    using udp = UdpSocket.bind({ hostname: hostname.includes(":") ? "::" : "0.0.0.0", port: 0 });
    const connect = yield* failureOf(TcpStream.connect(to));
    const send = yield* failureOf(udp.sendTo(new Uint8Array(1), to));
    return [connect, send].map((error) => (error as SysError).code);
  }
  const seen = simulate(function* (world) {
    const ipv4 = world.host("ipv4", () => reach("2001:db8::1"));
    const ipv6 = world.host("ipv6", () => reach("10.9.9.9"), { address: "fd00::1" });
    return [yield* ipv4, yield* ipv6];
  });
  expect(seen).toEqual([
    ["ENETUNREACH", "ENETUNREACH"],
    ["ENETUNREACH", "ENETUNREACH"],
  ]);
});

test("a stream does not connect to a group or to a broadcast address, as on Linux", () => {
  function* work() {
    const codes: unknown[] = [];
    for (const hostname of ["239.1.2.3", "255.255.255.255", "127.255.255.255"]) {
      const error = yield* failureOf(TcpStream.connect({ hostname, port: 7000 }));
      codes.push((error as SysError).code);
    }
    return codes;
  }
  using runtime = new Runtime();
  expect(simulate(work)).toEqual(runtime.blockOn(work));
});

test("a backlog that is full makes a client repeat its SYN until there is room", () => {
  const elapsedMs = simulate({ link: { latencyMs: 1 } }, function* (world) {
    world.host("server", function* () {
      using listener = TcpListener.bind({ hostname: "0.0.0.0", port: 7000, backlog: 1 });
      yield* sleep(2500);
      const streams: TcpStream[] = [];
      for (let count = 0; count < 3; count++) streams.push(yield* listener.accept());
      yield* sleep(10_000);
      for (const stream of streams) stream.close();
    });
    yield* sleep(10);
    yield* world.host("client", function* () {
      using _first = yield* TcpStream.connect("server:7000");
      using _second = yield* TcpStream.connect("server:7000");
      using _third = yield* TcpStream.connect("server:7000"); // waits for room in the backlog
    });
    return world.now();
  });
  expect(elapsedMs).toBeGreaterThan(2500);
  expect(elapsedMs).toBeLessThan(4000);
});

test("a host that restarts resets the connection that its port had before the crash", () => {
  const seen = simulate({ link: { latencyMs: 1 } }, function* (world) {
    const seen: unknown[] = [];
    const server = world.host("server", function* () {
      using listener = TcpListener.bind("0.0.0.0:7000");
      using first = yield* listener.accept();
      using _second = yield* listener.accept();
      const error = yield* failureOf(first.read(new Uint8Array(1)));
      seen.push((error as SysError).code);
    });
    yield* sleep(10);
    const client = world.host("client", function* () {
      using stream = yield* TcpStream.connect("server:7000");
      seen.push(stream.localAddress.port);
      if (seen.length === 1) yield* sleep(1e6);
    });
    yield* sleep(10);
    client.crash();
    client.restart();
    const startMs = world.now();
    yield* client;
    seen.push(Math.round((world.now() - startMs) / 1000));
    yield* server;
    return seen;
  });
  expect(seen).toEqual([32_768, 32_768, 1, "ECONNRESET"]);
});

test("the user timeout of a connection ends it before the kernel's own limit", () => {
  const seen = simulate({ link: { latencyMs: 1 } }, function* (world) {
    world.host("server", function* () {
      using listener = TcpListener.bind("0.0.0.0:7000");
      using stream = yield* listener.accept();
      yield* stream.read(new Uint8Array(8));
      yield* sleep(1e6);
    });
    const client = world.host("client", function* () {
      yield* sleep(10);
      using stream = yield* TcpStream.connect("server:7000");
      stream.options.userTimeoutMs = 10_000;
      yield* sleep(1000);
      const startMs = world.now();
      yield* stream.writeAll("lost");
      const error = yield* failureOf(stream.read(new Uint8Array(8)));
      return [(error as { code?: string }).code, Math.round((world.now() - startMs) / 1000)];
    });
    yield* sleep(500);
    world.partition("client", "server");
    return yield* client;
  });
  expect(seen).toEqual(["ETIMEDOUT", 10]);
});

test("the user timeout also limits a connect, a peer that does not read, and the probes of keep-alive", () => {
  const seen = simulate({ link: { latencyMs: 1 } }, function* (world) {
    world.host("server", function* () {
      using listener = TcpListener.bind("0.0.0.0:7000");
      using _first = yield* listener.accept();
      using _second = yield* listener.accept();
      yield* sleep(1e6);
    });
    yield* sleep(10);
    return yield* world.host("client", function* () {
      const seen: unknown[] = [];
      const fails = function* (work: IntoFuture<unknown>): Coroutine<void> {
        const startMs = world.now();
        const error = yield* failureOf(timeout(60_000, work));
        seen.push((error as SysError).code, Math.round((world.now() - startMs) / 100) / 10);
      };
      const options = { userTimeoutMs: 3500 };
      yield* fails(TcpStream.connect("10.9.9.9:7000", { options }));
      using full = yield* TcpStream.connect("server:7000", { options });
      yield* fails(full.writeAll(new Uint8Array(1e6)));
      const keepAlive = { idleMs: 2000, intervalMs: 1000, count: 9 };
      using idle = yield* TcpStream.connect("server:7000", { options: { ...options, keepAlive } });
      world.partition("client", "server");
      yield* fails(idle.read(new Uint8Array(1)));
      return seen;
    });
  });
  expect(seen).toEqual(["ETIMEDOUT", 3.5, "ETIMEDOUT", 3.7, "ETIMEDOUT", 4]);
});

test.each([
  [300_000, "the whole message"],
  [330_000, "ECONNRESET"],
])("a peer that does not read for %i ms after a close receives %s", (pauseMs, expected) => {
  const seen = simulate({ link: { latencyMs: 1 } }, function* (world) {
    let sent = 0;
    const server = world.host("server", function* () {
      using listener = TcpListener.bind("0.0.0.0:7000");
      using stream = yield* listener.accept();
      yield* sleep(pauseMs);
      let received = 0;
      try {
        for (let chunk = yield* stream.readChunk(); chunk !== null; ) {
          received += chunk.length;
          chunk = yield* stream.readChunk();
        }
      } catch (error) {
        return (error as SysError).code;
      }
      return received === sent ? "the whole message" : received;
    });
    yield* sleep(10);
    world.host("client", function* () {
      using stream = yield* TcpStream.connect("server:7000");
      const buffer = new Uint8Array(65_536);
      for (let count = 1; count > 0; sent += count) count = stream.tryWrite(buffer) ?? 0;
    });
    return yield* server;
  });
  expect(seen).toBe(expected);
});
