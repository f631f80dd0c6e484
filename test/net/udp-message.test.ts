// recvMessage and sendMessage of UdpSocket: where a datagram was sent to, and where from; many datagrams as one message.

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import fc from "fast-check";
import { ClosedError, Runtime, spawn, UdpSocket, yieldNow } from "../../src/index.ts";
import { failureOf } from "../support/caught.ts";
import { FaultSys } from "../support/fault-sys.ts";

setDefaultTimeout(60_000); // a slow machine must not fail the test

/** The loopback interface is the first that the kernel makes. */
const LOOPBACK = 1;
const withInfo = { packetInfo: true };

/** Returns a socket that uses the runtime's `sys`. */
const bindIn = (runtime: Runtime, hostname = "127.0.0.1"): UdpSocket =>
  runtime.blockOn(function* () {
    yield* yieldNow();
    return UdpSocket.bind({ hostname, port: 0, options: withInfo });
  });

describe.each([
  ["IPv4", "0.0.0.0", "127.0.0.1", "127.0.0.2"],
  ["IPv6", "::", "::1", "::1"],
  ["IPv4 on an IPv6 socket", "::", "::ffff:127.0.0.1", "::ffff:127.0.0.2"],
])("over %s", (_, any, client, server) => {
  test("a server on the wildcard address replies from where the datagram was sent to", () => {
    using runtime = new Runtime();
    using a = UdpSocket.bind({ hostname: any, port: 0, options: withInfo });
    using b = UdpSocket.bind({ hostname: client, port: 0 });
    expect(a.options.packetInfo).toBe(true);
    const to = { hostname: server, port: a.localAddress.port };
    b.connect(to); // receives from that address only
    const buffer = new Uint8Array(8);
    runtime.blockOn(function* () {
      yield* b.send(new Uint8Array(3));
      const message = yield* a.recvMessage(buffer);
      expect(message).toEqual({
        bytes: 3,
        isTruncated: false,
        address: b.localAddress,
        destination: server,
        interfaceIndex: LOOPBACK,
        segmentBytes: null,
      });
      const { address, destination, interfaceIndex } = message;
      const from = { address, source: destination, interface: interfaceIndex };
      expect(yield* a.sendMessage(new Uint8Array(5), from)).toBe(5);
      expect(yield* b.recvFrom(buffer)).toMatchObject({ bytes: 5, address: to });
      // From the interface alone, named or numbered, and to the connected peer.
      a.connect(b.localAddress);
      b.connect({ hostname: client, port: a.localAddress.port });
      for (const device of ["lo", LOOPBACK]) {
        expect(yield* a.sendMessage(new Uint8Array(0), { interface: device })).toBe(0);
        expect((yield* b.recvFrom(buffer)).bytes).toBe(0);
      }
    });
  });
});

test("a message knows nothing of its way while the option is off, or if another receive fetched it", () => {
  using runtime = new Runtime();
  using socket = UdpSocket.bind("127.0.0.1:0");
  const { localAddress } = socket;
  const buffer = new Uint8Array(2);
  const unknown = { destination: null, interfaceIndex: null, segmentBytes: null };
  runtime.blockOn(function* () {
    const data = new Uint8Array(3);
    yield* socket.sendTo(data, localAddress);
    const message = { bytes: 2, isTruncated: true, address: localAddress };
    expect(yield* socket.recvMessage(buffer)).toEqual({ ...message, ...unknown });
    socket.options.packetInfo = true;
    for (let round = 0; round < 9; round++) {
      yield* socket.sendMany([{ data, address: localAddress }]);
      yield* socket.sendMany([{ data, address: localAddress }]);
      yield* socket.recvFrom(buffer); // the ninth fetches both
      const known = { ...unknown, destination: "127.0.0.1", interfaceIndex: LOOPBACK };
      expect(yield* socket.recvMessage(buffer)).toEqual({
        ...message,
        ...(round < 8 ? known : unknown),
      });
    }
  });
});

test("messages retry after EAGAIN and EINTR, and a dropped receive leaves the datagram", () => {
  const faults = new FaultSys();
  using runtime = new Runtime({ sys: faults.sys });
  using socket = bindIn(runtime);
  const { localAddress: address } = socket;
  runtime.blockOn(function* () {
    faults.fail("sendmsg", -11, -4).fail("recvmsg", -4);
    expect(yield* socket.sendMessage(new Uint8Array(3), { address })).toBe(3);
    const first = spawn(() => socket.recvMessage(new Uint8Array(8)));
    first.abort();
    expect((yield* socket.recvMessage(new Uint8Array(8))).bytes).toBe(3);
    const waits = spawn(() => socket.recvMessage(new Uint8Array(8)));
    yield* yieldNow();
    yield* socket.sendMessage(new Uint8Array(4), { address });
    expect((yield* waits).bytes).toBe(4);
    const closed = spawn(() => socket.recvMessage(new Uint8Array(8)));
    yield* yieldNow();
    socket.close();
    expect(yield* failureOf(closed)).toBeInstanceOf(ClosedError);
    expect(yield* failureOf(socket.sendMessage(new Uint8Array(1), { address }))).toBeInstanceOf(
      ClosedError,
    );
  });
  expect(faults.count("sendmsg")).toBe(4);
});

test("sendMessage from an interface knows an IPv4 peer in whatever form it is written", () => {
  const sources: string[] = [];
  const faults = new FaultSys().on("sendmsg", (_, _fd, message) => {
    for (const { data } of message.controls())
      sources.push(Buffer.from(data).toString("hex", 8, 12));
    return message.data.length;
  });
  using runtime = new Runtime({ sys: faults.sys });
  using socket = bindIn(runtime, "::");
  const sourceFor = (hostname: string): string | undefined => {
    const address = { hostname, port: 7000 };
    runtime.blockOn(socket.sendMessage(new Uint8Array(1), { address, interface: LOOPBACK }));
    return sources.pop();
  };
  for (const hostname of ["::ffff:127.0.0.1", "::FFFF:7f00:1", "0:0:0:0:0:ffff:7f00:1"]) {
    expect(sourceFor(hostname)).toBe("0000ffff");
  }
  for (const hostname of ["::ffff:1:2:3", "::1.2.3.4", "::1"]) {
    expect(sourceFor(hostname)).toBe("00000000");
  }
});

test("a source that is not of this machine, and an interface that does not exist, throw", () => {
  using runtime = new Runtime();
  using socket = UdpSocket.bind("0.0.0.0:0");
  const address = "127.0.0.1:7000";
  const send = (options: object) => () =>
    runtime.blockOn(socket.sendMessage(new Uint8Array(1), options));
  expect(send({ address, source: "192.0.2.1" })).toThrow("sendmsg E");
  expect(send({ address, interface: "nosuch0" })).toThrow("if_nametoindex ENODEV nosuch0");
  expect(send({ address, interface: 0x7fffffff })).toThrow("sendmsg ENODEV 127.0.0.1:7000");
  expect(send({})).toThrow("EDESTADDRREQ");
  expect(send({ address, source: "::1" })).toThrow(
    'sendMessage: source must be an IPv4 literal, as the socket\'s address is; got "::1"',
  );
  expect(send({ address, source: "localhost" })).toThrow('got "localhost"');
  expect(send({ address, source: 7 })).toThrow("source must be an IPv4 literal");
  expect(send({ address, interface: 0 })).toThrow(
    "sendMessage: interface must be a positive integer; got 0",
  );
  expect(send({ address, interface: "" })).toThrow("sendMessage: interface must be the name");
  expect(send({ address: "a.test:1" })).toThrow("must be an IPv4 or IPv6 literal");
  expect(() => socket.sendMessage(new Uint8Array(1), null as never)).toThrow(
    "sendMessage: options must be an object; got null",
  );
  expect(() => socket.sendMessage("x" as never)).toThrow("data must be a Uint8Array");
  expect(() => socket.recvMessage(new Uint8Array(0))).toThrow("at least one byte");
});

test.each(["127.0.0.1", "::1"])(
  "one message to %s is many datagrams, which gro receives as one",
  (hostname) => {
    const faults = new FaultSys();
    using runtime = new Runtime({ sys: faults.sys });
    using sender = bindIn(runtime, hostname);
    using single = bindIn(runtime, hostname);
    using merged = UdpSocket.bind({ hostname, port: 0, options: { gro: true, packetInfo: true } });
    expect([single.options.gro, merged.options.gro]).toEqual([false, true]);
    const data = new Uint8Array(1050).map((_, index) => index);
    const buffer = new Uint8Array(65_536);
    runtime.blockOn(function* () {
      const send = (to: UdpSocket, bytes = data) =>
        sender.sendMessage(bytes, {
          address: to.localAddress,
          source: hostname,
          segmentBytes: 100,
        });
      expect(yield* send(single)).toBe(1050);
      const received: Uint8Array[] = [];
      while (received.length < 11) {
        for (const datagram of yield* single.recvMany()) received.push(datagram.data);
      }
      expect(received.map(({ length }) => length)).toEqual([...new Array(10).fill(100), 50]);
      expect(Buffer.concat(received).equals(data)).toBe(true);
      expect(yield* send(merged)).toBe(1050);
      expect(yield* merged.recvMessage(buffer)).toEqual({
        bytes: 1050,
        isTruncated: false,
        address: sender.localAddress,
        destination: hostname,
        interfaceIndex: LOOPBACK,
        segmentBytes: 100,
      });
      expect(Buffer.compare(buffer.subarray(0, 1050), data)).toBe(0);
      yield* send(merged, data.subarray(0, 100));
      expect(yield* merged.recvMessage(buffer)).toMatchObject({ bytes: 100, segmentBytes: null });
      const tooMany = { address: single.localAddress, segmentBytes: 1 };
      expect(yield* failureOf(sender.sendMessage(data, tooMany))).toMatchObject({ code: "EINVAL" });
    });
    expect(faults.count("sendmsg")).toBe(4);
    for (const segmentBytes of [0, 65_536, 1.5, "100"]) {
      expect(() => sender.sendMessage(data, { segmentBytes: segmentBytes as number })).toThrow(
        "sendMessage: segmentBytes must be an integer from 1 to 65535; got",
      );
    }
  },
);

test("a link-local address has its interface as its scope, in both directions", () => {
  const sent: number[][] = [];
  const faults = new FaultSys().on("sendmsg", (_, _fd, message) => {
    for (const { level, type, data } of message.controls()) sent.push([level, type, ...data]);
    return message.data.length;
  });
  using runtime = new Runtime({ sys: faults.sys });
  using socket = bindIn(runtime, "::");
  const address = { hostname: "::1", port: 7000 };
  const ip = [0xfe, 0x80, ...new Array(13).fill(0), 9];
  runtime.blockOn(function* () {
    yield* socket.sendMessage(new Uint8Array(1), { address, source: "fe80::9%lo" });
    yield* socket.sendMessage(new Uint8Array(1), { address, source: "fe80::9%3", interface: 4 });
  });
  expect(sent).toEqual([
    [41, 50, ...ip, 1, 0, 0, 0],
    [41, 50, ...ip, 4, 0, 0, 0],
  ]);
  faults.on("recvmsg", (_, _fd, message) => {
    message.address.reset().encode(address);
    message.addControl(41, 50, new Uint8Array([...ip, 3, 0, 0, 0]));
    return 1;
  });
  expect(runtime.blockOn(socket.recvMessage(new Uint8Array(1)))).toMatchObject({
    destination: "fe80::9%3",
    interfaceIndex: 3,
  });
});

test("control messages of any bytes, cut at any length, are understood or ignored", () => {
  let control = new Uint8Array(0);
  const faults = new FaultSys().on("recvmsg", (_, _fd, message) => {
    message.address.reset().encode({ hostname: "127.0.0.1", port: 1 });
    message.setControl(control);
    return 1;
  });
  using runtime = new Runtime({ sys: faults.sys });
  using socket = bindIn(runtime);
  const receive = () => runtime.blockOn(socket.recvMessage(new Uint8Array(1)));
  /** struct cmsghdr: a length of 64 bits, level, type; then the data. */
  const bytesOf = (level: number, type: number, data: readonly number[]) =>
    new Uint8Array(
      [16 + data.length, ...new Array(7).fill(0), level, 0, 0, 0, type, 0, 0, 0].concat(data),
    );
  fc.assert(
    fc.property(
      fc.constantFrom([0, 8, 12], [41, 50, 20], [17, 104, 4]),
      fc.array(fc.nat(255), { minLength: 20, maxLength: 20 }),
      fc.nat(40),
      ([level, type, needed], data, cut) => {
        control = bytesOf(level!, type!, data.slice(0, needed)).subarray(0, cut);
        const { destination, segmentBytes } = receive();
        expect((destination ?? segmentBytes) !== null).toBe(control.length >= 16 + needed!);
      },
    ),
  );
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
      control = new Uint8Array(bytes);
      expect(receive().bytes).toBe(1);
    }),
  );
});
