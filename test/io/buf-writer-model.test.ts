// BufWriter against a model: whatever the stream accepts at once, and wherever writes are dropped or fail, the stream
// gets every completed write once and in order, and of the others all or nothing.

import { expect, setDefaultTimeout, test } from "bun:test";
import fc from "fast-check";
import { BufWriter, type Future, Pending } from "../../src/index.ts";
import { manualContext } from "../support/manual.ts";
import { ScriptWriter, type WriteStep } from "../support/scripted-streams.ts";

setDefaultTimeout(60_000); // a slow machine must not fail the test

interface Op {
  kind: "text" | "bytes" | "length" | "pieces" | "some" | "flush";
  length: number;
  /** Where `pieces` is cut. */
  cut: number;
  /** The suspension at which the write is dropped, counted from 1; 0: never. */
  dropAt: number;
}

const failure = new Error("the stream failed");
const op: fc.Arbitrary<Op> = fc.record({
  kind: fc.constantFrom<Op["kind"]>("text", "bytes", "length", "pieces", "some", "flush"),
  length: fc.oneof(fc.integer({ min: 1, max: 8 }), fc.integer({ min: 1, max: 50 })),
  cut: fc.nat(50),
  dropAt: fc.constantFrom(0, 0, 1, 2, 3),
});
const step: fc.Arbitrary<WriteStep> = fc.oneof(
  { weight: 3, arbitrary: fc.integer({ min: 1, max: 12 }) },
  { weight: 3, arbitrary: fc.constant<WriteStep>("wait") },
  { weight: 1, arbitrary: fc.constant<WriteStep>(failure) },
);

/** A message that no other contains: its number in non-ASCII characters where there is room for them. */
function messageOf(number: number, length: number): string {
  const mark = String.fromCharCode(0x400 + number); // two bytes
  return length < 2 ? "x" : mark.repeat(length / 2) + "x".repeat(length % 2);
}

function begin(writer: BufWriter, { kind, cut }: Op, message: string): Future<unknown> {
  const bytes = new TextEncoder().encode(message);
  switch (kind) {
    case "text":
      return writer.writeAll(message);
    case "bytes":
      return writer.writeAll(bytes);
    case "length":
      return writer.writeAll(Buffer.concat([bytes, Buffer.from("not this")]), bytes.length);
    case "pieces":
      return writer.writev([bytes.subarray(0, cut), "", bytes.subarray(cut)]);
    case "some":
      return writer.write(bytes);
    case "flush":
      return writer.flush();
  }
}

test("property: the stream gets each completed write once, in order, and no part of another", () => {
  const seen = { drops: 0, failures: 0, kept: 0 };
  const property = fc.property(
    fc.array(op, { maxLength: 30, size: "max" }),
    fc.array(step, { maxLength: 80, size: "max" }),
    fc.integer({ min: 1, max: 24 }),
    (ops, steps, capacity) => {
      const stream = new ScriptWriter(steps);
      const writer = new BufWriter(stream, { capacity });
      const { cx, runtime } = manualContext();

      /** Polls to the end, or to the drop. Returns the value; null if it was dropped or failed. */
      const drive = (future: Future<unknown>, dropAt: number): { value: unknown } | null => {
        for (let suspensions = 1; ; suspensions++) {
          runtime.budget = 128;
          let value: unknown;
          try {
            value = future.poll(cx);
          } catch (error) {
            if (error !== failure) throw error;
            seen.failures++;
            return null;
          }
          if (value !== Pending) return { value };
          if (suspensions !== dropAt) continue;
          seen.drops++;
          future.drop();
          expect(stream.waiting, "the write of the stream was dropped").toBe(0);
          return null;
        }
      };

      /** What the stream must get, in order: bytes, and whether they may be missing altogether. */
      const expected: { bytes: Uint8Array; isOptional: boolean }[] = [];
      for (const [number, op] of ops.entries()) {
        const message = messageOf(number, op.length);
        const bytes = new TextEncoder().encode(message);
        const ended = drive(begin(writer, op, message), op.dropAt);
        if (op.kind === "flush") {
          if (ended !== null) expect(writer.buffered).toBe(0);
        } else if (op.kind === "some") {
          if (ended !== null)
            expected.push({ bytes: bytes.subarray(0, ended.value as number), isOptional: false });
        } else if (ended !== null) expected.push({ bytes, isOptional: false });
        else if (bytes.length > capacity) expected.push({ bytes, isOptional: true });
        // Shorter data that was dropped or failed must not appear.
        const longest = Math.max(0, ...expected.map(({ bytes }) => bytes.length));
        expect(writer.buffered).toBeLessThanOrEqual(Math.max(capacity, longest));
      }
      for (;;) if (drive(writer.flush(), 0) !== null) break;
      expect(writer.buffered).toBe(0);
      writer.shutdown();
      expect(stream.isShutDown).toBe(true);

      let rest = Buffer.from(stream.written);
      for (const { bytes, isOptional } of expected) {
        const isThere = Buffer.from(bytes).equals(rest.subarray(0, bytes.length));
        if (isOptional && !isThere) continue;
        expect([...rest.subarray(0, bytes.length)]).toEqual([...bytes]);
        if (isOptional) seen.kept++;
        rest = rest.subarray(bytes.length);
      }
      expect([...rest]).toEqual([]);
    },
  );
  fc.assert(property, { numRuns: 2000 });
  for (const count of Object.values(seen)) expect(count).toBeGreaterThan(0);
});
