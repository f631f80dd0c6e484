// BufReader: what its reads return and throw, what a drop leaves behind, and that they are fair.

import { expect, test } from "bun:test";
import { AsyncLocalStorage } from "node:async_hooks";
import {
  BufReader,
  type ByteReader,
  ConcurrentUseError,
  type Coroutine,
  type Decode,
  delimited,
  duplex,
  Future,
  forEach,
  frames,
  type IntoFuture,
  intoFuture,
  join,
  Leaf,
  LineTooLongError,
  MessageTooLongError,
  Pending,
  type Poll,
  Runtime,
  race,
  sleep,
  spawn,
  TimeoutError,
  timeout,
  UnexpectedEofError,
  yieldNow,
} from "../../src/index.ts";
import { caught, failureOf } from "../support/caught.ts";
import { untilIdle } from "../support/idle.ts";
import { manualContext } from "../support/manual.ts";
import { type ReadStep, ScriptReader } from "../support/scripted-streams.ts";
import { streamPair } from "../support/sockets.ts";

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const text = (data: Uint8Array | null): string | null => data && Buffer.from(data).toString();

/** A reader of these chunks; "" suspends once. */
function readerOf(...chunks: (string | Error)[]): { reader: BufReader; script: ScriptReader } {
  const script = new ScriptReader(
    chunks.map((chunk): ReadStep => {
      if (chunk instanceof Error) return chunk;
      return chunk === "" ? "wait" : bytes(chunk);
    }),
  );
  return { reader: new BufReader(script), script };
}

function run<T>(work: IntoFuture<T>): T {
  using runtime = new Runtime();
  return runtime.blockOn(work);
}

function* allLines(reader: BufReader): Coroutine<string[]> {
  const lines: string[] = [];
  for (;;) {
    const line = yield* reader.readLine();
    if (line === null) return lines;
    lines.push(line);
  }
}

test("readLine removes LF and CRLF, keeps a lone CR, and returns a last line without an ending", () => {
  const { reader } = readerOf("a\nb\r", "", "\n\nc\rd\n\r\n", "last\r");
  expect(run(() => allLines(reader))).toEqual(["a", "b", "", "c\rd", "", "last\r"]);
});

test("readLine joins a character that arrives in two chunks, and replaces invalid UTF-8", () => {
  const script = new ScriptReader([
    new Uint8Array([0xe2, 0x82]),
    "wait",
    new Uint8Array([0xac, 10, 0xff, 10, 0xff, 10]),
  ]);
  const reader = new BufReader(script);
  run(function* () {
    expect(yield* reader.readLine()).toBe("€");
    expect(yield* reader.readLine()).toBe("\uFFFD");
    expect(yield* reader.readLine({ encoding: "latin1" })).toBe("ÿ");
    expect(yield* reader.readLine()).toBeNull();
    expect(yield* reader.readLine()).toBeNull();
  });
});

test("a line that is too long throws, stays buffered, and can be read with a larger limit", () => {
  const { reader } = readerOf("abc", "", "def\r\nnext\n");
  run(function* () {
    const error = yield* failureOf<LineTooLongError>(reader.readLine({ maxBytes: 5 }));
    expect(error).toBeInstanceOf(LineTooLongError);
    expect(error).toBeInstanceOf(MessageTooLongError);
    expect(error).toMatchObject({ code: "ERR_MESSAGE_TOO_LONG", maxBytes: 5 });
    expect(error.message).toContain("readLine: the line is longer than maxBytes, 5");
    expect(reader.buffered).toBe(13);
    expect(text(yield* reader.readUntil("\n", { maxBytes: 100 }))).toBe("abcdef\r");
    expect(yield* reader.readLine()).toBe("next");
  });
});

test("a line of exactly maxBytes is read, also when its CR arrives before its LF", () => {
  const { reader } = readerOf("abc\r", "", "\nabc\n");
  run(function* () {
    expect(yield* reader.readLine({ maxBytes: 3 })).toBe("abc");
    expect(yield* reader.readLine({ maxBytes: 3 })).toBe("abc");
  });
});

test("a line without an end is refused when it exceeds the limit, not later", () => {
  const { reader, script } = readerOf(...Array<string>(100).fill("x".repeat(10)));
  run(function* () {
    yield* failureOf(reader.readLine({ maxBytes: 25 }));
    expect(script.reads).toBe(3);
  });
});

test("readUntil consumes the delimiter and returns what is before it; null at the end", () => {
  const { reader } = readerOf("head\r\n", "", "\r\nbody;", "rest\0");
  run(function* () {
    expect(text(yield* reader.readUntil("\r\n\r\n"))).toBe("head");
    expect(text(yield* reader.readUntil(bytes(";")))).toBe("body");
    expect(text(yield* reader.readUntil(0))).toBe("rest");
    expect(yield* reader.readUntil(0)).toBeNull();
  });
});

test("an end inside a message throws UnexpectedEofError with the bytes that came, and consumes none", () => {
  const { reader } = readerOf("ab", "", "c");
  run(function* () {
    const until = yield* failureOf<UnexpectedEofError>(reader.readUntil(";"));
    expect(until).toBeInstanceOf(UnexpectedEofError);
    expect(until.code).toBe("ERR_UNEXPECTED_EOF");
    expect(text(until.received)).toBe("abc");
    const exact = yield* failureOf<UnexpectedEofError>(reader.readExact(4));
    expect(text(exact.received)).toBe("abc");
    expect(exact.message).toBe(
      "readExact: the stream ended before 4 bytes had come, after 3 bytes",
    );
    expect(text(yield* reader.readExact(3))).toBe("abc");
    expect((yield* failureOf<UnexpectedEofError>(reader.readExact(1))).received).toHaveLength(0);
    expect(yield* reader.readExact(0)).toHaveLength(0);
  });
});

test("an error of a message that was cut off does not print the bytes that came", () => {
  const error = new UnexpectedEofError("it ended", Uint8Array.of(1, 2, 3));
  expect(Bun.inspect(error)).toContain("ERR_UNEXPECTED_EOF");
  expect(Bun.inspect(error)).not.toContain("received");
  expect(error.received).toEqual(Uint8Array.of(1, 2, 3));
});

test("peek consumes nothing, and returns fewer bytes only at the end", () => {
  const { reader } = readerOf("a", "", "bc");
  run(function* () {
    expect(text(yield* reader.peek(2))).toBe("ab");
    expect(text(yield* reader.peek(5))).toBe("abc");
    expect(text(yield* reader.readExact(3))).toBe("abc");
  });
});

test("read and readChunk serve what is buffered before they read the stream", () => {
  const { reader, script } = readerOf("one\ntwo\n", "three", "four");
  run(function* () {
    expect(yield* reader.readLine()).toBe("one");
    const buffer = new Uint8Array(2);
    expect(yield* reader.read(buffer)).toBe(2);
    expect(text(buffer)).toBe("tw");
    expect(text(yield* reader.readChunk({ maxBytes: 1 }))).toBe("o");
    expect(text(yield* reader.readChunk())).toBe("\n");
    expect(script.reads).toBe(1);
    expect(text(yield* reader.readChunk())).toBe("three");
    expect(yield* reader.read(buffer)).toBe(2);
    expect(text(yield* reader.readChunk())).toBe("ur");
    expect(yield* reader.readChunk()).toBeNull();
    expect(yield* reader.read(buffer)).toBe(0);
  });
});

test("what a read returns is a copy, also if the chunks of the stream are Buffers", () => {
  for (const chunks of [["aabbcc"], ["aab", "bcc"]]) {
    const steps = chunks.map((chunk) => Buffer.from(chunk));
    // Not a ScriptReader, which copies.
    const script = {
      read: () => sleep(0) as never,
      readChunk: () => intoFuture(async () => steps.shift() ?? null),
    };
    const reader = new BufReader(script);
    const twoBytes: Decode<Uint8Array> = (data) =>
      data.length < 2 ? null : { value: data.slice(0, 2), consumed: 2 };
    run(function* () {
      const copies = [yield* reader.peek(2), yield* reader.readExact(2)];
      copies.push((yield* frames(reader, twoBytes).next())!);
      copies.push(yield* reader.peek(2));
      expect(copies.map(text)).toEqual(["aa", "aa", "bb", "cc"]);
      for (const copy of copies) copy.fill(0);
      expect(copies.every((copy) => copy.constructor === Uint8Array)).toBe(true);
      expect(text(yield* reader.readToEnd({ maxBytes: 2 }))).toBe("cc");
    });
  }
});

test("a delimiter is copied, also if it is a Buffer", () => {
  const { reader } = readerOf("a--b--");
  const delimiter = Buffer.from("--");
  const records = delimited(reader, delimiter);
  delimiter.fill("b");
  run(function* () {
    expect(text(yield* records.next())).toBe("a");
    expect(text(yield* records.next())).toBe("b");
  });
});

test("fill reads once and adds to the buffer", () => {
  const { reader } = readerOf("ab", "", "cd");
  run(function* () {
    expect(yield* reader.fill()).toBe(2);
    expect(yield* reader.fill()).toBe(2);
    expect(reader.buffered).toBe(4);
    expect(yield* reader.fill()).toBe(0);
    expect(text(yield* reader.readToEnd({ maxBytes: 4 }))).toBe("abcd");
    expect(yield* reader.readToEnd({ maxBytes: 1 })).toHaveLength(0);
  });
});

test("readToEnd throws once more than maxBytes bytes have come, and keeps them", () => {
  const { reader } = readerOf("abc", "", "def");
  run(function* () {
    expect(yield* failureOf(reader.readToEnd({ maxBytes: 5 }))).toBeInstanceOf(MessageTooLongError);
    expect(text(yield* reader.readToEnd({ maxBytes: 6 }))).toBe("abcdef");
  });
});

test("a read that loses a race loses no byte", () => {
  const { reader } = readerOf("par", "", "", "", "", "tial\n");
  run(function* () {
    let losses = 0;
    for (;;) {
      const line = yield* race(reader.readLine(), yieldNow());
      if (line !== undefined) {
        expect(line).toBe("partial");
        break;
      }
      losses++;
    }
    expect(losses).toBeGreaterThan(0);
  });
});

test("a line that a join cannot deliver is read again, with its ending and its invalid bytes", () => {
  const script = new ScriptReader([new Uint8Array([0xff, 13, 10, 97, 10])]);
  const reader = new BufReader(script);
  run(function* () {
    const task = spawn(join(reader.readLine(), sleep(1e9)));
    yield* untilIdle();
    expect(reader.buffered).toBe(2);
    task.abort();
    yield* failureOf(task);
    expect([...(yield* reader.readExact(5))]).toEqual([0xff, 13, 10, 97, 10]);
  });
});

test("a line that a join gives back wakes the read that waits meanwhile", () => {
  run(function* () {
    const [near, far] = duplex();
    const reader = new BufReader(far);
    yield* near.writeAll("a\n");
    const holder = spawn(join(reader.readLine(), sleep(1e9)));
    yield* untilIdle();
    const waiting = spawn(reader.readLine());
    yield* untilIdle();
    expect(waiting.isFinished).toBe(false);
    holder.abort();
    expect(yield* waiting).toBe("a");
    yield* near.writeAll("b\n");
    expect(yield* reader.readLine()).toBe("b");
  });
});

test("a second read throws while one waits, and the first one goes on", () => {
  const { reader } = readerOf("", "", "", "a\nb\n");
  const first = reader.readLine();
  const { cx } = manualContext();
  expect(first.poll(cx)).toBe(Pending);
  const error = caught(() => reader.readExact(1).poll(cx));
  expect(error).toBeInstanceOf(ConcurrentUseError);
  expect(error).toMatchObject({
    code: "ERR_CONCURRENT_USE",
    message:
      "readExact: a readLine already waits on this BufReader, which allows one read at a time",
  });
  let line: unknown = Pending;
  while (line === Pending) line = first.poll(cx);
  expect(line).toBe("a");
  expect(reader.readLine().poll(cx)).toBe("b");
});

test("an error of the stream consumes nothing, and the next read continues", () => {
  const { reader } = readerOf("ab", new Error("reset"), "c\n");
  run(function* () {
    expect((yield* failureOf<Error>(reader.readLine())).message).toBe("reset");
    expect(reader.buffered).toBe(2);
    expect(yield* reader.readLine()).toBe("abc");
  });
});

test("a loop over buffered lines lets other tasks run", () => {
  const { reader } = readerOf("x\n".repeat(1000));
  run(function* () {
    let others = 0;
    const other = spawn(function* () {
      for (;;) {
        others++;
        yield* yieldNow();
      }
    });
    expect(yield* allLines(reader)).toHaveLength(1000);
    expect(others).toBeGreaterThan(5);
    other.abort();
  });
});

test("lines works in coroutines and in for await, and leaving the loop loses nothing", async () => {
  const { reader } = readerOf("a\nb", "", "\nc\nd\ne");
  const lines = reader.lines({ maxBytes: 10 });
  run(function* () {
    expect(yield* lines.next()).toBe("a");
  });
  const seen: string[] = [];
  for await (const line of lines) {
    seen.push(line);
    if (line === "c") break;
  }
  for await (const line of lines) seen.push(line);
  expect(seen).toEqual(["b", "c", "d", "e"]);
});

test("a forEach over lines that fails or is cancelled leaves no read running", async () => {
  await using runtime = new Runtime();
  await runtime.run(async () => {
    const [client, server] = duplex();
    const reader = new BufReader(server);
    await client.writeAll("bad\n");
    const failing = forEach(reader.lines(), async (line) => {
      await yieldNow();
      throw new Error(`invalid: ${line}`);
    });
    await expectError(failing, "invalid: bad");
    await expectError(
      timeout(
        1,
        forEach(reader.lines(), async () => {}),
      ),
      "not done within 1 ms",
    );
    expect(runtime.tasks().length).toBe(1);
    await client.writeAll("one\ntwo\n");
    expect([await reader.readLine(), await reader.readLine()]).toEqual(["one", "two"]);
  });
});

async function expectError(work: PromiseLike<unknown>, message: string): Promise<void> {
  const error = await work.then(null, (reason: Error) => reason);
  expect((error as Error).message).toStartWith(message);
}

/** A user's stream: a coroutine that reads nothing for long, and whose cleanup waits. */
function slowStream(log: string[]): ByteReader {
  return {
    read: () => intoFuture(sleepThen(0)),
    readChunk: () =>
      intoFuture(function* () {
        try {
          yield* sleep(1e9);
          return null;
        } finally {
          yield* sleep(1);
          log.push("clean");
        }
      }),
  };
}

const storage = new AsyncLocalStorage<string>();
function* sleepThen(count: number): Coroutine<number> {
  yield* sleep(0);
  return count;
}

test("a timeout of a read waits for the cleanup of a stream that is a coroutine", () => {
  const log: string[] = [];
  const reader = new BufReader(slowStream(log));
  run(function* () {
    expect(yield* failureOf(timeout(1, reader.readLine()))).toBeInstanceOf(TimeoutError);
    expect(log).toEqual(["clean"]);
    expect(yield* failureOf(timeout(1, reader.readLine()))).toBeInstanceOf(TimeoutError);
  });
});

test("a stream and a decoder see the AsyncLocalStorage of the await", async () => {
  const log: string[] = [];
  const own = new BufReader({
    read: () => intoFuture(sleepThen(0)),
    readChunk: () =>
      intoFuture(function* () {
        yield* sleep(1);
        log.push(`read in ${storage.getStore()}`);
        return bytes("a\n");
      }),
  });
  await using runtime = new Runtime();
  await runtime.run(async () => {
    for (const name of ["first", "next"]) await storage.run(name, async () => own.readLine());
    const { reader } = readerOf("a", "", "b", "c", "", "d");
    const decode = (data: Uint8Array) => {
      log.push(`${data.length} in ${storage.getStore()}`);
      return data.length < 2 ? null : { value: 1, consumed: 2 };
    };
    for (const name of ["one", "two"]) {
      await storage.run(name, async () => reader.readFrame(decode));
    }
  });
  expect(log).toEqual([
    ...["read in first", "read in next"],
    ...["1 in one", "2 in one", "1 in two", "2 in two"],
  ]);
});

test("a waiting read says what it waits for", () => {
  const { reader } = readerOf("", "a");
  const line = reader.readLine() as Future<string | null> & { describe(): string };
  const { cx } = manualContext();
  expect(line.describe()).toBe("readLine");
  line.poll(cx);
  expect(cx.blockedOn?.describe()).toBe("readLine: a scripted read");
  const [, silent] = duplex();
  expect(() => run(new BufReader(silent).readExact(1))).toThrow(
    "Stuck: blockOn waits on readExact: read of a duplex stream",
  );
});

test("a long line in many chunks is searched once", () => {
  const chunk = "x".repeat(100);
  const { reader } = readerOf(...Array<string>(5000).fill(chunk), "\n");
  const { indexOf } = Uint8Array.prototype;
  let searched = 0;
  Uint8Array.prototype.indexOf = function (value, from = 0) {
    searched += this.length - from;
    return indexOf.call(this, value, from);
  };
  try {
    run(function* () {
      expect(yield* reader.readLine({ maxBytes: 1e6 })).toHaveLength(500_000);
    });
  } finally {
    Uint8Array.prototype.indexOf = indexOf;
  }
  expect(searched).toBe(500_001);
});

test("a long message in many chunks is moved a few times, not once per chunk", () => {
  const { reader } = readerOf(...Array<string>(2000).fill("x".repeat(100)));
  const { set } = Uint8Array.prototype;
  let moved = 0;
  Uint8Array.prototype.set = function (source, offset) {
    moved += source.length;
    set.call(this, source, offset);
  };
  try {
    run(function* () {
      expect(yield* reader.readExact(200_000)).toHaveLength(200_000);
    });
  } finally {
    Uint8Array.prototype.set = set;
  }
  expect(moved).toBeLessThan(1_000_000);
});

test("a loop of reads reuses one read of the stream", () => {
  run(function* () {
    const [near, far] = yield* streamPair();
    using _ = near;
    using __ = far;
    const futures = new Set<unknown>();
    const reader = new BufReader({
      read: (buffer) => far.read(buffer),
      readChunk(options) {
        const future = far.readChunk(options);
        futures.add(future);
        return future;
      },
    });
    const lines = new Set<unknown>();
    for (let count = 0; count < 10; count++) {
      yield* near.writeAll("a line\n");
      const future = reader.readLine();
      lines.add(future);
      expect(yield* future).toBe("a line");
    }
    expect([futures.size, lines.size]).toEqual([1, 1]);
  });
});

test("a reader with nothing buffered holds none of the chunks it has read", () => {
  const readers: BufReader[] = [];
  const chunks: WeakRef<Uint8Array>[] = [];
  run(function* () {
    for (let count = 0; count < 50; count++) {
      const reader = new BufReader({
        read: () => intoFuture(sleepThen(0)),
        readChunk: () =>
          intoFuture(function* () {
            yield* sleep(0);
            const chunk = bytes("a\n");
            chunks.push(new WeakRef(chunk));
            return chunk;
          }),
      });
      readers.push(reader);
      expect(yield* reader.readLine()).toBe("a");
      expect(yield* reader.readExact(2)).toHaveLength(2);
    }
  });
  Bun.gc(true);
  const held = chunks.filter((chunk) => chunk.deref() !== undefined).length;
  expect(chunks).toHaveLength(100);
  expect(held).toBeLessThan(20); // the engine may still find a few on its stack
  expect(readers).toHaveLength(50);
});

test("a stream that drops the read it performs loses no byte", () => {
  let doomed: Future<unknown> | null = null;
  const log: string[] = [];
  class DroppingRead extends Leaf<Uint8Array> {
    #isPolled = false;
    protected override attempt(): Poll<Uint8Array> {
      if (doomed === null && !this.#isPolled) {
        this.#isPolled = true;
        return Pending;
      }
      doomed?.drop();
      return bytes("ab");
    }
    protected override release(): void {
      log.push("released");
    }
    override describe(): string {
      return "a read";
    }
  }
  const reader = new BufReader({
    read: () => intoFuture(sleepThen(0)),
    readChunk: () => new DroppingRead(),
  });
  const { cx } = manualContext();
  const dropped = reader.readExact(3);
  doomed = dropped;
  expect(() => dropped.poll(cx)).toThrow("polled after it had completed or been dropped");
  expect(log).toEqual(["released"]);
  expect(reader.buffered).toBe(2);
  doomed = null;
  expect(reader.readExact(2).poll(cx)).toEqual(bytes("ab"));
});

test("a stream that returns no byte, or no array, is refused", () => {
  for (const [chunk, what] of [
    [new Uint8Array(0), "an empty array"],
    [undefined, "undefined"],
    ["text", '"text"'],
  ]) {
    const reader = new BufReader({
      read: () => intoFuture(sleepThen(0)),
      readChunk: () => intoFuture(async () => chunk as never),
    });
    expect(() => run(reader.readLine())).toThrow(
      `BufReader: readChunk of the stream must return at least one byte, or null at the end; got ${what}`,
    );
  }
});

test("a long read of a stream that is always ready lets other tasks run", () => {
  class Ready extends Future<Uint8Array> {
    override poll(): Poll<Uint8Array> {
      return bytes("x"); // charges nothing to the coop budget
    }
  }
  const reader = new BufReader({
    read: () => intoFuture(sleepThen(0)),
    readChunk: () => new Ready(),
  });
  run(function* () {
    let others = 0;
    const other = spawn(function* () {
      for (;;) {
        others++;
        yield* yieldNow();
      }
    });
    expect(yield* reader.readExact(1000)).toHaveLength(1000);
    expect(others).toBeGreaterThan(5);
    other.abort();
  });
});

test("bad arguments throw errors that name the rule", () => {
  const { reader } = readerOf();
  const message = (call: () => unknown): string => (caught(call) as Error).message;
  expect(message(() => new BufReader({} as never))).toBe(
    "BufReader: reader must have a readChunk method; got an instance of Object",
  );
  expect(message(() => new BufReader(reader, { capacity: 0 }))).toBe(
    "BufReader: capacity must be a positive integer; got 0",
  );
  expect(message(() => reader.readLine({ maxBytes: 0 }))).toContain("readLine: maxBytes");
  expect(message(() => reader.readLine({ encoding: "utf16" as never }))).toContain(
    'encoding must be "utf-8" or "latin1"; got "utf16"',
  );
  expect(message(() => reader.readUntil(256))).toContain("must be a byte, from 0 to 255; got 256");
  expect(message(() => reader.readUntil(""))).toBe("readUntil: delimiter must not be empty");
  expect(message(() => reader.readUntil({} as never))).toContain("readUntil: delimiter must be");
  expect(message(() => reader.readExact(-1))).toContain("readExact: count must be an integer");
  expect(message(() => reader.peek(1.5))).toContain("peek: count must be an integer");
  expect(message(() => reader.readToEnd({} as never))).toContain("readToEnd: maxBytes");
  expect(message(() => reader.readFrame(1 as never))).toContain("decode must be a function; got 1");
  expect(message(() => reader.read(new Uint8Array(0)))).toContain("at least one byte");
});
