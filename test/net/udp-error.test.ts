// recvError of UdpSocket: the errors of datagrams that were sent.

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import fc from "fast-check";
import {
  ClosedError,
  Runtime,
  type SocketAddress,
  spawn,
  UdpSocket,
  yieldNow,
} from "../../src/index.ts";
import { caught, failureOf } from "../support/caught.ts";
import { FaultSys } from "../support/fault-sys.ts";
import { untilIdle } from "../support/idle.ts";

setDefaultTimeout(60_000); // a slow machine must not fail the test

const keepsErrors = { receiveErrors: true };
const open = (hostname = "127.0.0.1"): UdpSocket =>
  UdpSocket.bind({ hostname, port: 0, options: keepsErrors });

/** Returns an address whose port no socket has. */
function refusing(hostname = "127.0.0.1") {
  using socket = UdpSocket.bind({ hostname, port: 0 });
  return socket.localAddress;
}

/** Sends a byte, again if an error that was not taken yet fails the send. */
function* deliver(socket: UdpSocket, to: SocketAddress) {
  for (;;) {
    try {
      return yield* socket.sendTo(new Uint8Array(1), to);
    } catch (error) {
      expect(error).toMatchObject({ code: "ECONNREFUSED" });
    }
  }
}

/** Returns a socket that uses the runtime's `sys`. */
const openIn = (runtime: Runtime): UdpSocket =>
  runtime.blockOn(function* () {
    yield* yieldNow();
    return open();
  });

describe.each([
  ["IPv4", "127.0.0.1", "127.0.0.1", { type: 3, code: 3 }],
  ["IPv6", "::1", "::1", { type: 1, code: 4 }],
  ["IPv4 on an IPv6 socket", "::", "::ffff:127.0.0.1", { type: 3, code: 3 }],
])("over %s", (_, local, remote, icmp) => {
  test("the error names the destination that failed, and who reported it", () => {
    using runtime = new Runtime();
    using socket = open(local);
    expect(socket.options.receiveErrors).toBe(true);
    const { port } = refusing(local);
    const to = { hostname: remote, port };
    runtime.blockOn(function* () {
      yield* socket.sendTo(new Uint8Array([1, 2, 3]), to);
      const { error, ...rest } = yield* socket.recvError();
      expect(error).toMatchObject({ code: "ECONNREFUSED", address: remote, port });
      expect(error.message).toBe(`send ECONNREFUSED ${remote}:${port}: reported by ${remote}`);
      const data = new Uint8Array([1, 2, 3]);
      expect(rest).toEqual({ address: to, reporter: remote, icmp, mtuBytes: null, data });
    });
  });
});

test("errors of several destinations arrive one by one, and the socket still receives", () => {
  using runtime = new Runtime();
  using socket = open();
  using peer = UdpSocket.bind("127.0.0.1:0");
  const gone = [refusing(), refusing(), refusing()];
  runtime.blockOn(function* () {
    const errors = spawn(function* () {
      const ports: number[] = [];
      while (ports.length < gone.length) ports.push((yield* socket.recvError()).address.port);
      return ports;
    });
    const receives = spawn(function* () {
      const buffer = new Uint8Array(8);
      let received = 0;
      while (received < 3) {
        try {
          received += (yield* socket.recvFrom(buffer)).bytes;
        } catch (error) {
          expect(error).toMatchObject({ code: "ECONNREFUSED" }); // an error that was not taken yet
        }
      }
    });
    yield* untilIdle();
    for (const to of gone) {
      yield* peer.sendTo(new Uint8Array(1), socket.localAddress);
      yield* deliver(socket, to);
    }
    yield* receives;
    expect(yield* errors).toEqual(gone.map(({ port }) => port));
  });
});

test("a wait for an error neither misses it nor keeps a receive from its datagram", () => {
  using runtime = new Runtime({ spinMicros: 0 });
  using socket = open();
  const { localAddress } = socket;
  const buffer = new Uint8Array(8);
  const to = refusing();
  runtime.blockOn(function* () {
    for (let round = 0; round < 100; round++) {
      // A datagram is there when the wait for an error finds none.
      yield* socket.sendTo(new Uint8Array(3), localAddress);
      const errors = spawn(() => socket.recvError());
      yield* untilIdle();
      expect((yield* socket.recvFrom(buffer)).bytes).toBe(3);
      const receives = spawn(() => socket.recvFrom(buffer)); // finds nothing, and clears the readiness
      yield* untilIdle();
      yield* socket.sendTo(new Uint8Array(3), localAddress);
      expect((yield* receives).bytes).toBe(3);
      yield* socket.sendTo(new Uint8Array(1), to);
      expect((yield* errors).address).toEqual(to);
      if (round % 2 === 0) continue;
      const dropped = spawn(() => socket.recvError());
      yield* untilIdle();
      dropped.abort();
      yield* socket.sendTo(new Uint8Array(2), to);
      expect((yield* socket.recvError()).data.length).toBe(2);
    }
  });
});

test("a wait retries after EINTR, and ends when the socket closes", () => {
  const faults = new FaultSys().fail("recvmsg", -4, -4);
  using runtime = new Runtime({ sys: faults.sys });
  using socket = openIn(runtime);
  runtime.blockOn(function* () {
    yield* socket.sendTo(new Uint8Array(1), refusing());
    expect((yield* socket.recvError()).error.code).toBe("ECONNREFUSED");
    expect(faults.count("recvmsg")).toBeGreaterThan(2);
    const closed = spawn(() => socket.recvError());
    yield* untilIdle();
    const later = socket.recvError();
    const calls = faults.count("recvmsg");
    socket.close();
    expect(yield* failureOf(closed)).toBeInstanceOf(ClosedError);
    expect(yield* failureOf(later)).toBeInstanceOf(ClosedError);
    expect(faults.count("recvmsg")).toBe(calls); // the fd may be another's by now
  });
});

test("recvError throws unless the socket keeps errors", () => {
  using socket = UdpSocket.bind("127.0.0.1:0");
  expect(caught(() => socket.recvError())).toMatchObject({
    code: "ERR_OPTION_OFF",
    message: "recvError: options.receiveErrors must be true",
  });
});

test("reports of any bytes, cut at any length, are understood or discarded", () => {
  let control = new Uint8Array(0);
  let isRead = false;
  const faults = new FaultSys().on("recvmsg", (_, _fd, message) => {
    isRead = !isRead;
    if (!isRead) control = known; // what follows a report that was discarded
    message.address.reset().encode({ hostname: "10.0.0.1", port: 7 });
    message.setControl(control);
    return 0;
  });
  using runtime = new Runtime({ sys: faults.sys });
  using socket = openIn(runtime);
  /** struct cmsghdr: a length of 64 bits, level, type; then the data. */
  const bytesOf = (level: number, type: number, data: readonly number[]) =>
    new Uint8Array(
      [16 + data.length, ...new Array(7).fill(0), level, 0, 0, 0, type, 0, 0, 0].concat(data),
    );
  const report = (origin: number) => [90, 0, 0, 0, origin, 3, 4, 0, 220, 5, 0, 0, 0, 0, 0, 0];
  const router = [2, 0, 0, 0, 10, 0, 0, 254, ...new Array(8).fill(0)];
  const known = bytesOf(0, 11, [...report(2), ...router]);
  const receive = (bytes: Uint8Array) => {
    control = new Uint8Array(bytes);
    isRead = false;
    return runtime.blockOn(socket.recvError());
  };
  const address = { hostname: "10.0.0.1", port: 7 };
  expect(receive(known)).toMatchObject({
    error: { code: "EMSGSIZE", message: "send EMSGSIZE 10.0.0.1:7: reported by 10.0.0.254" },
    ...{ address, reporter: "10.0.0.254", icmp: { type: 3, code: 4 }, mtuBytes: 1500 },
  });
  const local = receive(bytesOf(0, 11, [...report(1), ...new Array(16).fill(0)]));
  expect(local).toMatchObject({ reporter: null, icmp: null, mtuBytes: 1500 });
  for (const other of [0, 4, 5]) expect(receive(bytesOf(0, 11, report(other))).icmp?.code).toBe(4);
  for (let cut = 0; cut <= known.length; cut++) {
    const { reporter } = receive(known.subarray(0, cut));
    // Without a whole report, the next one is returned; without a whole address, none.
    expect(reporter).toBe(cut >= 32 && cut < known.length ? null : "10.0.0.254");
  }
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
      expect(receive(bytes).address).toEqual(address);
    }),
  );
});
