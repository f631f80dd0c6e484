// RawSocket: messages with byte addresses and control messages, by families that every Linux has.

import { expect, setDefaultTimeout, test } from "bun:test";
import fc from "fast-check";
import { ClosedError, RawSocket, Runtime, type SysError, TcpListener } from "../../src/index.ts";
import {
  EAGAIN,
  EINPROGRESS,
  EINTR,
  ENOTCONN,
  EPERM,
  SockaddrBuffer,
} from "../../src/sys/index.ts";
import { caught, failureOf } from "../support/caught.ts";
import { FaultSys } from "../support/fault-sys.ts";
import { openFds } from "../support/fds.ts";
import { untilIdle } from "../support/idle.ts";

setDefaultTimeout(60_000); // a slow machine must not fail the test

const [AF_INET, AF_INET6, AF_UNIX] = [2, 10, 1];
const [SOCK_STREAM, SOCK_DGRAM, SOCK_RAW] = [1, 2, 3];
const [IPPROTO_IP, IPPROTO_ICMP, IPPROTO_UDP] = [0, 1, 17];
const [IP_TTL, IP_RECVTTL] = [2, 12];

/** A struct sockaddr_in of 127.0.0.1. */
function loopback(port = 0): Uint8Array {
  return new SockaddrBuffer().encode({ hostname: "127.0.0.1", port }).toBytes();
}

function open(): RawSocket {
  const socket = RawSocket.open(AF_INET, SOCK_DGRAM, IPPROTO_UDP);
  socket.bind(loopback());
  return socket;
}

test("an address of any family is kept byte by byte", () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 2, maxLength: 128 }), (bytes) => {
      expect(new SockaddrBuffer().encodeBytes(bytes).toBytes()).toEqual(bytes);
    }),
  );
  const buffer = new SockaddrBuffer().encode({ hostname: "::1", port: 7 });
  expect(new SockaddrBuffer().encodeBytes(buffer.toBytes()).decode()).toEqual(buffer.decode());
});

test("messages arrive with the sender's address, also empty ones and those that are too long", () => {
  using runtime = new Runtime();
  using a = open();
  using b = open();
  runtime.blockOn(function* () {
    const buffer = new Uint8Array(4);
    for (const length of [3, 0, 9]) {
      const data = new Uint8Array(length).fill(7);
      expect(yield* a.send(data, { address: b.localAddressBytes })).toBe(length);
      expect(yield* b.recv(buffer)).toEqual({
        bytes: Math.min(length, 4),
        isTruncated: length > 4,
        address: a.localAddressBytes,
        control: [],
        isControlTruncated: false,
      });
    }
    expect(buffer).toEqual(new Uint8Array(4).fill(7));
  });
});

test("an address is copied, also if it is a Buffer", () => {
  using runtime = new Runtime();
  using a = open();
  using b = open();
  runtime.blockOn(function* () {
    for (const start of [
      (address: Uint8Array) => a.send(new Uint8Array(1), { address }),
      (address: Uint8Array) => a.connect(address),
    ]) {
      const address = Buffer.from(b.localAddressBytes);
      const work = start(address);
      address.fill(0xff);
      yield* work;
    }
    expect((yield* b.recv(new Uint8Array(1))).bytes).toBe(1);
  });
});

test("control messages go along in both directions", () => {
  using runtime = new Runtime();
  using a = open();
  using b = open();
  b.setOption(IPPROTO_IP, IP_RECVTTL, true);
  const data = new Uint8Array(new Int32Array([42]).buffer);
  runtime.blockOn(function* () {
    const options = {
      address: b.localAddressBytes,
      control: [{ level: IPPROTO_IP, type: IP_TTL, data }],
    };
    yield* a.send(new Uint8Array(1), options);
    const { control } = yield* b.recv(new Uint8Array(8));
    expect(control).toEqual([{ level: IPPROTO_IP, type: IP_TTL, data }]);
    const tooLong = [{ level: IPPROTO_IP, type: IP_TTL, data: new Uint8Array(4096) }];
    const error = yield* failureOf(a.send(new Uint8Array(1), { ...options, control: tooLong }));
    expect(error).toBeInstanceOf(RangeError);
  });
});

test("a connected socket has a peer, to which it sends", () => {
  using runtime = new Runtime();
  using a = open();
  using b = open();
  expect(() => a.remoteAddressBytes).toThrow("getpeername ENOTCONN");
  runtime.blockOn(function* () {
    expect((yield* failureOf<SysError>(a.send(new Uint8Array(1)))).code).toBe("EDESTADDRREQ");
    yield* a.connect(b.localAddressBytes);
    expect(a.remoteAddressBytes).toEqual(b.localAddressBytes);
    yield* a.send(new Uint8Array(5));
    expect((yield* b.recv(new Uint8Array(8))).bytes).toBe(5);
  });
});

test("a byte stream connects, ends with 0 bytes, and reports a refused connect", () => {
  using runtime = new Runtime();
  using listener = TcpListener.bind("127.0.0.1:0");
  const { port } = listener.localAddress;
  runtime.blockOn(function* () {
    using socket = RawSocket.open(AF_INET, SOCK_STREAM);
    yield* socket.connect(loopback(port));
    const peer = yield* listener.accept();
    yield* socket.send(new Uint8Array([1, 2]));
    expect(yield* peer.readChunk()).toEqual(new Uint8Array([1, 2]));
    yield* peer.writeAll("hello");
    const buffer = new Uint8Array(2); // MSG_TRUNC would discard the rest
    expect(yield* socket.recv(buffer)).toMatchObject({ bytes: 2, isTruncated: false });
    expect(yield* socket.recv(new Uint8Array(9))).toMatchObject({ bytes: 3, isTruncated: false });
    peer.close();
    expect((yield* socket.recv(buffer)).bytes).toBe(0);
    listener.close();
    using other = RawSocket.open(AF_INET, SOCK_STREAM);
    expect(yield* failureOf(other.connect(loopback(port)))).toMatchObject({
      code: "ECONNREFUSED",
      syscall: "connect",
    });
  });
});

test("a connect that takes time ends when the socket has a peer, and not before", () => {
  const faults = new FaultSys();
  using runtime = new Runtime({ sys: faults.sys });
  using listener = TcpListener.bind("127.0.0.1:0");
  // The kernel says "in progress" although it has connected, then once "no peer".
  faults.on("connect", (real, fd, address) => {
    real(fd, address);
    return -EINPROGRESS;
  });
  faults.fail("getpeername", -ENOTCONN);
  runtime.blockOn(function* () {
    using socket = RawSocket.open(AF_INET, SOCK_STREAM);
    const connecting = runtime.spawn(socket.connect(loopback(listener.localAddress.port)));
    const stream = yield* listener.accept();
    yield* untilIdle();
    expect(connecting.isFinished).toBe(false);
    yield* stream.writeAll("x"); // the next event of the socket, which is writable still
    yield* connecting;
    expect(faults.count("connect")).toBe(1);
    expect(faults.count("getpeername")).toBe(2);
    stream.close();
  });
});

test("a send and a receive are tried again after EINTR, and wait after EAGAIN", () => {
  const faults = new FaultSys();
  using runtime = new Runtime({ sys: faults.sys });
  runtime.blockOn(function* () {
    using a = open();
    using b = open();
    faults.fail("sendmsg", -EINTR, -EAGAIN).fail("recvmsg", -EINTR, -EAGAIN);
    yield* a.send(new Uint8Array(3), { address: b.localAddressBytes });
    expect((yield* b.recv(new Uint8Array(8))).bytes).toBe(3);
    expect([faults.count("sendmsg"), faults.count("recvmsg")]).toEqual([3, 3]);
  });
});

test("a dropped receive leaves the message for the next one", () => {
  using runtime = new Runtime();
  using a = open();
  using b = open();
  const dropped = runtime.spawn(b.recv(new Uint8Array(8)));
  untilIdle(runtime);
  dropped.abort();
  untilIdle(runtime);
  runtime.blockOn(function* () {
    yield* a.send(new Uint8Array(3), { address: b.localAddressBytes });
    expect((yield* b.recv(new Uint8Array(8))).bytes).toBe(3);
  });
});

test("a close ends what waits, and closes the fd once", () => {
  using runtime = new Runtime();
  const socket = open();
  const { fd } = socket;
  const waiting = runtime.spawn(function* () {
    return yield* failureOf(socket.recv(new Uint8Array(8)));
  });
  untilIdle(runtime);
  socket.close();
  socket.close();
  expect(runtime.blockOn(waiting)).toBeInstanceOf(ClosedError);
  for (const use of [() => socket.localAddressBytes, () => socket.bind(loopback())]) {
    expect(use).toThrow(ClosedError);
  }
  runtime.blockOn(function* () {
    expect(yield* failureOf(socket.connect(loopback()))).toBeInstanceOf(ClosedError);
    expect(yield* failureOf(socket.send(new Uint8Array(1)))).toBeInstanceOf(ClosedError);
  });
  expect(openFds().has(fd)).toBe(false);
});

test("the errors of open say what is missing", () => {
  const faults = new FaultSys().fail("socket", -EPERM);
  using runtime = new Runtime({ sys: faults.sys });
  runtime.blockOn(function* () {
    expect(() => RawSocket.open(AF_INET, SOCK_RAW, IPPROTO_ICMP)).toThrow(
      "socket EPERM: a socket of type SOCK_RAW (3) needs CAP_NET_RAW",
    );
    expect(() => RawSocket.open(AF_INET, SOCK_DGRAM, 255)).toThrow(
      "socket EPROTONOSUPPORT: the family has no such type or protocol",
    );
  });
  expect(() => RawSocket.open(9999, SOCK_DGRAM)).toThrow("socket EAFNOSUPPORT");
  expect(() => RawSocket.open(AF_UNIX, SOCK_DGRAM)).toThrow("domain must not be AF_UNIX (1)");
  expect(() => RawSocket.open("2" as never, 2)).toThrow(
    'RawSocket.open: domain must be a 32-bit integer; got "2"',
  );
});

test("invalid arguments are errors that name them", () => {
  using socket = open();
  const junk = (value: unknown): never => value as never;
  const bytes = new Uint8Array(1);
  for (const [call, message] of [
    [() => socket.bind(junk("127.0.0.1")), 'bind: address must be a Uint8Array; got "127.0.0.1"'],
    [() => socket.bind(bytes), "bind: address must be a struct sockaddr of 2 to 128 bytes"],
    [() => socket.connect(new Uint8Array(129)), "got 129 bytes"],
    [() => socket.send(junk("x")), 'data must be a Uint8Array; got "x"'],
    [() => socket.send(bytes, junk(1)), "send: options must be an object; got 1"],
    [() => socket.send(bytes, { control: junk({}) }), "send: control must be an array"],
    [
      () => socket.send(bytes, { control: [junk({ level: 1 })] }),
      "send: type of a control message",
    ],
    [() => socket.send(bytes, { control: [{ level: 1, type: 1, data: junk(1) }] }), "send: data"],
    [() => socket.recv(new Uint8Array()), "buffer must hold at least one byte"],
  ] as const) {
    expect(caught(call)).toMatchObject({ message: expect.stringContaining(message) });
  }
});

test("a socket of type SOCK_RAW receives packets with their IP header", () => {
  using runtime = new Runtime();
  let socket: RawSocket;
  try {
    socket = RawSocket.open(AF_INET, SOCK_RAW, IPPROTO_ICMP);
  } catch (error) {
    console.log(`skipped: ${(error as SysError).message}`);
    expect((error as SysError).code).toBe("EPERM");
    return;
  }
  using _ = socket;
  // An echo reply that answers nothing: only raw sockets receive it. Type, code, checksum; identifier, sequence.
  const packet = new Uint8Array([0, 0, 0xff - 0xab, 0xff - 0xcd, 0xab, 0xcd, 0, 0]);
  runtime.blockOn(function* () {
    yield* socket.send(packet, { address: loopback() });
    const buffer = new Uint8Array(64);
    for (;;) {
      const { bytes } = yield* socket.recv(buffer);
      const payload = buffer.subarray((buffer[0]! & 15) * 4, bytes);
      if (payload[4] !== 0xab || payload[5] !== 0xcd) continue; // other programs ping, too
      expect(payload).toEqual(packet);
      return;
    }
  });
});

test("an IPv6 socket has addresses of 28 bytes", () => {
  using socket = RawSocket.open(AF_INET6, SOCK_DGRAM);
  socket.bind(new SockaddrBuffer().encode({ hostname: "::1", port: 0 }).toBytes());
  expect(socket.localAddressBytes).toHaveLength(28);
  expect(String(Bun.inspect(socket))).toBe(`RawSocket { fd ${socket.fd} }`);
});
