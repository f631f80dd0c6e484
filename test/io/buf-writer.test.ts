// BufWriter: when it writes, what a dropped or failed write leaves behind, and what it refuses.

import { expect, test } from "bun:test";
import {
  BufWriter,
  type ByteWriter,
  ConcurrentUseError,
  type Context,
  Future,
  type IntoFuture,
  intoFuture,
  join,
  Pending,
  type Poll,
  Runtime,
  spawn,
  UnflushedError,
  yieldNow,
} from "../../src/index.ts";
import { caught, failureOf } from "../support/caught.ts";
import { manualContext } from "../support/manual.ts";
import { ScriptWriter, type WriteStep } from "../support/scripted-streams.ts";

function run<T>(work: IntoFuture<T>): T {
  using runtime = new Runtime();
  return runtime.blockOn(work);
}

function writerOf(capacity: number, ...steps: WriteStep[]): [BufWriter, ScriptWriter] {
  const stream = new ScriptWriter(steps);
  return [new BufWriter(stream, { capacity }), stream];
}

test("small writes wait in the buffer until it is flushed, and then take one write", () => {
  const [writer, stream] = writerOf(64);
  run(function* () {
    yield* writer.writeAll("ä");
    yield* writer.writeAll(new Uint8Array([98]));
    yield* writer.writeAll(Buffer.from("cdef"), 2);
    yield* writer.writev(["e", Buffer.from("f")]);
    yield* writer.writeAll("");
    expect(yield* writer.write(Buffer.from("g"))).toBe(1);
    expect([stream.writes, writer.buffered]).toEqual([0, 8]);
    yield* writer.flush();
    expect([stream.writes, writer.buffered]).toEqual([1, 0]);
    yield* writer.flush();
    expect([stream.writes, stream.text]).toEqual([1, "äbcdefg"]);
  });
});

test("a write that does not fit first writes out what is buffered", () => {
  const [writer, stream] = writerOf(4);
  run(function* () {
    yield* writer.writeAll("abc");
    yield* writer.writeAll("de");
    expect([stream.text, writer.buffered]).toEqual(["abc", 2]);
    yield* writer.writeAll("fg");
    expect([stream.text, writer.buffered]).toEqual(["abc", 4]);
    expect(yield* writer.write(Buffer.from("hij"))).toBe(3);
    expect([stream.text, writer.buffered]).toEqual(["abcdefg", 3]);
  });
});

test("data longer than the buffer goes to the stream directly, and small pieces are joined before it", () => {
  const [writer, stream] = writerOf(4);
  run(function* () {
    yield* writer.writeAll("ab");
    yield* writer.writeAll("0123456789");
    expect([stream.text, stream.writes, writer.buffered]).toEqual(["ab0123456789", 2, 0]);
    yield* writer.writev(["c", "d", "", "0123456789", "e"]);
    expect([stream.text, writer.buffered]).toEqual(["ab0123456789cd0123456789e", 0]);
    expect(stream.writes).toBe(5); // cd01, 23456789, e
    expect(yield* writer.write(Buffer.from("0123456789"))).toBe(10);
    expect(stream.writes).toBe(6);
  });
});

test("text is encoded as TextEncoder does it, also half a surrogate pair", () => {
  for (const capacity of [3, 1000]) {
    const [writer, stream] = writerOf(capacity);
    const text = "a\uD83D b\u{1F600}\uDE00";
    run(function* () {
      yield* writer.writeAll(text);
      yield* writer.flush();
    });
    expect(stream.written).toEqual([...new TextEncoder().encode(text)]);
  }
});

test("writers that buffer at the same time do not share storage, and find room for wide characters", () => {
  run(function* () {
    const [first, firstStream] = writerOf(65_536);
    yield* first.writeAll("spare");
    yield* first.flush(); // leaves its storage for the next writer
    yield* first.writeAll("a");
    const [second, secondStream] = writerOf(65_536);
    yield* second.writeAll("€".repeat(1000));
    yield* first.writeAll("b");
    yield* second.flush();
    yield* first.flush();
    expect(firstStream.text).toBe("spareab");
    expect(secondStream.text).toBe("€".repeat(1000));
  });
});

test("a dropped flush continues with the next one", () => {
  const [writer, stream] = writerOf(64, 2, "wait", 1, "wait");
  const { cx } = manualContext();
  writer.writeAll("abcdef").poll(cx);
  const flush = writer.flush();
  expect(flush.poll(cx)).toBe(Pending);
  flush.drop();
  expect([stream.text, writer.buffered, stream.waiting]).toEqual(["ab", 4, 0]);
  run(writer.flush());
  expect([stream.text, writer.buffered]).toEqual(["abcdef", 0]);
});

test("a dropped write adds nothing while its data fits into the buffer", () => {
  const [writer, stream] = writerOf(4, "wait");
  const { cx } = manualContext();
  writer.writeAll("abc").poll(cx);
  const dropped = writer.writeAll("de");
  expect(dropped.poll(cx)).toBe(Pending);
  dropped.drop();
  run(writer.flush());
  expect(stream.text).toBe("abc");
});

test("when a long write is dropped halfway, the rest is written later", () => {
  const [writer, stream] = writerOf(4, 3, "wait");
  const { cx } = manualContext();
  const data = Buffer.from("0123456789");
  const dropped = writer.writeAll(data);
  expect(dropped.poll(cx)).toBe(Pending);
  dropped.drop();
  data.fill(120); // the writer has a copy
  expect([stream.text, writer.buffered]).toEqual(["012", 7]);
  run(function* () {
    yield* writer.writeAll("ab");
    yield* writer.flush();
  });
  expect(stream.text).toBe("0123456789ab");
});

test("an error of the stream keeps what is not written", () => {
  const [writer, stream] = writerOf(64, 2, new Error("reset"));
  run(function* () {
    yield* writer.writeAll("abcd");
    expect((yield* failureOf<Error>(writer.flush())).message).toBe("reset");
    expect(writer.buffered).toBe(2);
    yield* writer.flush();
    expect(stream.text).toBe("abcd");
  });
});

test("shutdown refuses while bytes are buffered, or a write waits", () => {
  const [writer, stream] = writerOf(64, "wait");
  const { cx } = manualContext();
  writer.writeAll("abcd").poll(cx);
  const error = caught(() => writer.shutdown());
  expect(error).toBeInstanceOf(UnflushedError);
  expect(error).toMatchObject({
    code: "ERR_UNFLUSHED",
    message: "shutdown: 4 bytes not written yet; flush first",
  });
  const flush = writer.flush();
  expect(flush.poll(cx)).toBe(Pending);
  expect(cx.blockedOn?.describe()).toBe("flush: a scripted write");
  expect(caught(() => writer.shutdown())).toBeInstanceOf(ConcurrentUseError);
  const busy = caught(() => writer.writeAll("e").poll(cx)) as Error;
  expect(busy.message).toBe(
    "writeAll: a flush already waits on this BufWriter, which allows one write at a time",
  );
  expect(flush.poll(cx)).toBeUndefined();
  expect(stream.isShutDown).toBe(false);
  writer.shutdown();
  expect([stream.isShutDown, stream.text]).toEqual([true, "abcd"]);
});

test("a stream that drops the write it performs loses and repeats no byte", () => {
  let dropped: Future<void> | null = null;
  const written: string[] = [];
  class DroppingWrite extends Future<number> {
    readonly #data: Uint8Array;
    constructor(data: Uint8Array) {
      super();
      this.#data = data;
    }
    override poll(_cx: Context): Poll<number> {
      const part = this.#data.subarray(0, 3);
      written.push(Buffer.from(part).toString());
      dropped?.drop();
      return part.length;
    }
  }
  const stream = { write: (data: Uint8Array) => new DroppingWrite(data) } as unknown as ByteWriter;
  for (const capacity of [4, 64]) {
    written.length = 0;
    const writer = new BufWriter(stream, { capacity });
    const { cx } = manualContext();
    dropped = writer.writeAll("0123456789");
    if (capacity === 64) {
      dropped.poll(cx);
      dropped = writer.flush();
    }
    const doomed = dropped;
    expect(() => doomed.poll(cx)).toThrow("polled after it had completed or been dropped");
    expect([written.join(""), writer.buffered]).toEqual(["012", 7]);
    dropped = null;
    expect(writer.flush().poll(cx)).toBeUndefined();
    expect(written.join("")).toBe("0123456789");
  }
});

test("a loop of buffered writes lets other tasks run", () => {
  const [writer] = writerOf(1 << 20);
  run(function* () {
    let others = 0;
    const other = spawn(function* () {
      for (;;) {
        others++;
        yield* yieldNow();
      }
    });
    for (let count = 0; count < 1000; count++) yield* writer.writeAll("x");
    expect(others).toBeGreaterThan(5);
    other.abort();
  });
});

test("data that changes its length before it is written is refused", () => {
  const [writer, stream] = writerOf(4, "wait");
  const { cx } = manualContext();
  writer.writeAll("abc").poll(cx);
  const data = new Uint8Array(3);
  const write = writer.writeAll(data);
  expect(write.poll(cx)).toBe(Pending);
  structuredClone(data, { transfer: [data.buffer] });
  expect(() => write.poll(cx)).toThrow(
    "writeAll: data must keep its length until it is written; it had 3 bytes and has 0",
  );
  expect(stream.text).toBe("abc");
});

test("a stream that claims to have written nothing, or too much, is refused", () => {
  for (const count of [0, 4, Number.NaN, undefined]) {
    const stream = { write: () => intoFuture(async () => count) } as unknown as ByteWriter;
    const writer = new BufWriter(stream);
    expect(() => run(join(writer.writeAll("abc"), writer.flush()))).toThrow(
      `BufWriter: write of the stream must return a number from 1 to 3; got ${count}`,
    );
    expect(writer.buffered).toBe(3);
  }
});

test("bad arguments throw errors that name the rule", () => {
  const [writer] = writerOf(4);
  const message = (call: () => unknown): string => (caught(call) as Error).message;
  expect(message(() => new BufWriter({} as never))).toBe(
    "BufWriter: writer must have a write method; got an instance of Object",
  );
  expect(message(() => new BufWriter(writer, { capacity: 0.5 }))).toContain("BufWriter: capacity");
  expect(message(() => writer.write(new Uint8Array(0)))).toContain("at least one byte");
  expect(message(() => writer.writeAll(1 as never))).toContain("must be a Uint8Array or a string");
  expect(message(() => writer.writeAll("a", 2))).toContain("writeAll: length must be");
  expect(message(() => writer.writev("a" as never))).toContain("pieces must be an array");
});
