// The inbox of a UDP socket returns each datagram of a batch once, whole and in order, and loses no edge.

import { expect, setDefaultTimeout, test } from "bun:test";
import {
  ClosedError,
  type Coroutine,
  Runtime,
  type Sys,
  SysError,
  sleep,
  spawn,
  UdpSocket,
} from "../../src/index.ts";
import { linux } from "../../src/sys/index.ts";
import { failureOf } from "../support/caught.ts";
import { FaultSys } from "../support/fault-sys.ts";
import { untilIdle } from "../support/idle.ts";

setDefaultTimeout(60_000); // a slow machine must not fail the test

const local = { hostname: "127.0.0.1", port: 0 };

/** A datagram of `length` bytes, each of which is `number`. */
const datagram = (length: number, number: number): Uint8Array<ArrayBuffer> =>
  new Uint8Array(length).fill(number);

function* send(from: UdpSocket, to: UdpSocket, lengths: readonly number[], first = 0) {
  for (const [index, length] of lengths.entries()) {
    yield* from.sendTo(datagram(length, first + index), to.localAddress);
  }
}

/** Makes the eight single receives after which `to` receives in batches. */
function* warmUp(from: UdpSocket, to: UdpSocket) {
  for (let index = 0; index < 8; index++) {
    yield* send(from, to, [1]);
    yield* to.recv(new Uint8Array(1));
  }
}

/** Runs `body` with two sockets. The second receives in batches. */
function withInbox<T>(body: (a: UdpSocket, b: UdpSocket) => Coroutine<T>, sys: Sys = linux()): T {
  using runtime = new Runtime({ sys });
  return runtime.blockOn(function* () {
    using a = UdpSocket.bind(local);
    using b = UdpSocket.bind(local);
    yield* warmUp(a, b);
    return yield* body(a, b);
  });
}

test.each([
  ["127.0.0.1", [0, 1, 4, 100, 1400, 9000, 65_507]],
  ["::1", [65_487, 3, 0]],
])(
  "datagrams of a burst over %s arrive whole, in order, each with its sender",
  (hostname, sizes) => {
    const faults = new FaultSys();
    using runtime = new Runtime({ sys: faults.sys });
    runtime.blockOn(function* () {
      using a = UdpSocket.bind({ hostname, port: 0 });
      using b = UdpSocket.bind({ hostname, port: 0 });
      using c = UdpSocket.bind({ hostname, port: 0 });
      const buffer = new Uint8Array(65_536);
      for (const burst of [1, 2, 15, 16, 17, 40]) {
        const lengths = Array.from({ length: burst }, (_, index) =>
          burst < 3 ? sizes[(index + burst) % sizes.length]! : index % 300,
        );
        for (const [index, length] of lengths.entries()) {
          yield* (index % 3 === 0 ? c : a).sendTo(datagram(length, index), b.localAddress);
        }
        for (const [index, length] of lengths.entries()) {
          const { bytes, isTruncated, address } = yield* b.recvFrom(buffer);
          expect([bytes, isTruncated]).toEqual([length, false]);
          expect(address).toEqual((index % 3 === 0 ? c : a).localAddress);
          expect(buffer.slice(0, bytes)).toEqual(datagram(length, index));
        }
      }
      for (const length of sizes) {
        yield* send(a, b, [length], 7);
        expect((yield* b.recvFrom(buffer)).bytes).toBe(length);
        expect(buffer.slice(0, length)).toEqual(datagram(length, 7));
      }
    });
    expect(faults.count("recvmmsg")).toBeGreaterThan(0);
  },
);

test("three recvmmsg calls receive 40 queued datagrams, and the next receive makes no call before an edge", () => {
  const faults = new FaultSys();
  withInbox(function* (a, b) {
    expect([faults.count("recvmmsg"), faults.count("recvfrom") > 0]).toEqual([0, true]);
    yield* send(a, b, new Array(40).fill(1));
    faults.calls.clear();
    const buffer = new Uint8Array(8);
    for (let index = 0; index < 40; index++) {
      yield* b.recv(buffer);
      expect(buffer[0]).toBe(index);
    }
    expect([faults.count("recvmmsg"), faults.count("recvfrom")]).toEqual([3, 0]);
    const waiting = spawn(() => b.recv(buffer)); // the short last batch showed that the socket is drained
    yield* untilIdle();
    expect(faults.count("recvmmsg")).toBe(3);
    yield* send(a, b, [1], 99);
    expect((yield* waiting).bytes).toBe(1);
    expect([buffer[0], faults.count("recvmmsg")]).toEqual([99, 4]);
  }, faults.sys);
});

test("a datagram that arrives while the inbox holds others is not lost", () => {
  withInbox(function* (a, b) {
    const buffer = new Uint8Array(8);
    for (let round = 0; round < 10; round++) {
      const waiting = spawn(() => b.recv(new Uint8Array(8)));
      yield* untilIdle(); // the receive registers the fd
      yield* send(a, b, [1, 1, 1]);
      yield* waiting; // one recvmmsg received all three
      yield* send(a, b, [1], 3); // an edge, while the inbox holds two
      yield* sleep(0.1); // the reactor sees the edge
      for (const number of [1, 2, 3]) {
        yield* b.recv(buffer);
        expect(buffer[0]).toBe(number);
      }
    }
  });
});

test("20 waiting receives get one datagram of a batch each, first come, first served", () => {
  const seen = withInbox(function* (a, b) {
    const receivers = Array.from({ length: 20 }, () =>
      spawn(function* () {
        const buffer = new Uint8Array(8);
        yield* b.recv(buffer);
        return buffer[0]!;
      }),
    );
    yield* untilIdle(); // all receives wait
    yield* send(a, b, new Array(20).fill(1));
    const numbers: number[] = [];
    for (const receiver of receivers) numbers.push(yield* receiver);
    return numbers;
  });
  expect(seen).toEqual(Array.from({ length: 20 }, (_, index) => index));
});

test("a dropped receive or a detached buffer loses no datagram of the inbox, and a small buffer truncates one", () => {
  withInbox(function* (a, b) {
    yield* send(a, b, [5, 6, 7]);
    const buffer = new Uint8Array(6);
    expect((yield* b.recv(buffer)).bytes).toBe(5);
    b.recv(buffer).drop();
    const detached = new Uint8Array(8);
    const receive = b.recv(detached);
    detached.buffer.transfer();
    expect(() => receive.next()).toThrow("a detached one");
    expect(yield* b.recv(buffer)).toMatchObject({ bytes: 6, isTruncated: false });
    expect(yield* b.recv(buffer)).toMatchObject({ bytes: 6, isTruncated: true });
    expect([...buffer]).toEqual([2, 2, 2, 2, 2, 2]);
  });
});

test("a receive on a closed socket throws ClosedError although the inbox holds a datagram", () => {
  withInbox(function* (a, b) {
    yield* send(a, b, [1, 1]);
    const buffer = new Uint8Array(8);
    yield* b.recv(buffer);
    b.close();
    expect(() => b.recv(buffer).next()).toThrow(ClosedError);
  });
});

test("an error of recvmmsg fails one receive, names recvmmsg, and loses no datagram", () => {
  const faults = new FaultSys();
  withInbox(function* (a, b) {
    yield* send(a, b, [1], 5);
    faults.fail("recvmmsg", -4, -111); // EINTR, which is retried, then ECONNREFUSED
    const buffer = new Uint8Array(8);
    const error = yield* failureOf(b.recv(buffer));
    expect(error).toBeInstanceOf(SysError);
    expect((error as SysError).message).toContain("recvmmsg");
    yield* b.recv(buffer);
    expect(buffer[0]).toBe(5);
  }, faults.sys);
});

test("the memory of the inbox stays valid across garbage collections", () => {
  withInbox(function* (a, b) {
    for (let round = 0; round < 20; round++) {
      Bun.gc(true);
      yield* send(a, b, [300, 301, 302], round);
      Bun.gc(true);
      const buffer = new Uint8Array(400);
      for (let index = 0; index < 3; index++) {
        const { bytes, address } = yield* b.recvFrom(buffer);
        Bun.gc(true);
        expect(buffer.slice(0, bytes)).toEqual(datagram(300 + index, round + index));
        expect(address).toEqual(a.localAddress);
      }
    }
  });
});

test("buffered is what a batch holds, and one recvMany receives it before a release, without a syscall", () => {
  const faults = new FaultSys();
  withInbox(function* (a, b) {
    yield* send(a, b, [1, 1, 1, 1, 1]);
    expect(b.buffered).toBe(0);
    yield* b.recv(new Uint8Array(1));
    expect(b.buffered).toBe(4);
    const numCalls = faults.count("recvmmsg");
    expect((yield* b.recvMany()).map(({ data }) => data[0])).toEqual([1, 2, 3, 4]);
    expect([b.buffered, faults.count("recvmmsg")]).toEqual([0, numCalls]);
    yield* send(a, b, [1, 1], 5);
    yield* b.recv(new Uint8Array(1));
    using successor = UdpSocket.fromFd(b.release());
    expect([b.buffered, successor.buffered]).toEqual([0, 0]);
  }, faults.sys);
});
