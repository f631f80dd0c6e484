// BufReader against a model that has all bytes at once: any split into chunks, a drop at any suspension, an error of
// the stream at any byte, and values that are given back must not change what the reads return.

import { expect, setDefaultTimeout, test } from "bun:test";
import fc from "fast-check";
import { BufReader, type Decode, type Future, Pending } from "../../src/index.ts";
import { manualContext } from "../support/manual.ts";
import { type ReadStep, ScriptReader } from "../support/scripted-streams.ts";

setDefaultTimeout(60_000); // a slow machine must not fail the test

type Value = string | number | number[] | null;
type Result = { value: Value } | { error: string; received?: number[]; maxBytes?: number };

/** One byte of length, then the payload. 255 is a length that `decode` refuses. */
const decode: Decode<Uint8Array> = (bytes) => {
  const length = bytes[0]!; // a decoder never receives no bytes
  if (length === 255) throw new SyntaxError("a length of 255");
  return bytes.length <= length
    ? null
    : { value: bytes.slice(1, 1 + length), consumed: 1 + length };
};

type Op =
  | { kind: "line"; maxBytes: number; encoding: "utf-8" | "latin1" }
  | { kind: "until"; delimiter: number | string; maxBytes: number }
  | { kind: "exact" | "peek" | "toEnd" | "frame" | "chunk" | "read"; count: number }
  | { kind: "fill" };

const count = fc.oneof(fc.nat(6), fc.nat(40));
const limit = fc.oneof(fc.integer({ min: 1, max: 6 }), fc.constant(1000));
const op: fc.Arbitrary<Op> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant("line" as const),
      maxBytes: limit,
      encoding: fc.constantFrom("utf-8" as const, "latin1" as const),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant("until" as const),
      delimiter: fc.constantFrom(10, "\r\n", "aa", "aab", "\n"),
      maxBytes: limit,
    }),
  },
  { weight: 3, arbitrary: fc.record({ kind: fc.constantFrom("exact", "peek"), count }) },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constantFrom("toEnd", "frame", "chunk", "read"),
      count: limit,
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("fill" as const) }) },
);

/** Bytes in which line endings, delimiters, lengths and split characters are frequent. */
const input = fc
  .array(
    fc.oneof(
      fc.constantFrom<number[]>([97], [97, 97], [98], [10], [13], [13, 10], [0], [2], [255]),
      fc.constantFrom<number[]>([0xc3, 0xa9], [0xe2, 0x82, 0xac], [0xf0, 0x9f, 0x98, 0x80], [0x80]),
    ),
    { maxLength: 60, size: "max" },
  )
  .map((parts) => new Uint8Array(parts.flat()));

/** The model: performs `op` on the bytes from `at` on. Returns the result and how many bytes it consumes. */
function expected(op: Op, all: Uint8Array, at: number): { result: Result; consumed: number } {
  const rest = all.subarray(at);
  const value = (value: Value, consumed: number) => ({ result: { value }, consumed });
  const tooLong = (maxBytes: number) => ({
    result: {
      error: op.kind === "line" ? "LineTooLongError" : "MessageTooLongError",
      maxBytes,
    },
    consumed: 0,
  });
  const eof = () => ({ result: { error: "UnexpectedEofError", received: [...rest] }, consumed: 0 });
  switch (op.kind) {
    case "line": {
      if (rest.length === 0) return value(null, 0);
      const newline = rest.indexOf(10);
      let end = newline < 0 ? rest.length : newline;
      if (newline > 0 && rest[newline - 1] === 13) end--;
      if (end > op.maxBytes) return tooLong(op.maxBytes);
      const text =
        op.encoding === "latin1"
          ? String.fromCharCode(...rest.subarray(0, end))
          : new TextDecoder("utf-8", { ignoreBOM: true }).decode(rest.subarray(0, end));
      return value(text, newline < 0 ? end : newline + 1);
    }
    case "until": {
      const delimiter =
        typeof op.delimiter === "number" ? [op.delimiter] : [...Buffer.from(op.delimiter)];
      if (rest.length === 0) return value(null, 0);
      const index = Buffer.from(rest).indexOf(new Uint8Array(delimiter));
      const length = index < 0 ? rest.length - delimiter.length + 1 : index;
      if (length > op.maxBytes) return tooLong(op.maxBytes);
      if (index < 0) return eof();
      return value([...rest.subarray(0, index)], index + delimiter.length);
    }
    case "exact":
      return rest.length < op.count ? eof() : value([...rest.subarray(0, op.count)], op.count);
    case "peek":
      return value([...rest.subarray(0, op.count)], 0);
    case "toEnd":
      return rest.length > op.count ? tooLong(op.count) : value([...rest], rest.length);
    case "frame": {
      if (rest.length === 0) return value(null, 0);
      const length = rest[0]!;
      if (length === 255) return { result: { error: "SyntaxError" }, consumed: 0 };
      if (rest.length <= length) return rest.length >= op.count ? tooLong(op.count) : eof();
      if (1 + length > op.count) return tooLong(op.count);
      return value([...rest.subarray(1, 1 + length)], 1 + length);
    }
    default:
      throw new Error(`the result of ${op.kind} depends on the chunks`);
  }
}

/** Starts `op`. `into` is the buffer of a `read`. */
function begin(reader: BufReader, op: Op, into: Uint8Array): Future<unknown> {
  switch (op.kind) {
    case "line":
      return reader.readLine(op);
    case "until":
      return reader.readUntil(op.delimiter, op);
    case "exact":
      return reader.readExact(op.count);
    case "peek":
      return reader.peek(op.count);
    case "toEnd":
      return reader.readToEnd({ maxBytes: op.count });
    case "frame":
      return reader.readFrame(decode, { maxBytes: op.count });
    case "chunk":
      return reader.readChunk({ maxBytes: op.count });
    case "read":
      return reader.read(into);
    case "fill":
      return reader.fill();
  }
}

const plain = (value: unknown): Value =>
  value instanceof Uint8Array ? [...value] : (value as Value);

const failure = new Error("the stream failed");

test("property: no split, drop, error or value given back changes what the reads return", () => {
  let drops = 0;
  let reclaims = 0;
  const property = fc.property(
    input,
    fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 30 }),
    fc.array(fc.constantFrom<"wait" | "fail" | null>("wait", "wait", "fail", null), {
      maxLength: 60,
      size: "max",
    }),
    fc.array(fc.record({ op, isReclaimed: fc.boolean() }), { maxLength: 30, size: "max" }),
    fc.infiniteStream(fc.boolean()),
    fc.integer({ min: 1, max: 40 }),
    (all, sizes, interruptions, ops, drop, capacity) => {
      const steps: ReadStep[] = [];
      for (let at = 0, turn = 0; at < all.length; turn++) {
        const end = Math.min(all.length, at + sizes[turn % sizes.length]!);
        const interruption = interruptions[turn] ?? null;
        if (interruption !== null) steps.push(interruption === "fail" ? failure : interruption);
        steps.push(all.slice(at, end));
        at = end;
      }
      const script = new ScriptReader(steps);
      const reader = new BufReader(script, { capacity });
      const { cx, runtime } = manualContext();

      /** Runs `op` to its end: drops it at some suspensions, and repeats it after a drop and after `failure`. */
      const run = (op: Op, into: Uint8Array): { future: Future<unknown>; value: unknown } => {
        for (;;) {
          const future = begin(reader, op, into);
          for (;;) {
            runtime.budget = 128;
            cx.wakes = 0;
            const before = reader.buffered;
            let value: unknown;
            try {
              value = future.poll(cx);
            } catch (error) {
              expect(script.waiting).toBe(0);
              if (error !== failure) throw error;
              break;
            }
            if (value !== Pending) {
              expect(script.waiting).toBe(0);
              return { future, value };
            }
            expect(cx.wakes).toBe(1);
            expect(reader.buffered).toBeGreaterThanOrEqual(before);
            if (drop.next().value === true) {
              drops++;
              future.drop();
              expect(script.waiting, "the read of the stream was dropped").toBe(0);
              break;
            }
          }
        }
      };

      let at = 0;
      const step = (op: Op, isReclaimed: boolean): void => {
        const into = new Uint8Array(op.kind === "read" ? op.count : 1);
        let result: Result;
        let ended: { future: Future<unknown>; value: unknown } | null = null;
        try {
          ended = run(op, into);
          result = { value: plain(ended.value) };
        } catch (thrown) {
          const error = thrown as Error & { received?: Uint8Array; maxBytes?: number };
          result = { error: error.name };
          if (error.received !== undefined) result.received = [...error.received];
          if (error.maxBytes !== undefined) result.maxBytes = error.maxBytes;
        }
        let consumed = 0;
        if (op.kind === "chunk" || op.kind === "read") {
          const value = ended?.value;
          const bytes =
            op.kind === "chunk" ? (value as Uint8Array | null) : into.subarray(0, value as number);
          consumed = bytes?.length ?? 0;
          expect(consumed).toBeLessThanOrEqual(op.count);
          expect([...(bytes ?? [])]).toEqual([...all.subarray(at, at + consumed)]);
          expect(consumed === 0, "only the end is empty").toBe(at === all.length);
        } else if (op.kind === "fill") {
          if (ended?.value === 0) expect(at + reader.buffered).toBe(all.length);
          else expect(reader.buffered).toBeGreaterThan(0);
        } else {
          const model = expected(op, all, at);
          expect(result).toEqual(model.result);
          consumed = model.consumed;
        }
        if (ended !== null && isReclaimed) {
          reclaims++;
          ended.future.reclaim(ended.value);
        } else at += consumed;
      };
      for (const { op, isReclaimed } of ops) step(op, isReclaimed);
      step({ kind: "toEnd", count: 10_000 }, false);
      expect(at).toBe(all.length);
      expect(reader.buffered).toBe(0);
    },
  );
  fc.assert(property, { numRuns: 2000 });
  expect(drops).toBeGreaterThan(0);
  expect(reclaims).toBeGreaterThan(0);
});
