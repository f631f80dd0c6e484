// UdpSocket: send, receive, connect, broadcast, errors, and the epoll events that it causes.

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import {
  ClosedError,
  Runtime,
  SysError,
  spawn,
  timeout,
  UdpSocket,
  yieldNow,
} from "../../src/index.ts";
import { EPOLLOUT } from "../../src/sys/index.ts";
import { failureOf } from "../support/caught.ts";
import { FaultSys } from "../support/fault-sys.ts";
import { countFds } from "../support/fds.ts";
import { run } from "../support/program.ts";

setDefaultTimeout(60_000); // a slow machine must not fail the test

const [EAGAIN, ENOMEM] = [-11, -12];

/** Returns a socket that uses the runtime's `sys`. */
const bindIn = (runtime: Runtime): UdpSocket =>
  runtime.blockOn(function* () {
    yield* yieldNow();
    return UdpSocket.bind(local);
  });

const local = { hostname: "127.0.0.1", port: 0 };
const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const text = (buffer: Uint8Array, length: number): string =>
  new TextDecoder().decode(buffer.subarray(0, length));

describe.each([
  ["IPv4", "127.0.0.1"],
  ["IPv6", "::1"],
])("over %s", (_, hostname) => {
  test("a datagram and its reply arrive, each with its sender's address", () => {
    using runtime = new Runtime();
    using a = UdpSocket.bind({ hostname, port: 0 });
    using b = UdpSocket.bind({ hostname, port: 0 });
    const buffer = new Uint8Array(64);
    const reply = runtime.blockOn(function* () {
      expect(yield* a.sendTo(bytes("ping"), b.localAddress)).toBe(4);
      const { bytes: count, isTruncated, address } = yield* b.recvFrom(buffer);
      expect(text(buffer, count)).toBe("ping");
      expect(isTruncated).toBe(false);
      expect(address).toEqual(a.localAddress);
      yield* b.sendTo(bytes("pong"), address);
      return text(buffer, (yield* a.recvFrom(buffer)).bytes);
    });
    expect(reply).toBe("pong");
  });
});

test("a connected socket receives from its peer only", () => {
  using runtime = new Runtime();
  using a = UdpSocket.bind(local);
  using b = UdpSocket.bind(local);
  using stranger = UdpSocket.bind(local);
  a.connect(b.localAddress);
  const buffer = new Uint8Array(64);
  runtime.blockOn(function* () {
    yield* stranger.sendTo(bytes("spam"), a.localAddress);
    yield* b.sendTo(bytes("mail"), a.localAddress);
    expect(text(buffer, (yield* a.recv(buffer)).bytes)).toBe("mail");
    yield* a.send(bytes("thanks"));
    expect(text(buffer, (yield* b.recv(buffer)).bytes)).toBe("thanks");
  });
});

test("the remote address is that of the latest connect, and the waits of the socket name it", () => {
  using runtime = new Runtime();
  using a = UdpSocket.bind(local);
  using b = UdpSocket.bind(local);
  expect(a.remoteAddress).toBe(null);
  a.connect("127.0.0.1:9");
  expect(a.remoteAddress).toEqual({ hostname: "127.0.0.1", port: 9 });
  expect(() => a.connect("[::1]:9")).toThrow("EAFNOSUPPORT");
  runtime.blockOn(a.connectByName(b.localAddress));
  expect(a.remoteAddress).toEqual(b.localAddress);
  using copy = UdpSocket.fromFd(a.release());
  expect(copy.remoteAddress).toEqual(b.localAddress);
  const { port } = b.localAddress;
  const waits = timeout(1, copy.recv(new Uint8Array(1)));
  expect(() => runtime.blockOn(waits)).toThrow(`read 127.0.0.1:${port} (fd ${copy.fd})`);
  copy.close();
  expect(() => copy.remoteAddress).toThrow(ClosedError);
});

test("a receive into a small buffer reports that the datagram was truncated", () => {
  using runtime = new Runtime();
  using a = UdpSocket.bind(local);
  const buffer = new Uint8Array(4);
  runtime.blockOn(function* () {
    yield* a.sendTo(bytes("longer"), a.localAddress);
    expect(yield* a.recvFrom(buffer)).toEqual({
      bytes: 4,
      isTruncated: true,
      address: a.localAddress,
    });
    expect(text(buffer, 4)).toBe("long");
    yield* a.sendTo(bytes("fits"), a.localAddress);
    expect((yield* a.recv(buffer)).isTruncated).toBe(false);
  });
});

test("an empty datagram can be sent and received", () => {
  using runtime = new Runtime();
  using a = UdpSocket.bind(local);
  runtime.blockOn(function* () {
    expect(yield* a.sendTo(new Uint8Array(0), a.localAddress)).toBe(0);
    expect((yield* a.recv(new Uint8Array(1))).bytes).toBe(0);
  });
});

test("two waiting receives get one datagram each", () => {
  using runtime = new Runtime();
  using a = UdpSocket.bind(local);
  const received = runtime.blockOn(function* () {
    const handles = ["one", "two"].map(() =>
      spawn(function* () {
        const buffer = new Uint8Array(8);
        return text(buffer, (yield* a.recv(buffer)).bytes);
      }),
    );
    const sender = spawn(function* () {
      yield* a.sendTo(bytes("x"), a.localAddress);
      yield* a.sendTo(bytes("y"), a.localAddress);
    });
    yield* sender;
    const all: string[] = [];
    for (const handle of handles) all.push(yield* handle);
    return all;
  });
  expect(received.sort()).toEqual(["x", "y"]);
});

test("a refused datagram fails one receive, and the socket keeps working", () => {
  using runtime = new Runtime();
  using a = UdpSocket.bind(local);
  const gone = UdpSocket.bind(local);
  const address = gone.localAddress;
  gone.close();
  a.connect(address);
  const buffer = new Uint8Array(8);
  runtime.blockOn(function* () {
    yield* a.send(bytes("anyone?"));
    const error = yield* failureOf(a.recv(buffer));
    expect(error).toBeInstanceOf(SysError);
    expect((error as SysError).code).toBe("ECONNREFUSED");
    expect(error).toMatchObject({ address: address.hostname, port: address.port });
    using back = UdpSocket.bind(address);
    const waits = spawn(() => a.recv(buffer)); // EAGAIN clears the readiness of EPOLLERR, so this receive waits
    yield* back.sendTo(bytes("yes"), a.localAddress);
    expect((yield* waits).bytes).toBe(3);
  });
});

test("a send of a datagram that is too long throws EMSGSIZE", () => {
  using runtime = new Runtime();
  using a = UdpSocket.bind(local);
  expect(() => runtime.blockOn(a.sendTo(new Uint8Array(70_000), a.localAddress))).toThrow(
    "EMSGSIZE",
  );
});

test("sends and receives retry after EAGAIN and EINTR", () => {
  const faults = new FaultSys();
  using runtime = new Runtime({ sys: faults.sys });
  runtime.blockOn(function* () {
    using a = UdpSocket.bind(local);
    faults.fail("sendto", -4, -4).fail("recvfrom", -4, -11);
    yield* a.sendTo(bytes("hi"), a.localAddress);
    expect((yield* a.recv(new Uint8Array(8))).bytes).toBe(2);
  });
  expect(faults.count("sendto")).toBe(3);
});

test("a broadcast throws EACCES unless setBroadcast has allowed it", () => {
  using runtime = new Runtime();
  using a = UdpSocket.bind("0.0.0.0:0");
  const to = { hostname: "127.255.255.255", port: a.localAddress.port };
  expect(() => runtime.blockOn(a.sendTo(bytes("all"), to))).toThrow("EACCES");
  a.setBroadcast();
  expect(runtime.blockOn(a.sendTo(bytes("all"), to))).toBe(3);
  a.setBroadcast(false);
  expect(() => runtime.blockOn(a.sendTo(bytes("all"), to))).toThrow("EACCES");
});

test("an invalid argument throws an error that names it, and the socket keeps working", () => {
  using runtime = new Runtime();
  using a = UdpSocket.bind(local);
  const { port } = a.localAddress;
  expect(() => UdpSocket.bind({ hostname: "127.0.0.1", port: 65_536 })).toThrow("65536");
  expect(() => UdpSocket.bind(`127.0.0.1:${port}`)).toThrow(`bind EADDRINUSE 127.0.0.1:${port}`);
  expect(() => a.send("text" as unknown as Uint8Array)).toThrow("data must be a Uint8Array");
  expect(() => a.recv(new Uint8Array(0))).toThrow("at least one byte");
  const detached = new Uint8Array(8);
  structuredClone(detached.buffer, { transfer: [detached.buffer] });
  expect(() => a.sendTo(detached, local)).toThrow("detached");
  expect(() => a.sendTo(bytes("x"), "1.2.3:1")).toThrow("1.2.3");
  expect(() => runtime.blockOn(a.send(bytes("x")))).toThrow("EDESTADDRREQ");
  runtime.blockOn(function* () {
    yield* a.sendTo(bytes("still"), a.localAddress);
    expect((yield* a.recv(new Uint8Array(8))).bytes).toBe(5);
  });
});

test("close fails the waiting receive with ClosedError and closes the fd", () => {
  const before = countFds();
  {
    using runtime = new Runtime();
    const a = UdpSocket.bind(local);
    runtime.blockOn(function* () {
      const waits = spawn(() => a.recv(new Uint8Array(8)));
      const closes = spawn(function* () {
        a.close();
      });
      yield* closes;
      expect(yield* failureOf(waits)).toBeInstanceOf(ClosedError);
    });
    expect(() => a.localAddress).toThrow(ClosedError);
  }
  expect(countFds()).toBe(before);
});

test("a datagram that arrives after a dropped receive goes to the next receive", () => {
  using runtime = new Runtime();
  using a = UdpSocket.bind(local);
  runtime.blockOn(function* () {
    const first = spawn(() => a.recv(new Uint8Array(8)));
    first.abort();
    yield* a.sendTo(bytes("kept"), a.localAddress);
    expect((yield* a.recv(new Uint8Array(8))).bytes).toBe(4);
  });
});

test("a Python client exchanges datagrams with the socket", async () => {
  using runtime = new Runtime();
  using a = UdpSocket.bind(local);
  const { port } = a.localAddress;
  const client = run([
    "python3",
    "-c",
    `import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(20)
s.sendto(b"hello", ("127.0.0.1", ${port})); print(s.recv(64).decode())`,
  ]);
  const buffer = new Uint8Array(64);
  runtime.blockOn(function* () {
    const { bytes: count, address } = yield* a.recvFrom(buffer);
    yield* a.sendTo(bytes(text(buffer, count).toUpperCase()), address);
  });
  expect((await client).output.trim()).toBe("HELLO");
});

describe("write interest of a datagram socket", () => {
  test("a send causes no event, so an exchange causes one event per awaited datagram", () => {
    using runtime = new Runtime({ spinMicros: 0 });
    using a = UdpSocket.bind(local);
    using b = UdpSocket.bind(local);
    const buffer = new Uint8Array(64);
    const perform = (count: number) =>
      runtime.blockOn(function* () {
        const echo = spawn(function* () {
          for (let index = 0; index < count; index++) {
            const { address } = yield* b.recvFrom(buffer);
            yield* b.sendTo(bytes("pong"), address);
          }
        });
        for (let index = 0; index < count; index++) {
          yield* a.sendTo(bytes("ping"), b.localAddress);
          yield* a.recvFrom(buffer);
        }
        yield* echo;
      });
    perform(20); // registers the fds, and makes the single receives that precede batches
    const { events } = runtime.metrics();
    perform(100);
    expect(runtime.metrics().events - events).toBe(200);
  });

  test("the socket asks epoll for EPOLLOUT only while a send waits", () => {
    const interests: number[] = [];
    const faults = new FaultSys();
    using runtime = new Runtime({ sys: faults.sys });
    using a = bindIn(runtime);
    using b = UdpSocket.bind(local);
    const buffer = new Uint8Array(64);
    faults.on("epollModify", (_, _epoll, _fd, events) => {
      interests.push(events & EPOLLOUT);
      return null;
    });
    const perform = () =>
      runtime.blockOn(function* () {
        yield* a.sendTo(bytes("ping"), b.localAddress);
        expect(text(buffer, (yield* b.recvFrom(buffer)).bytes)).toBe("ping");
      });
    faults.fail("sendto", EAGAIN); // the send buffer is full
    perform();
    expect(interests).toEqual([EPOLLOUT, 0]);
    perform(); // the send buffer has room again
    expect(interests).toHaveLength(2);
    faults.fail("sendto", EAGAIN);
    perform();
    expect(interests).toEqual([EPOLLOUT, 0, EPOLLOUT, 0]);
  });

  test("a send whose EPOLLOUT epoll_ctl refuses throws and leaves the socket usable", () => {
    const faults = new FaultSys();
    using runtime = new Runtime({ sys: faults.sys });
    using a = bindIn(runtime);
    faults.fail("sendto", EAGAIN).fail("epollModify", ENOMEM);
    expect(() => runtime.blockOn(a.sendTo(bytes("x"), a.localAddress))).toThrow("ENOMEM");
    expect(runtime.blockOn(a.sendTo(bytes("x"), a.localAddress))).toBe(1);
  });
});

describe("many datagrams at once", () => {
  test("are sent with one syscall, each to its address, and received with few", () => {
    const faults = new FaultSys();
    using runtime = new Runtime({ sys: faults.sys });
    using sender = bindIn(runtime);
    using a = bindIn(runtime);
    using b = bindIn(runtime);
    const datagrams = Array.from({ length: 64 }, (_, index) => ({
      data: new Uint8Array(index).fill(index),
      address: (index % 2 === 0 ? a : b).localAddress,
    }));
    runtime.blockOn(function* () {
      expect(yield* sender.sendMany(datagrams)).toBe(64);
      for (const [offset, socket] of [a, b].entries()) {
        const received = [];
        while (received.length < 32) received.push(...(yield* socket.recvMany()));
        expect(received.map(({ data }) => [...data])).toEqual(
          datagrams.filter((_, index) => index % 2 === offset).map(({ data }) => [...data]),
        );
        expect(received.every(({ address }) => address.port === sender.localAddress.port)).toBe(
          true,
        );
      }
    });
    expect(faults.count("sendmmsg")).toBe(1);
    expect(faults.count("recvfrom") + faults.count("recvmmsg")).toBeLessThan(30);
  });

  test("that fail name the address of the first", () => {
    using runtime = new Runtime();
    using sender = bindIn(runtime);
    const address = { hostname: "127.0.0.1", port: 9 };
    runtime.blockOn(function* () {
      const datagrams = [{ data: new Uint8Array(66_000), address }];
      expect(yield* failureOf(sender.sendMany(datagrams))).toMatchObject({
        code: "EMSGSIZE",
        address: "127.0.0.1",
        port: 9,
      });
    });
  });

  test("go to the connected peer, retry after EAGAIN and EINTR, and may be sent in part", () => {
    const faults = new FaultSys().fail("sendmmsg", -4, EAGAIN);
    using runtime = new Runtime({ sys: faults.sys });
    using sender = bindIn(runtime);
    using receiver = bindIn(runtime);
    const data = bytes("x");
    runtime.blockOn(function* () {
      expect(yield* failureOf(sender.sendMany([{ data }]))).toMatchObject({
        code: "EDESTADDRREQ",
        syscall: "sendmmsg",
      });
      sender.connect(receiver.localAddress);
      expect(yield* sender.sendMany([{ data }, { data: new Uint8Array(0) }])).toBe(2);
      expect(yield* sender.sendMany([{ data }, { data: new Uint8Array(66_000) }])).toBe(1);
      expect(yield* failureOf(sender.sendMany([{ data: new Uint8Array(66_000) }]))).toMatchObject({
        code: "EMSGSIZE",
      });
      const lengths: number[] = [];
      while (lengths.length < 3) {
        for (const {
          data: { length },
        } of yield* receiver.recvMany())
          lengths.push(length);
      }
      expect(lengths).toEqual([1, 0, 1]);
    });
    expect(() => sender.sendMany([])).toThrow("sendMany: datagrams must be 1 to 64; got 0");
    expect(() => sender.sendMany(new Array(65).fill({ data }))).toThrow("got 65");
    expect(() => sender.sendMany([{ data: "x" as never }])).toThrow("data must be a Uint8Array");
    expect(() => sender.sendMany([{ data, address: "a.test:1" }])).toThrow(
      "must be an IPv4 or IPv6",
    );
    sender.close();
    expect(() => runtime.blockOn(sender.recvMany())).toThrow(ClosedError);
  });
});
