// VsockStream and VsockListener. Few machines can connect a vsock socket to themselves, so most tests run on a fake: a
// kernel that carries vsock connections by TCP over 127.0.0.1. Binding and refused connects also run on the real kernel.

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import fc from "fast-check";
import {
  ClosedError,
  Runtime,
  race,
  type SysError,
  TimeoutError,
  VsockListener,
  VsockStream,
} from "../../src/index.ts";
import { ECONNRESET, EINPROGRESS, SockaddrBuffer, type Sys } from "../../src/sys/index.ts";
import { caught, failureOf } from "../support/caught.ts";
import { FaultSys } from "../support/fault-sys.ts";
import { openFds } from "../support/fds.ts";
import { untilIdle } from "../support/idle.ts";

setDefaultTimeout(60_000); // a slow machine must not fail the test

const [AF_INET, AF_VSOCK] = [2, 40];
const CID = 3;
const ANY = 0xffff_ffff;

/** Returns the struct sockaddr_in in place of a struct sockaddr_vm. */
function toTcp({ bytes }: SockaddrBuffer): SockaddrBuffer {
  const view = new DataView(bytes.buffer);
  expect(view.getUint16(0, true)).toBe(AF_VSOCK);
  const port = view.getUint32(4, true);
  return new SockaddrBuffer().encode({ hostname: "127.0.0.1", port: port === ANY ? 0 : port });
}

/** Replaces a struct sockaddr_in that the kernel wrote. */
function toVsock(address: SockaddrBuffer): void {
  const { port } = address.decode();
  const bytes = new Uint8Array(16);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, AF_VSOCK, true);
  view.setUint32(4, port, true);
  view.setUint32(8, CID, true);
  address.encodeBytes(bytes);
}

/** The open sockets of this process. */
const sockets = (): string[] =>
  [...openFds().values()].filter((target) => target.startsWith("socket:"));

const connectByTcp = (real: Sys["connect"], fd: number, address: SockaddrBuffer): number =>
  real(fd, toTcp(address));

/** A kernel that carries vsock by TCP. */
function fake(): FaultSys {
  const kernel = new FaultSys();
  kernel.on("socket", (real, domain, type) => {
    expect(domain).toBe(AF_VSOCK);
    return real(AF_INET, type);
  });
  kernel.on("bind", (real, fd, address) => real(fd, toTcp(address)));
  kernel.on("connect", connectByTcp);
  for (const name of ["getsockname", "getpeername"] as const) {
    kernel.on(name, (real, fd, address) => {
      const result = real(fd, address);
      if (result >= 0) toVsock(address);
      return result;
    });
  }
  return kernel;
}

describe("on a kernel that carries vsock by TCP", () => {
  test("a stream and its listener exchange bytes, and know their addresses", () => {
    using runtime = new Runtime({ sys: fake().sys });
    runtime.blockOn(function* () {
      using listener = VsockListener.bind();
      const { cid, port } = listener.localAddress;
      expect(cid).toBe(CID);
      using client = yield* VsockStream.connect({ cid, port });
      using server = yield* listener.accept();
      expect(client.remoteAddress).toEqual({ cid, port });
      expect(server.remoteAddress).toEqual(client.localAddress);
      yield* client.writeAll("hello");
      client.shutdown();
      expect(new TextDecoder().decode((yield* server.readChunk()) ?? undefined)).toBe("hello");
      expect(yield* server.readChunk()).toBeNull();
      yield* server.writeAll("bye");
      expect(yield* client.read(new Uint8Array(8))).toBe(3);
      const own = `vsock:${CID}:${client.localAddress.port}`;
      const text = `VsockStream { ${own} -> vsock:${CID}:${port}, fd ${client.fd} }`;
      expect(Bun.inspect(client)).toBe(text);
    });
  });

  test("errors and waits name the address", () => {
    const kernel = fake();
    using runtime = new Runtime({ sys: kernel.sys });
    runtime.blockOn(function* () {
      using listener = VsockListener.bind();
      const to = listener.localAddress;
      using client = yield* VsockStream.connect(to);
      using server = yield* listener.accept();
      const reading = runtime.spawn(server.read(new Uint8Array(8)));
      yield* untilIdle();
      const waits = runtime.tasks().map(({ waitsOn }) => waitsOn);
      expect(waits).toContain(`read vsock:${CID}:${client.localAddress.port} (fd ${server.fd})`);
      reading.abort();
      kernel.fail("recv", -ECONNRESET);
      const error = yield* failureOf<SysError>(client.read(new Uint8Array(8)));
      expect(error.message).toBe(`recv ECONNRESET vsock:${CID}:${to.port}`);
      kernel.fail("connect", -ECONNRESET);
      expect((yield* failureOf<SysError>(VsockStream.connect(to))).message).toBe(
        `connect ECONNRESET vsock:${CID}:${to.port}`,
      );
      listener.close();
      kernel.on("connect", connectByTcp);
      expect((yield* failureOf<SysError>(VsockStream.connect(to))).code).toBe("ECONNREFUSED");
    });
  });

  test("a connect that is dropped, or ends too late, closes its socket", () => {
    const kernel = fake();
    using runtime = new Runtime({ sys: kernel.sys });
    kernel.on("connect", () => -EINPROGRESS);
    const before = sockets();
    runtime.blockOn(function* () {
      const never = VsockStream.connect({ cid: 2, port: 1 });
      const task = runtime.spawn(never);
      yield* untilIdle();
      expect(sockets()).toHaveLength(before.length + 1);
      task.abort();
      yield* failureOf(task);
      const late = VsockStream.connect({ cid: 2, port: 1 }, { timeoutMs: 1 });
      expect(yield* failureOf(late)).toBeInstanceOf(TimeoutError);
      kernel.on("connect", connectByTcp);
      using listener = VsockListener.bind();
      const connect = () => VsockStream.connect(listener.localAddress);
      const winner = yield* race(connect(), connect()); // the loser's stream is closed
      winner.close();
    });
    expect(sockets()).toEqual(before);
  });

  test("a closed stream and a closed listener throw ClosedError", () => {
    using runtime = new Runtime({ sys: fake().sys });
    runtime.blockOn(function* () {
      const listener = VsockListener.bind();
      const stream = yield* VsockStream.connect(listener.localAddress);
      stream.close();
      listener.close();
      expect(() => stream.remoteAddress).toThrow(ClosedError);
      expect(() => listener.localAddress).toThrow(ClosedError);
      expect(yield* failureOf(listener.accept())).toBeInstanceOf(ClosedError);
    });
  });
});

describe("on the kernel of this machine", () => {
  let reason = "";
  try {
    VsockListener.bind().close();
  } catch (error) {
    reason = (error as Error).message;
    console.log(`skipped: no vsock: ${reason}`);
  }

  test.skipIf(reason !== "")(
    "a listener has a port of its own, or the one that it asks for",
    () => {
      using any = VsockListener.bind();
      const { port } = any.localAddress;
      expect(port).toBeGreaterThan(1023);
      expect(any.localAddress.cid).toBe(ANY);
      expect(() => VsockListener.bind({ port })).toThrow(`bind EADDRINUSE vsock:${ANY}:${port}`);
      any.close();
      using same = VsockListener.bind({ port });
      expect(same.localAddress.port).toBe(port);
    },
  );
});

test("addresses of all contexts and ports reach the kernel, and come back", () => {
  const uint32 = fc.integer({ min: 0, max: ANY });
  const kernel = fake();
  let bound = new Uint8Array();
  kernel.on("bind", (_real, _fd, address) => {
    bound = new Uint8Array(address.toBytes());
    return 0;
  });
  kernel.on("getsockname", (_real, _fd, address) => {
    address.encodeBytes(bound);
    return 0;
  });
  using runtime = new Runtime({ sys: kernel.sys });
  runtime.blockOn(function* () {
    fc.assert(
      fc.property(uint32, uint32, (cid, port) => {
        using listener = VsockListener.bind({ cid, port });
        expect(listener.localAddress).toEqual({ cid, port });
      }),
    );
  });
});

test("invalid arguments are errors that name them", () => {
  const junk = (value: unknown): never => value as never;
  for (const [call, text] of [
    [() => VsockStream.connect(junk(1)), "VsockStream.connect: address must be an object; got 1"],
    [() => VsockStream.connect(junk({})), "VsockStream.connect: cid must be a number"],
    [() => VsockStream.connect({ cid: 2, port: -1 }), "port must be an integer from 0 to 4294967"],
    [() => VsockStream.connect({ cid: 2, port: 1 }, junk(1)), "options must be an object; got 1"],
    [() => VsockStream.connect({ cid: 2, port: 1 }, { timeoutMs: -1 }), "timeoutMs must be"],
    [() => VsockListener.bind(junk("x")), 'VsockListener.bind: options must be an object; got "x"'],
    [() => VsockListener.bind({ backlog: 0 }), "VsockListener.bind: backlog must be"],
    [() => VsockListener.bind({ cid: 2 ** 32 }), "cid must be an integer from 0 to 4294967295"],
  ] as const) {
    expect((caught(call) as Error).message).toContain(text);
  }
});
