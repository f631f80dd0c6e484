// The byte streams of this library follow one contract: TCP, a pipe, an in-memory duplex.

import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import type { ByteReader, ByteWriter, DuplexStream } from "../../src/index.ts";
import {
  ClosedError,
  type Coroutine,
  duplex,
  type Future,
  pipe,
  Runtime,
  race,
  SysError,
  sleep,
  spawn,
  timeout,
  yieldNow,
} from "../../src/index.ts";
import { EINTR, EMFILE, F_GETFL, linux, O_NONBLOCK } from "../../src/sys/index.ts";
import { caught, failureOf } from "../support/caught.ts";
import { FaultSys } from "../support/fault-sys.ts";
import { countFds } from "../support/fds.ts";
import { untilIdle } from "../support/idle.ts";
import { streamAndPeer, streamPair } from "../support/sockets.ts";

const F_GETFD = 1;
const FD_CLOEXEC = 1;

/** The reading and the writing end of one direction of a stream. */
interface Ends {
  reader: ByteReader & Disposable;
  writer: ByteWriter & Disposable;
}

const kinds: [name: string, open: () => Coroutine<Ends>][] = [
  [
    "a TCP connection",
    function* () {
      const [writer, reader] = yield* streamPair();
      return { reader, writer };
    },
  ],
  [
    "a pipe",
    function* () {
      return pipe();
    },
  ],
  [
    "a duplex of 4 KiB",
    function* () {
      const [writer, reader] = duplex({ capacity: 4096 });
      return { reader, writer };
    },
  ],
];

const text = (bytes: Uint8Array | null): string | null =>
  bytes === null ? null : new TextDecoder().decode(bytes);

/** Calls `writev`, which the interface makes optional and these streams have. */
function writev(writer: ByteWriter, pieces: (Uint8Array | string)[]): Future<void> {
  if (writer.writev === undefined) throw new Error("this writer has no writev");
  return writer.writev(pieces);
}

function* readToEnd(reader: ByteReader): Coroutine<Uint8Array> {
  const chunks: Uint8Array[] = [];
  for (;;) {
    const chunk = yield* reader.readChunk();
    if (chunk === null) return Buffer.concat(chunks);
    chunks.push(chunk);
  }
}

describe.each(kinds)("%s", (_name, open) => {
  test("returns chunks of exactly the bytes that have arrived, and null at the end", () => {
    new Runtime().blockOn(function* () {
      const ends = yield* open();
      using reader = ends.reader;
      using writer = ends.writer;
      yield* writer.writeAll("grüße");
      const chunk = yield* reader.readChunk();
      expect(text(chunk)).toBe("grüße");
      expect(chunk?.buffer.byteLength).toBe(7);
      yield* writer.writeAll("abcdef", 4);
      expect(text(yield* reader.readChunk({ maxBytes: 3 }))).toBe("abc");
      expect(text(yield* reader.readChunk({ maxBytes: 3 }))).toBe("d");
      writer.shutdown();
      expect(yield* reader.readChunk()).toBeNull();
      expect(yield* reader.readChunk()).toBeNull();
      expect(yield* reader.read(new Uint8Array(1))).toBe(0);
    });
  });

  test("a chunk keeps its bytes while later reads use the same memory", () => {
    new Runtime().blockOn(function* () {
      const ends = yield* open();
      using reader = ends.reader;
      using writer = ends.writer;
      yield* writer.writeAll("first");
      const first = yield* reader.readChunk();
      yield* writer.writeAll("other");
      yield* reader.readChunk();
      expect(text(first)).toBe("first");
    });
  });

  test("a readChunk that is dropped leaves its data for the next read", () => {
    new Runtime().blockOn(function* () {
      const ends = yield* open();
      using reader = ends.reader;
      using writer = ends.writer;
      expect(yield* race(reader.readChunk(), sleep(0))).toBeUndefined();
      yield* writer.writeAll("still here");
      expect(text(yield* reader.readChunk())).toBe("still here");
    });
  });

  test("a read whose buffer shrinks to nothing while it waits fails, and leaves the data", () => {
    new Runtime({ onUncaught: () => {} }).blockOn(function* () {
      const ends = yield* open();
      using reader = ends.reader;
      using writer = ends.writer;
      const buffer = new Uint8Array(new ArrayBuffer(8, { maxByteLength: 8 }));
      const reading = spawn(reader.read(buffer));
      yield* untilIdle();
      buffer.buffer.resize(0);
      yield* writer.writeAll("data");
      expect(yield* failureOf(reading)).toBeInstanceOf(RangeError);
      expect(text(yield* reader.readChunk())).toBe("data");
    });
  });

  test("a write of an array that has become shorter fails", () => {
    new Runtime().blockOn(function* () {
      const ends = yield* open();
      using _ = ends.reader;
      using writer = ends.writer;
      for (const write of [
        (data: Uint8Array) => writer.writeAll(data),
        (data: Uint8Array) => writer.writeAll(data, 3),
        (data: Uint8Array) => writev(writer, [data, "."]),
      ]) {
        const data = new Uint8Array(new ArrayBuffer(4, { maxByteLength: 4 }));
        const writing = write(data);
        data.buffer.resize(2);
        const error = yield* failureOf(writing);
        expect(error).toBeInstanceOf(RangeError);
        expect(String(error)).toMatch(/must keep (its length|their lengths) while/);
      }
    });
  });

  test("a write waits for room", () => {
    new Runtime().blockOn(function* () {
      const ends = yield* open();
      using reader = ends.reader;
      using writer = ends.writer;
      const data = new Uint8Array(8_000_000).map((_, index) => index % 251);
      const writing = spawn(function* () {
        yield* writev(writer, [data.subarray(0, 100_000), "", data.subarray(100_000)]);
        writer.shutdown();
      } as () => Coroutine<void>);
      yield* yieldNow();
      expect(writing.isFinished).toBe(false);
      const received = yield* readToEnd(reader);
      yield* writing;
      expect(Buffer.compare(received, data)).toBe(0);
    });
  });

  test("a pending read throws ClosedError when its own end closes", () => {
    new Runtime().blockOn(function* () {
      const ends = yield* open();
      using reader = ends.reader;
      using _ = ends.writer;
      const reading = spawn(reader.readChunk());
      yield* yieldNow();
      reader[Symbol.dispose]();
      expect(yield* failureOf(reading)).toBeInstanceOf(ClosedError);
      expect(yield* failureOf(reader.readChunk())).toBeInstanceOf(ClosedError);
    });
  });

  test("a write to a closed reader throws EPIPE or ECONNRESET", () => {
    new Runtime().blockOn(function* () {
      const ends = yield* open();
      using writer = ends.writer;
      ends.reader[Symbol.dispose]();
      const error = yield* failureOf(
        (function* () {
          for (;;) {
            yield* writer.writeAll("x");
            yield* sleep(1); // until the reset has arrived
          }
        })(),
      );
      expect(error).toBeInstanceOf(SysError);
      expect(["EPIPE", "ECONNRESET"]).toContain((error as SysError).code);
    });
  });

  test("bad arguments throw and write nothing", () => {
    new Runtime().blockOn(function* () {
      const ends = yield* open();
      using reader = ends.reader;
      using writer = ends.writer;
      const wrong = (value: unknown): never => value as never;
      for (const maxBytes of [0, -1, 1.5, Number.NaN, "1", null]) {
        expect(() => reader.readChunk({ maxBytes: wrong(maxBytes) })).toThrow(
          "readChunk: maxBytes must be an integer from 1 to 2147483647; got",
        );
      }
      expect(() => reader.readChunk(wrong(null))).toThrow("readChunk: options must be an object");
      expect(() => writev(writer, wrong("text"))).toThrow(
        'writev: pieces must be an array; got "text"',
      );
      expect(() => writev(writer, ["a", wrong(7)])).toThrow(
        "writev: pieces[1] must be a Uint8Array or a string; got 7",
      );
      expect(() => writer.writeAll("abc", 4)).toThrow("writeAll: length must be an integer from 0");
      expect(() => writer.writeAll(wrong(null))).toThrow("data must be a Uint8Array or a string");
      expect(() => reader.read(new Uint8Array(0))).toThrow("at least one byte");
      yield* writev(writer, []);
      yield* writer.writeAll("");
      writer.shutdown();
      expect(yield* reader.readChunk()).toBeNull();
    });
  });

  test("any pieces arrive in order, whatever sizes the reads have", () => {
    using runtime = new Runtime();
    fc.assert(
      fc.property(
        fc.array(fc.oneof(fc.uint8Array({ maxLength: 3000 }), fc.string()), { maxLength: 200 }),
        fc.array(fc.integer({ min: 1, max: 5000 }), { minLength: 1, maxLength: 5 }),
        (pieces, sizes) => {
          const encoder = new TextEncoder();
          const sent = Buffer.concat(
            pieces.map((piece) => (typeof piece === "string" ? encoder.encode(piece) : piece)),
          );
          const received = runtime.blockOn(function* () {
            const ends = yield* open();
            using reader = ends.reader;
            using writer = ends.writer;
            const writing = spawn(function* () {
              yield* writev(writer, pieces);
              writer.shutdown();
            } as () => Coroutine<void>);
            const chunks: Uint8Array[] = [];
            for (let turn = 0; ; turn++) {
              const maxBytes = sizes[turn % sizes.length]!;
              const chunk = yield* reader.readChunk({ maxBytes });
              if (chunk === null) break;
              expect(chunk.length).toBeLessThanOrEqual(maxBytes);
              chunks.push(chunk);
            }
            yield* writing;
            return Buffer.concat(chunks);
          });
          expect(Buffer.compare(received, sent)).toBe(0);
        },
      ),
      { numRuns: 50 },
    );
  });
});

test("writev sends its pieces in one syscall, and goes on after short writes and EINTR", () => {
  const faults = new FaultSys();
  using runtime = new Runtime({ sys: faults.sys });
  const { stream, peer } = streamAndPeer(faults.sys);
  using _stream = stream;
  using _peer = peer;
  runtime.blockOn(stream.writev(["one ", new TextEncoder().encode("two "), "", "three"]));
  expect(faults.count("sendv")).toBe(1);
  expect(faults.count("send")).toBe(0);
  expect(`${peer.recv()}`).toBe("one two three");

  let isInterrupted = false;
  faults.on("sendv", (real, fd, pieces, flags) => {
    isInterrupted = !isInterrupted;
    if (isInterrupted) return -EINTR;
    return real(fd, [pieces[0]!.subarray(0, 2)], flags); // two bytes a call
  });
  runtime.blockOn(stream.writev(["12345", "", "6", "78"]));
  expect(`${peer.recv()}`).toBe("12345678");
});

test("writev of many pieces sends 64 per call, and empty pieces cost no call", () => {
  const faults = new FaultSys();
  using runtime = new Runtime({ sys: faults.sys });
  const { stream, peer } = streamAndPeer(faults.sys);
  using _stream = stream;
  using _peer = peer;
  const pieces = Array.from({ length: 130 }, (_, index) => String(index % 10));
  runtime.blockOn(stream.writev(pieces));
  expect(faults.count("sendv")).toBe(3);
  expect(`${peer.recv()}`).toBe(pieces.join(""));
  runtime.blockOn(stream.writev(Array.from({ length: 1000 }, () => "")));
  expect(faults.count("sendv")).toBe(3);
});

test("writes to a duplex whose arrays shrink after a part was written fail", () => {
  new Runtime({ onUncaught: () => {} }).blockOn(function* () {
    for (const [write, message] of [
      [
        (writer: DuplexStream, data: Uint8Array) => writer.writeAll(data),
        "writeAll: data must keep its length while it is written; the write is of 10 bytes, and it has 6",
      ],
      [
        (writer: DuplexStream, data: Uint8Array) => writer.writev([data]),
        "writev: pieces must keep their lengths while they are written; the lengths changed by -4 bytes",
      ],
    ] as const) {
      const [writer, reader] = duplex({ capacity: 4 });
      const data = new Uint8Array(new ArrayBuffer(10, { maxByteLength: 10 }));
      const writing = spawn(write(writer, data));
      yield* untilIdle();
      data.buffer.resize(6);
      expect(yield* reader.readChunk()).toHaveLength(4);
      expect(yield* failureOf(writing)).toMatchObject({ code: "ERR_OUT_OF_RANGE", message });
    }
  });
});

test("writev throws if a piece is detached, and if a piece changes its length while it is written", () => {
  const faults = new FaultSys();
  using runtime = new Runtime({ sys: faults.sys });
  const { stream, peer } = streamAndPeer(faults.sys);
  using _stream = stream;
  using _peer = peer;
  const detached = new Uint8Array([1, 2, 3]);
  const write = stream.writev(["a", detached]);
  detached.buffer.transfer();
  expect(caught(() => runtime.blockOn(write))).toMatchObject({
    message: "writev: pieces[1] must hold at least one byte; got a detached one",
  });
  const resizable = new Uint8Array(new ArrayBuffer(4, { maxByteLength: 4 }));
  const other = stream.writev([resizable]);
  resizable.buffer.resize(2);
  expect(caught(() => runtime.blockOn(other))).toMatchObject({
    message:
      "writev: pieces must keep their lengths while they are written; the lengths changed by -2 bytes",
  });
});

test("an idle readChunk holds no buffer: a thousand of them allocate no chunk", () => {
  using runtime = new Runtime();
  const before = process.memoryUsage().arrayBuffers;
  runtime.blockOn(function* () {
    const pipes = Array.from({ length: 100 }, () => pipe());
    const reads = pipes.map(({ reader }) => spawn(reader.readChunk()));
    yield* yieldNow();
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(100_000);
    for (const { writer } of pipes) yield* writer.writeAll("x");
    for (const read of reads) expect(text(yield* read)).toBe("x");
    for (const ends of pipes) for (const end of Object.values(ends)) end.close();
  });
});

test("a pipe's fds are close-on-exec and non-blocking, and close with their objects", () => {
  const before = countFds();
  const ends = Object.values(pipe());
  for (const { fd } of ends) {
    expect(linux().fcntl(fd, F_GETFD, 0)).toBe(FD_CLOEXEC);
    expect(linux().fcntl(fd, F_GETFL, 0) & O_NONBLOCK).not.toBe(0);
  }
  for (const end of ends) end.close();
  expect(countFds()).toBe(before);
});

test("an end of a pipe that is released is blocking, as a child process expects", () => {
  for (const end of Object.values(pipe())) {
    const fd = end.release();
    expect(linux().fcntl(fd, F_GETFL, 0) & O_NONBLOCK).toBe(0);
    linux().close(fd);
  }
});

test("pipe throws EMFILE when the process has no free fd", () => {
  const faults = new FaultSys().fail("pipe", -EMFILE);
  using runtime = new Runtime({ sys: faults.sys });
  expect(
    caught(() =>
      runtime.blockOn(function* () {
        yield* sleep(0);
        return pipe();
      }),
    ),
  ).toMatchObject({ code: "EMFILE", syscall: "pipe2" });
});

test("shutdown of an AsyncFd closes the writing end of a pipe, and refuses the reading end", () => {
  using runtime = new Runtime();
  runtime.blockOn(function* () {
    const { reader, writer } = pipe();
    expect(caught(() => reader.shutdown())).toMatchObject({
      code: "ENOTSOCK",
      syscall: "shutdown",
    });
    writer.shutdown();
    expect(caught(() => writer.shutdown())).toBeInstanceOf(ClosedError);
    expect(yield* reader.readChunk()).toBeNull();
    reader.close();
  });
});

test("a duplex end that shuts down still reads, and its own writes throw EPIPE", () => {
  using runtime = new Runtime();
  runtime.blockOn(function* () {
    const [a, b] = duplex();
    a.shutdown();
    expect(yield* failureOf(a.write(new Uint8Array(1)))).toMatchObject({ code: "EPIPE" });
    yield* b.writeAll("back");
    expect(text(yield* a.readChunk())).toBe("back");
    expect(yield* b.readChunk()).toBeNull();
    b.close();
    expect(yield* a.readChunk()).toBeNull();
    a.close();
    a.close();
    expect(caught(() => a.shutdown())).toBeInstanceOf(ClosedError);
  });
});

test("a duplex write that waits for room throws when either end closes", () => {
  using runtime = new Runtime();
  runtime.blockOn(function* () {
    for (const closes of ["own", "peer"] as const) {
      const [a, b] = duplex({ capacity: 2 });
      const writing = spawn(a.writeAll("four"));
      yield* yieldNow();
      (closes === "own" ? a : b).close();
      const error = yield* failureOf(writing);
      if (closes === "own") expect(error).toBeInstanceOf(ClosedError);
      else expect(error).toMatchObject({ code: "EPIPE" });
    }
  });
});

test("duplex refuses a capacity that is not a positive integer", () => {
  for (const capacity of [0, -1, 1.5, "8"]) {
    expect(() => duplex({ capacity: capacity as number })).toThrow(
      "duplex: capacity must be a positive integer; got",
    );
  }
  expect(() => duplex(null as never)).toThrow("duplex: options must be an object; got null");
});

test("a deadlock error says that a read of a duplex stream waits", () => {
  const [a] = duplex();
  using runtime = new Runtime();
  expect(caught(() => runtime.blockOn(a.read(new Uint8Array(1))))).toMatchObject({
    message: expect.stringContaining("read of a duplex stream"),
  });
});

test("AsyncFd times out a writeAll into a full pipe, which may have written a part", () => {
  using runtime = new Runtime();
  runtime.blockOn(function* () {
    const { reader, writer } = pipe();
    expect(yield* failureOf(timeout(1, writer.writeAll(new Uint8Array(1_000_000))))).toMatchObject({
      name: "TimeoutError",
    });
    expect((yield* reader.readChunk())?.length).toBe(65_536);
    reader.close();
    writer.close();
  });
});
