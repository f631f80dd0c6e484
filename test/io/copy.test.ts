// copy and copyBidirectional, between sockets, pipes, duplexes and streams of users.

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import {
  AbortError,
  type ByteStream,
  type Clock,
  ClosedError,
  CopyError,
  type Coroutine,
  copy,
  copyBidirectional,
  duplex,
  IdleTimeoutError,
  intoFuture,
  pipe,
  Runtime,
  SysError,
  sleep,
  spawn,
  timeout,
  yieldNow,
} from "../../src/index.ts";
import { ECONNRESET } from "../../src/sys/index.ts";
import { caught, failureOf } from "../support/caught.ts";
import { FaultSys } from "../support/fault-sys.ts";
import { untilIdle } from "../support/idle.ts";
import { streamAndPeer, streamPair } from "../support/sockets.ts";

setDefaultTimeout(60_000); // a slow machine must not fail the test

const kinds: [name: string, open: () => Coroutine<[ByteStream, ByteStream]>][] = [
  ["TCP", () => streamPair()],
  [
    "duplex",
    function* () {
      return duplex({ capacity: 1000 });
    },
  ],
];

function* textOf(stream: ByteStream): Coroutine<string> {
  const chunks: Uint8Array[] = [];
  for (let chunk = yield* stream.readChunk(); chunk !== null; chunk = yield* stream.readChunk()) {
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString();
}

/** A clock that jumps. */
function virtualClock(): Clock & { nowMs: number } {
  return {
    nowMs: 0,
    now() {
      return this.nowMs;
    },
    advanceTo(ms) {
      this.nowMs = ms;
    },
  };
}

describe.each(kinds)("between %s streams", (_, open) => {
  test("a copy ends with its reader, returns the number of bytes, and leaves the writer open", () => {
    using runtime = new Runtime();
    runtime.blockOn(function* () {
      const [client, reader] = yield* open();
      const [writer, server] = yield* open();
      const received = spawn(textOf(server));
      const sent = "tea ".repeat(50_000);
      const copying = spawn(copy(reader, writer));
      yield* client.writeAll(sent);
      client.shutdown();
      expect(yield* copying).toBe(200_000);
      yield* writer.writeAll("!");
      writer.close();
      expect(yield* received).toBe(`${sent}!`);
      for (const one of [client, reader, server]) one.close();
    });
  });

  test("a copy with maxBytes leaves the rest in the reader", () => {
    using runtime = new Runtime();
    runtime.blockOn(function* () {
      const [client, reader] = yield* open();
      const [writer, server] = yield* open();
      yield* client.writeAll("headbody");
      client.shutdown();
      expect(yield* copy(reader, writer, { maxBytes: 4 })).toBe(4);
      expect(yield* textOf(reader)).toBe("body");
      writer.shutdown();
      expect(yield* textOf(server)).toBe("head");
      for (const one of [client, reader, writer, server]) one.close();
    });
  });

  test("a copy that is cancelled leaves both streams usable", () => {
    using runtime = new Runtime();
    runtime.blockOn(function* () {
      const [client, reader] = yield* open();
      const [writer, server] = yield* open();
      const controller = new AbortController();
      const copying = spawn(copy(reader, writer, { signal: controller.signal }));
      yield* client.writeAll("one");
      yield* untilIdle();
      controller.abort(new Error("enough"));
      expect((yield* failureOf<Error>(copying)).message).toBe("enough");
      yield* client.writeAll("two");
      client.shutdown();
      expect(yield* copy(reader, writer)).toBe(3);
      writer.shutdown();
      expect(yield* textOf(server)).toBe("onetwo");
      for (const one of [client, reader, writer, server]) one.close();
    });
  });

  test("the end of one direction is passed on while the other continues", () => {
    using runtime = new Runtime();
    runtime.blockOn(function* () {
      const [client, a] = yield* open();
      const [b, server] = yield* open();
      const copying = spawn(copyBidirectional(a, b));
      yield* client.writeAll("question");
      client.shutdown();
      expect(yield* textOf(server)).toBe("question"); // the server has seen the end
      yield* server.writeAll("a long answer");
      yield* untilIdle();
      expect(copying.isFinished).toBe(false);
      server.shutdown();
      expect(yield* copying).toEqual({ aToB: 8, bToA: 13 });
      expect(yield* textOf(client)).toBe("a long answer");
      for (const one of [client, a, b, server]) one.close();
    });
  });

  test("both directions move at once, and a slow reader slows only its own", () => {
    using runtime = new Runtime();
    runtime.blockOn(function* () {
      const [client, a] = yield* open();
      const [b, server] = yield* open();
      const copying = spawn(copyBidirectional(a, b));
      const flood = spawn(client.writeAll(new Uint8Array(20_000_000))); // more than all buffers hold
      yield* untilIdle();
      expect(flood.isFinished).toBe(false); // backpressure: the server does not read
      yield* server.writeAll("answer");
      server.shutdown();
      expect(yield* textOf(client)).toBe("answer");
      const drained = spawn(copy(server, duplexSink()));
      yield* flood;
      client.shutdown();
      expect(yield* drained).toBe(20_000_000);
      expect(yield* copying).toEqual({ aToB: 20_000_000, bToA: 6 });
      for (const one of [client, a, b, server]) one.close();
    });
  });

  test("an idle copy ends with the counts so far, idleMs after the last byte in either direction", () => {
    const clock = virtualClock();
    using runtime = new Runtime({ clock });
    runtime.blockOn(function* () {
      const [client, a] = yield* open();
      const [b, server] = yield* open();
      const copying = spawn(copyBidirectional(a, b, { idleMs: 1000 }));
      yield* sleep(900);
      yield* client.writeAll("tick");
      yield* sleep(900);
      yield* server.writeAll("tock!");
      yield* sleep(999);
      expect(copying.isFinished).toBe(false);
      const error = yield* failureOf<IdleTimeoutError>(copying);
      expect(error).toBeInstanceOf(IdleTimeoutError);
      expect(clock.nowMs).toBe(2800);
      expect(error).toMatchObject({ code: "ERR_IDLE_TIMEOUT", aToB: 4, bToA: 5 });
      expect(error.message).toBe(
        "copyBidirectional: no byte moved for 1000 ms, after 4 bytes from a to b and 5 from b to a",
      );
      for (const one of [client, a, b, server]) one.close();
    });
  });

  test("a peer that does not read makes the copy idle, though bytes wait", () => {
    const clock = virtualClock();
    using runtime = new Runtime({ clock });
    runtime.blockOn(function* () {
      const [client, a] = yield* open();
      const [b, server] = yield* open();
      const flood = spawn(client.writeAll(new Uint8Array(20_000_000)));
      const copying = spawn(copyBidirectional(a, b, { idleMs: 1000 }));
      const error = yield* failureOf<IdleTimeoutError>(copying);
      expect(error.code).toBe("ERR_IDLE_TIMEOUT");
      expect(error.bToA).toBe(0);
      flood.abort();
      for (const one of [client, a, b, server]) one.close();
    });
  });

  test("closing a stream during a copy ends the copy with the ClosedError as the cause", () => {
    using runtime = new Runtime();
    runtime.blockOn(function* () {
      const [client, a] = yield* open();
      const [b, server] = yield* open();
      const copying = spawn(copyBidirectional(a, b));
      yield* untilIdle();
      b.close();
      const error = yield* failureOf<CopyError>(copying);
      expect(error.cause).toBeInstanceOf(ClosedError);
      expect(error).toMatchObject({ operation: "read", side: "b", code: "ERR_SOCKET_CLOSED" });
      for (const one of [client, a, server]) one.close();
    });
  });
});

/** A writer that discards what it receives. */
function duplexSink(): ByteStream {
  const [writer, reader] = duplex();
  spawn(function* () {
    while ((yield* reader.readChunk()) !== null);
  }).detach();
  return writer;
}

test("the error of a copy names the operation, the bytes before it, and its cause", () => {
  const faults = new FaultSys();
  using runtime = new Runtime({ sys: faults.sys });
  const { stream, peer } = streamAndPeer(faults.sys);
  const { stream: writer, peer: sink } = streamAndPeer(faults.sys);
  peer.send("hello");
  const copying = runtime.spawn(copy(stream, writer));
  untilIdle(runtime);
  faults.fail("recv", -ECONNRESET);
  peer.send("more");
  const error = caught(() => runtime.blockOn(copying)) as CopyError;
  expect(error).toBeInstanceOf(CopyError);
  expect(error.message).toBe(
    'copy: the read of "reader" failed after 5 bytes: recv ECONNRESET 127.0.0.1:0',
  );
  expect(error).toMatchObject({ code: "ECONNRESET", operation: "read", side: "reader", bytes: 5 });
  expect(error.cause).toBeInstanceOf(SysError);
  expect("aToB" in error).toBe(false);
  for (const one of [stream, writer, peer, sink]) one.close();
});

test("the error of a bidirectional copy also names the side, and both counts", () => {
  const faults = new FaultSys();
  using runtime = new Runtime({ sys: faults.sys });
  const { stream: a, peer: client } = streamAndPeer(faults.sys);
  const { stream: b, peer: server } = streamAndPeer(faults.sys);
  client.send("hello");
  server.send("hi");
  faults.on("send", (_, fd) => (fd === b.fdStream.source.fd ? -ECONNRESET : null));
  const error = caught(() => runtime.blockOn(copyBidirectional(a, b))) as CopyError;
  expect(error).toMatchObject({ operation: "write", side: "b", aToB: 0 });
  expect(error.message).toMatch(
    /^copyBidirectional: the write of "b" failed after 0 bytes from a to b and \d from b to a: send ECONNRESET 127.0.0.1:0$/,
  );
  for (const one of [a, b, client, server]) one.close();
});

test("a message through a proxy costs one recv and one send, and no call that would block", () => {
  const faults = new FaultSys();
  using runtime = new Runtime({ sys: faults.sys });
  const { stream: a, peer: client } = streamAndPeer(faults.sys);
  const { stream: b, peer: server } = streamAndPeer(faults.sys);
  const copying = runtime.spawn(copyBidirectional(a, b, { idleMs: 60_000 }));
  untilIdle(runtime);
  const before = ["recv", "send", "timerfdSet", "epollAdd"].map((name) =>
    faults.count(name as "recv"),
  );
  for (let message = 0; message < 20; message++) {
    client.send("ping");
    untilIdle(runtime);
    expect(server.recv()).toBe("ping");
    server.send("pong");
    untilIdle(runtime);
    expect(client.recv()).toBe("pong");
  }
  const calls = ["recv", "send", "timerfdSet", "epollAdd"].map((name) =>
    faults.count(name as "recv"),
  );
  expect(calls.map((count, index) => count - before[index]!)).toEqual([40, 40, 0, 0]);
  copying.abort();
  for (const one of [a, b, client, server]) one.close();
  expect(() => runtime.block()).not.toThrow();
});

test("a pipe can be the reader and the writer of a copy", () => {
  using runtime = new Runtime();
  runtime.blockOn(function* () {
    const [client, server] = yield* streamPair();
    const first = pipe();
    const second = pipe();
    const copying = spawn(function* () {
      yield* copy(first.reader, client);
      client.shutdown();
      yield* copy(server, second.writer);
      second.writer.shutdown();
    });
    yield* first.writer.writeAll("through two pipes and a socket");
    first.writer.shutdown();
    expect(yield* textOf(second.reader)).toBe("through two pipes and a socket");
    yield* copying;
    for (const one of [client, server, first.reader, second.reader]) one.close();
  });
});

test("a copy between sockets that are always ready starves neither direction nor other tasks", () => {
  const sent = new Map<number, number>();
  const faults = new FaultSys()
    .on("recv", (_, __, buffer) => buffer.length)
    .on("send", (_, fd, __, ___, length = 0) => {
      sent.set(fd, (sent.get(fd) ?? 0) + length);
      return length;
    });
  using runtime = new Runtime({ sys: faults.sys });
  const { stream: a, peer: client } = streamAndPeer(faults.sys);
  const { stream: b, peer: server } = streamAndPeer(faults.sys);
  runtime.blockOn(function* () {
    const copying = spawn(copyBidirectional(a, b));
    yield* sleep(5);
    copying.abort();
    expect(yield* failureOf(copying)).toBeInstanceOf(AbortError);
  });
  const [toA = 0, toB = 0] = [a, b].map(({ fdStream }) => sent.get(fdStream.source.fd));
  expect(toA).toBeGreaterThan(0);
  expect(Math.abs(toA - toB)).toBeLessThanOrEqual(65_536);
  for (const one of [a, b, client, server]) one.close();
});

test("what a copy waits for is shown, and a copy that nothing can wake is a deadlock", () => {
  using runtime = new Runtime();
  const [a] = duplex();
  const { stream: b, peer } = streamAndPeer();
  const copying = runtime.spawn(copyBidirectional(a, b));
  untilIdle(runtime);
  expect(runtime.tasks().map(({ waitsOn }) => waitsOn)).toEqual([
    `copy (read of a duplex stream, read 127.0.0.1:0 (fd ${b.fdStream.source.fd}))`,
  ]);
  copying.abort();
  const [c] = duplex();
  expect(() => runtime.blockOn(copy(a, c))).toThrow("copy (read of a duplex stream)");
  for (const one of [a, b, c, peer]) one.close();
});

test.each([
  ["copy: reader must have readChunk(); got 5", () => copy(5 as never, duplex()[0])],
  [
    "copy: writer must have write(); got an instance of Object",
    () => copy(duplex()[0], {} as never),
  ],
  ["copy: maxBytes must be a positive integer; got 0", () => copy(...duplex(), { maxBytes: 0 })],
  ["copy: options must be an object; got null", () => copy(...duplex(), null as never)],
  ["copy: signal must be an AbortSignal; got 1", () => copy(...duplex(), { signal: 1 as never })],
  [
    "copyBidirectional: a must have readChunk() and write() and shutdown(); got null",
    () => copyBidirectional(null as never, duplex()[0]),
  ],
  [
    "copyBidirectional: idleMs must be a number >= 0; got -1",
    () => copyBidirectional(...duplex(), { idleMs: -1 }),
  ],
])("bad arguments throw at the call: %s", (message, call) => {
  expect(call).toThrow(message);
});

test("a stream that returns no byte, or more bytes than it was given, fails the copy", () => {
  using runtime = new Runtime();
  const stream = (chunk: unknown, count: unknown) => ({
    readChunk: () => intoFuture(() => Promise.resolve(chunk)),
    write: () => intoFuture(() => Promise.resolve(count)),
  });
  const failure = (chunk: unknown, count: unknown): unknown =>
    caught(() => runtime.blockOn(copy(stream(chunk, 0) as never, stream(null, count) as never)));
  expect(failure(new Uint8Array(0), 0)).toMatchObject({
    code: "ERR_INVALID_ARG_TYPE",
    operation: "read",
  });
  expect(failure(undefined, 0)).toMatchObject({ operation: "read", bytes: 0 });
  for (const count of [0, 3, -1, Number.NaN, undefined]) {
    const error = failure(new Uint8Array(2), count);
    expect(error).toMatchObject({ operation: "write", side: "writer", bytes: 0 });
    expect((error as Error).message).toContain("must return a number from 1 to 2; got");
  }
});

test("the error of a copy has a code of its own if its cause has none", () => {
  using runtime = new Runtime();
  const reader = {
    readChunk: () => intoFuture(() => Promise.reject(new Error("a bug"))),
  };
  const error = caught(() => runtime.blockOn(copy(reader as never, duplex()[0])));
  expect(error).toMatchObject({ name: "CopyError", code: "ERR_COPY" });
});

test("a dropped copy waits for the cleanup of a stream that a user wrote", () => {
  using runtime = new Runtime();
  const log: string[] = [];
  const [writer] = duplex();
  const reader = {
    read: () => intoFuture(sleep(0)) as never,
    readChunk: () =>
      intoFuture(function* (): Coroutine<Uint8Array | null> {
        try {
          yield* sleep(1e6);
          return null;
        } finally {
          yield* yieldNow();
          log.push("cleaned up");
        }
      }),
  };
  expect(() => runtime.blockOn(timeout(1, copy(reader, writer)))).toThrow("not done within 1 ms");
  expect(log).toEqual(["cleaned up"]);
  writer.close();
});
