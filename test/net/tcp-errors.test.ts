// Failures of TCP sockets: each throws an error that names its cause, and no fd or data is lost.

import { expect, setDefaultTimeout, test } from "bun:test";
import {
  type Coroutine,
  type Future,
  Runtime,
  SysError,
  sleep,
  spawn,
  TcpListener,
  TcpStream,
  UdpSocket,
  yieldNow,
} from "../../src/index.ts";
import { caught, failureOf } from "../support/caught.ts";
import { FaultSys } from "../support/fault-sys.ts";
import { newFds, openFds } from "../support/fds.ts";
import { untilIdle } from "../support/idle.ts";
import { root, run } from "../support/program.ts";
import { readAll, streamAndPeer } from "../support/sockets.ts";

setDefaultTimeout(60_000); // a slow machine must not fail the test

const EMFILE = -24;

function sysError(call: () => unknown): SysError {
  const error = caught(call);
  if (error instanceof SysError) return error;
  throw error;
}

test("bind to an address in use throws a SysError with Node's fields and leaks no fd", () => {
  const before = openFds();
  {
    using listener = TcpListener.bind("127.0.0.1:0");
    const { port } = listener.localAddress;
    const error = sysError(() => TcpListener.bind(`127.0.0.1:${port}`));
    expect(error).toMatchObject({
      name: "SysError",
      code: "EADDRINUSE",
      errno: -98,
      address: "127.0.0.1",
      port,
      message: expect.stringContaining(`EADDRINUSE 127.0.0.1:${port}`),
    });
    expect(["bind", "listen"]).toContain(error.syscall);
  }
  expect(newFds(before)).toEqual([]);
});

test("a refused connect throws ECONNREFUSED with the syscall and the address", () => {
  using runtime = new Runtime();
  const listener = TcpListener.bind("127.0.0.1:0");
  const { port } = listener.localAddress;
  listener.close();
  const error = sysError(() => runtime.blockOn(TcpStream.connect(`127.0.0.1:${port}`)));
  expect(error).toMatchObject({
    code: "ECONNREFUSED",
    syscall: "connect",
    address: "127.0.0.1",
    port,
  });
});

test("a connect without a free fd fails, and a second poll does not open a socket", () => {
  const faults = new FaultSys().on("socket", () => EMFILE);
  using runtime = new Runtime({ sys: faults.sys });
  runtime.blockOn(function* () {
    yield* yieldNow();
    const connect = TcpStream.connect("127.0.0.1:1");
    expect(() => connect.next()).toThrow("socket EMFILE 127.0.0.1:1");
    expect(() => connect.next()).toThrow("polled after");
  });
  expect(faults.count("socket")).toBe(1);
});

test("reads and writes of a reset connection throw, and SIGPIPE does not kill the process", async () => {
  using runtime = new Runtime();
  using listener = TcpListener.bind("127.0.0.1:0");
  const { port } = listener.localAddress;
  const client = run([
    "python3",
    "-c",
    `
import socket, struct
for _ in range(2):
    s = socket.create_connection(("127.0.0.1", ${port}))
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    s.close()`,
  ]);
  runtime.blockOn(function* () {
    using reader = yield* listener.accept();
    const error = yield* failureOf(readAll(reader));
    expect(error).toMatchObject({ code: "ECONNRESET", syscall: "recv", errno: -104 });

    using writer = yield* listener.accept();
    const codes: string[] = [];
    for (let count = 0; count < 3; count++) {
      try {
        yield* writer.read(new Uint8Array(1));
      } catch {}
      try {
        yield* writer.writeAll("x");
      } catch (caught) {
        codes.push((caught as SysError).code);
      }
    }
    expect(codes).toEqual(["EPIPE", "EPIPE", "EPIPE"]);
  });
  expect((await client).code).toBe(0);
});

const detached = new Uint8Array(8);
structuredClone(detached.buffer, { transfer: [detached.buffer] });

test.each([
  ["not a buffer", "text", TypeError, 'must be a Uint8Array; got "text"'],
  ["undefined", undefined, TypeError, "got undefined"],
  ["another view", new Uint16Array(2), TypeError, "an instance of Uint16Array"],
  ["an ArrayBuffer", new ArrayBuffer(2), TypeError, "an instance of ArrayBuffer"],
  ["an empty buffer", new Uint8Array(0), RangeError, "got an empty one"],
  ["a detached buffer", detached, RangeError, "got a detached one"],
])("read and write refuse %s, and the socket keeps working", (_, buffer, kind, message) => {
  using runtime = new Runtime();
  const { stream, peer } = streamAndPeer();
  using _stream = stream;
  using _peer = peer;
  for (const use of [
    () => stream.read(buffer as Uint8Array),
    () => stream.write(buffer as Uint8Array),
  ]) {
    expect(use).toThrow(kind);
    expect(use).toThrow(message);
  }
  if (typeof buffer !== "string" && buffer !== undefined && (buffer as Uint8Array).length !== 0) {
    expect(() => stream.writeAll(buffer as Uint8Array)).toThrow(kind);
  }
  peer.send("fine");
  expect(runtime.blockOn(stream.read(new Uint8Array(8)))).toBe(4);
});

test("a read whose buffer is detached while it waits fails, and leaves the data for the next read", () => {
  using runtime = new Runtime();
  const { stream, peer } = streamAndPeer();
  using _stream = stream;
  using _peer = peer;
  const buffer = new Uint8Array(8);
  const read = runtime.spawn(stream.read(buffer));
  untilIdle(runtime);
  structuredClone(buffer.buffer, { transfer: [buffer.buffer] });
  peer.send("data");
  expect(() => runtime.blockOn(read)).toThrow("got a detached one");
  expect(runtime.blockOn(stream.read(new Uint8Array(8)))).toBe(4);
});

test("a write whose data is detached before the first poll fails", () => {
  using runtime = new Runtime();
  const { stream, peer } = streamAndPeer();
  using _stream = stream;
  using _peer = peer;
  const data = new Uint8Array(8);
  const writes: Future<unknown>[] = [stream.write(data), stream.writeAll(data)];
  structuredClone(data.buffer, { transfer: [data.buffer] });
  for (const write of writes) expect(() => runtime.blockOn(write)).toThrow("got a detached one");
  expect(peer.recv()).toBeNull();
});

test("a write whose data is detached or shrinks while it waits fails", () => {
  using runtime = new Runtime({ onUncaught: () => {} }); // the write fails before anyone joins it
  for (const [change, message] of [
    [
      (buffer: ArrayBuffer) => structuredClone(buffer, { transfer: [buffer] }),
      "got a detached one",
    ],
    [(buffer: ArrayBuffer) => buffer.resize(1), "data must keep its length while it is written"],
  ] as const) {
    const { stream, peer } = streamAndPeer();
    using _stream = stream;
    using _peer = peer;
    const data = new Uint8Array(new ArrayBuffer(1 << 24, { maxByteLength: 1 << 24 }));
    const write = runtime.spawn(stream.writeAll(data));
    untilIdle(runtime);
    change(data.buffer);
    while (!write.isFinished) {
      peer.recv(); // makes room for the write
      runtime.blockOn(yieldNow());
    }
    expect(() => runtime.blockOn(write)).toThrow(message);
  }
});

test.each([
  [{ hostname: "127.0.0.1", port: -1 }, "from 0 to 65535; got -1"],
  [{ hostname: "127.0.0.1", port: 65_536 }, "got 65536"],
  [{ hostname: "127.0.0.1", port: 1.5 }, "got 1.5"],
  [{ hostname: "127.0.0.1" }, "address.port must be a number; got undefined"],
  [{ hostname: "1.2.3", port: 1 }, 'got "1.2.3"'],
  [
    "127.0.0.1",
    'address must have a host and a port, such as "127.0.0.1:7000" or "[::1]:7000"; got "127.0.0.1"',
  ],
  ["::1:80", "must have a host and a port"],
  ["[localhost]:80", "must have a host and a port"],
  ["[fe80::1%]:80", 'got "fe80::1%"'],
  [undefined, "got undefined"],
])("connect and bind refuse the address %p", (address, message) => {
  expect(() => TcpStream.connect(address as string)).toThrow(message);
  expect(() => TcpListener.bind(address as string)).toThrow(message);
});

test("bind refuses a backlog of 0, and shutdown refuses an unknown direction", () => {
  const at = { hostname: "127.0.0.1", port: 0 };
  expect(() => TcpListener.bind({ ...at, backlog: 0 })).toThrow("address.backlog must be");
  const { stream, peer } = streamAndPeer();
  using _stream = stream;
  using _peer = peer;
  expect(() => stream.shutdown("down" as "read")).toThrow(
    'shutdown: how must be "read", "write" or "both"; got "down"',
  );
});

test("a task that throws closes the socket it holds with `using`, and the peer reads the end", () => {
  using runtime = new Runtime({ onUncaught: () => {} });
  const { stream, peer } = streamAndPeer();
  runtime.spawn(function* (): Coroutine<void> {
    using _ = stream;
    yield* stream.writeAll("half");
    throw new Error("on purpose");
  });
  runtime.block();
  expect([peer.recv(), peer.recv()]).toEqual(["half", ""]);
  peer.close();
});

test("a listener accepts again, without busy-polling, after the process ran out of fds", async () => {
  const code = `
import { Runtime, spawn, TcpListener, TcpStream, yieldNow, joinAll } from "${root}src/index.ts";
import { openSync, closeSync } from "node:fs";
using runtime = new Runtime();
runtime.blockOn(function* () {
  using listener = TcpListener.bind("127.0.0.1:0");
  const clients = yield* joinAll(Array.from({ length: 5 }, () => TcpStream.connect(listener.localAddress)));
  const hoard = [];
  try { for (;;) hoard.push(openSync("/dev/null", "r")); } catch (error) { console.log(error.code); }
  const accepting = spawn(function* () {
    const streams = [];
    while (streams.length < 5) streams.push(yield* listener.accept());
    return streams.length;
  });
  for (let i = 0; i < 200; i++) yield* yieldNow();
  const { rounds } = runtime.metrics();
  for (const fd of hoard) closeSync(fd);
  console.log(yield* accepting);
  console.log(runtime.metrics().rounds - rounds < 20 ? "did not spin" : "spun");
});`;
  const { code: exit, output } = await run(["bash", "-c", `ulimit -n 64; exec bun -e '${code}'`]);
  expect(output).toContain("EMFILE\n");
  expect(output).toContain("5\ndid not spin\n");
  expect(output).toContain("GUILLOTINE_FD_SHORTAGE");
  expect(exit).toBe(0);
});

test("10,000 connections, 1,000 at a time, leak no fd", () => {
  const before = openFds();
  {
    using runtime = new Runtime();
    using listener = TcpListener.bind("127.0.0.1:0");
    let served = 0;
    const server = runtime.spawn(function* () {
      for (;;) {
        const stream = yield* listener.accept();
        spawn(function* () {
          using _ = stream;
          const buffer = new Uint8Array(8);
          for (;;) {
            const count = yield* stream.read(buffer);
            if (count === 0) break;
            yield* stream.writeAll(buffer.subarray(0, count));
          }
          served++;
        }).detach();
      }
    });
    function* client(): Coroutine<void> {
      for (let count = 0; count < 10; count++) {
        using stream = yield* TcpStream.connect(listener.localAddress);
        yield* stream.writeAll("hello");
        stream.shutdown();
        expect((yield* readAll(stream, 8)).toString()).toBe("hello");
      }
    }
    runtime.blockOn(function* () {
      const clients = Array.from({ length: 1000 }, () => spawn(client));
      for (const handle of clients) yield* handle;
    });
    expect(served).toBe(10_000);
    server.abort();
    runtime.block();
  }
  expect(newFds(before)).toEqual([]);
});

test("what a task waits for names the address of its socket, and the time that is left", () => {
  using runtime = new Runtime();
  using listener = TcpListener.bind("127.0.0.1:0");
  const { port } = listener.localAddress;
  const accepting = runtime.spawn(listener.accept());
  using client = runtime.blockOn(TcpStream.connect(listener.localAddress));
  using stream = runtime.blockOn(accepting);
  using socket = UdpSocket.bind("127.0.0.1:0");
  const buffer = new Uint8Array(8);
  runtime.spawn(listener.accept());
  runtime.spawn(stream.read(buffer));
  runtime.spawn(socket.recvFrom(buffer));
  runtime.spawn(sleep(60_000));
  untilIdle(runtime);
  const { port: udpPort } = socket.localAddress;
  const phrases = runtime.tasks().map(({ waitsOn }) => waitsOn.replace(/fd \d+/, "fd N"));
  expect(phrases.slice(0, 3)).toEqual([
    `accept 127.0.0.1:${port}`,
    `read 127.0.0.1:${client.localAddress.port} (fd N)`,
    `read 127.0.0.1:${udpPort} (fd N)`,
  ]);
  expect(phrases[3]).toMatch(/^sleep, \d+ ms left$/);
});

test("the error of a connection names its peer", () => {
  const faults = new FaultSys();
  using runtime = new Runtime({ sys: faults.sys });
  using listener = TcpListener.bind("[::1]:0");
  const accepting = runtime.spawn(listener.accept());
  using client = runtime.blockOn(TcpStream.connect(listener.localAddress));
  using _accepted = runtime.blockOn(accepting);
  const peer = { address: "::1", port: listener.localAddress.port };
  for (const [call, use] of [
    ["recv", () => client.read(new Uint8Array(8))],
    ["recv", () => client.readChunk()],
    ["send", () => client.write(new Uint8Array(8))],
    ["send", () => client.writeAll("text")],
    ["sendv", () => client.writev(["text"])],
  ] as const) {
    faults.fail(call, -104);
    expect(sysError(() => runtime.blockOn<unknown>(use()))).toMatchObject({
      code: "ECONNRESET",
      ...peer,
    });
  }
  for (const [call, use] of [
    ["recv", () => client.tryRead(new Uint8Array(8))],
    ["send", () => client.tryWrite(new Uint8Array(8))],
  ] as const) {
    faults.fail(call, -104);
    expect(sysError(use)).toMatchObject({ code: "ECONNRESET", ...peer });
  }
});

test("errors of a closed socket, of text where bytes are expected, and of a port without a host say what is meant", () => {
  using runtime = new Runtime();
  using listener = TcpListener.bind("127.0.0.1:0");
  const stream = runtime.blockOn(TcpStream.connect(listener.localAddress));
  expect(() => stream.write("text" as never)).toThrow(
    'data must be a Uint8Array; got "text": encode text by a TextEncoder, or use writeAll of a stream',
  );
  const { fd } = stream;
  stream.close();
  expect(() => runtime.blockOn(stream.readChunk())).toThrow(`this TcpStream (fd ${fd}) is closed`);
  expect(() => stream.fd).toThrow(`this TcpStream (fd ${fd}) is closed`);
  expect(() => TcpListener.bind(8080 as never)).toThrow(
    'address must be { hostname, port } or a string such as "127.0.0.1:7000"; got 8080',
  );
});
