// Codecs, by properties: frames survive writing, any split into chunks, drops and errors; and a stream that is cut
// anywhere ends with an error that has the rest.

import { expect, setDefaultTimeout, test } from "bun:test";
import fc from "fast-check";
import {
  BufWriter,
  type ByteReader,
  type ByteWriter,
  type Decode,
  delimited,
  delimitedWriter,
  type Frames,
  type FrameWriter,
  type Future,
  frames,
  frameWriter,
  lengthDelimited,
  lengthDelimitedWriter,
  type MessageTooLongError,
  Pending,
  type UnexpectedEofError,
} from "../../src/index.ts";
import { manualContext } from "../support/manual.ts";
import {
  type ReadStep,
  ScriptReader,
  ScriptWriter,
  type WriteStep,
} from "../support/scripted-streams.ts";

setDefaultTimeout(60_000); // a slow machine must not fail the test

interface Codec {
  readonly name: string;
  readonly reader: (from: ByteReader) => Frames<Uint8Array>;
  readonly writer: (to: ByteWriter) => FrameWriter<Uint8Array>;
  /** Returns how many bytes a frame of this length has in the stream. */
  readonly size: (length: number) => number;
}

/** A codec of one's own: decimal length, a colon, the payload, a comma: netstrings. */
const decodeNetstring: Decode<Uint8Array> = (bytes) => {
  const colon = bytes.indexOf(0x3a);
  if (colon < 0) {
    if (bytes.length > 4) throw new SyntaxError("a length of more than four digits");
    return null;
  }
  const length = Number(Buffer.from(bytes.subarray(0, colon)).toString());
  const end = colon + 1 + length;
  return bytes.length <= end ? null : { value: bytes.slice(colon + 1, end), consumed: end + 1 };
};

const MAX_BYTES = 40;
const codecs: Codec[] = [
  ...([1, 2, 4, 8] as const).flatMap((bytes) =>
    (["big", "little"] as const).map((endian): Codec => {
      const options = { bytes, endian, maxBytes: MAX_BYTES };
      return {
        name: `lengthDelimited ${bytes} ${endian}`,
        reader: (from) => lengthDelimited(from, options),
        writer: (to) => lengthDelimitedWriter(to, options),
        size: (length) => bytes + length,
      };
    }),
  ),
  ...["\n", "\r\n", "aab"].map(
    (delimiter): Codec => ({
      name: `delimited ${JSON.stringify(delimiter)}`,
      reader: (from) => delimited(from, delimiter, { maxBytes: MAX_BYTES }),
      writer: (to) => delimitedWriter(to, delimiter, { maxBytes: MAX_BYTES }),
      size: (length) => length + delimiter.length,
    }),
  ),
  {
    name: "netstrings",
    reader: (from) => frames(from, decodeNetstring),
    writer: (to) => frameWriter(to, (frame) => [`${frame.length}:`, frame, ","]),
    size: (length) => `${length}:,`.length + length,
  },
];

const failure = new Error("the stream failed");
/** Payloads in which no delimiter of the codecs is, also not together with the delimiter that follows. */
const payload = fc
  .array(fc.constantFrom(0, 1, 13, 97, 98, 255), { maxLength: MAX_BYTES })
  .map((bytes) => new Uint8Array(bytes))
  .filter((bytes) => {
    const text = Buffer.from(bytes).toString("latin1");
    return !/aab/.test(text) && !/a$/.test(text) && !/\r$/.test(text);
  });

/** Drives futures by hand. Drops some at a suspension; these, and those that fail with `failure`, are made again. */
class Driver {
  readonly #manual = manualContext();
  readonly #drop: Iterator<boolean>;

  constructor(drop: Iterator<boolean>) {
    this.#drop = drop;
  }

  run<T>(make: () => Future<T>): T {
    const { cx, runtime } = this.#manual;
    for (;;) {
      const future = make();
      for (;;) {
        runtime.budget = 128;
        try {
          const value = future.poll(cx);
          if (value !== Pending) return value;
        } catch (error) {
          if (error !== failure) throw error;
          break;
        }
        if (this.#drop.next().value === true) {
          future.drop();
          break;
        }
      }
    }
  }
}

/** The bytes in chunks of these sizes, with suspensions and errors between them. */
function stepsOf(
  bytes: Uint8Array,
  sizes: readonly number[],
  interruptions: readonly ("wait" | "fail" | null)[],
): ReadStep[] {
  const steps: ReadStep[] = [];
  for (let at = 0, turn = 0; at < bytes.length; turn++) {
    const interruption = interruptions[turn % interruptions.length] ?? null;
    if (interruption !== null) steps.push(interruption === "fail" ? failure : interruption);
    const size = sizes[turn % sizes.length]!;
    steps.push(bytes.slice(at, at + size));
    at += size;
  }
  return steps;
}

const sizes = fc.array(fc.integer({ min: 1, max: 20 }), { minLength: 1, maxLength: 20 });
const interruptions = fc.array(fc.constantFrom<"wait" | "fail" | null>("wait", "fail", null), {
  minLength: 1,
  maxLength: 20,
});
const writeSteps = fc.array(
  fc.oneof(fc.integer({ min: 1, max: 20 }), fc.constant<WriteStep>("wait"), fc.constant(failure)),
  { maxLength: 40, size: "max" },
);

/** Writes the frames, with a buffer that is longer than each of them, so that a dropped write may be made again. */
function written(
  codec: Codec,
  payloads: readonly Uint8Array[],
  steps: readonly WriteStep[] = [],
  driver: Driver = new Driver([].values()),
): Uint8Array {
  const stream = new ScriptWriter(steps);
  const writer = codec.writer(new BufWriter(stream, { capacity: 64 }));
  for (const one of payloads) driver.run(() => writer.write(one));
  driver.run(() => writer.flush());
  return new Uint8Array(stream.written);
}

test.each(codecs)("property: $name returns the frames that were written", (codec) => {
  fc.assert(
    fc.property(
      fc.array(payload, { maxLength: 8 }),
      ...([sizes, interruptions, writeSteps, fc.infiniteStream(fc.boolean())] as const),
      (payloads, sizes, interruptions, writeSteps, drop) => {
        const driver = new Driver(drop);
        const bytes = written(codec, payloads, writeSteps, driver);
        const total = payloads.reduce((sum, { length }) => sum + codec.size(length), 0);
        expect(bytes).toHaveLength(total);
        const reader = codec.reader(new ScriptReader(stepsOf(bytes, sizes, interruptions)));
        for (const one of payloads) expect([...driver.run(() => reader.next())!]).toEqual([...one]);
        expect(driver.run(() => reader.next())).toBeNull();
      },
    ),
    { numRuns: 200 },
  );
});

test.each(codecs)(
  "property: $name reports an end inside a frame, with the bytes of the part",
  (codec) => {
    fc.assert(
      fc.property(
        fc.array(payload, { minLength: 1, maxLength: 4 }),
        fc.nat(),
        ...([sizes, interruptions, fc.infiniteStream(fc.boolean())] as const),
        (payloads, cutSeed, sizes, interruptions, drop) => {
          const driver = new Driver(drop);
          const bytes = written(codec, payloads);
          const cut = cutSeed % bytes.length;
          const steps = stepsOf(bytes.slice(0, cut), sizes, interruptions);
          const reader = codec.reader(new ScriptReader(steps));
          let start = 0;
          for (const one of payloads) {
            const size = codec.size(one.length);
            if (start + size > cut) break;
            expect([...driver.run(() => reader.next())!]).toEqual([...one]);
            start += size;
          }
          if (start === cut) {
            expect(driver.run(() => reader.next())).toBeNull();
            return;
          }
          let error: UnexpectedEofError | null = null;
          try {
            driver.run(() => reader.next());
          } catch (thrown) {
            error = thrown as UnexpectedEofError;
          }
          expect(error?.name).toBe("UnexpectedEofError");
          expect([...error!.received]).toEqual([...bytes.subarray(start, cut)]);
        },
      ),
      { numRuns: 200 },
    );
  },
);

test.each(codecs.filter(({ name }) => name !== "netstrings"))(
  "property: $name refuses a frame above the limit, however it is split, and writes none",
  (codec) => {
    const unlimited = { maxBytes: 200 };
    const [kind, first, endian] = codec.name.split(" ");
    const wide = (to: ByteWriter): FrameWriter<Uint8Array | string> =>
      kind === "delimited"
        ? delimitedWriter(to, JSON.parse(first!), unlimited)
        : lengthDelimitedWriter(to, {
            ...unlimited,
            bytes: Number(first) as 1 | 2 | 4 | 8,
            endian: endian as "big" | "little",
          });
    fc.assert(
      fc.property(
        payload,
        fc.integer({ min: MAX_BYTES + 1, max: 200 }),
        ...([sizes, interruptions, fc.infiniteStream(fc.boolean())] as const),
        (small, length, sizes, interruptions, drop) => {
          const driver = new Driver(drop);
          const large = new Uint8Array(length).fill(1);
          const stream = new ScriptWriter();
          const writer = wide(stream);
          for (const one of [small, large]) driver.run(() => writer.write(one));
          driver.run(() => writer.flush());
          const bytes = new Uint8Array(stream.written);
          const reader = codec.reader(new ScriptReader(stepsOf(bytes, sizes, interruptions)));
          expect([...driver.run(() => reader.next())!]).toEqual([...small]);
          for (const attempt of [
            () => driver.run(() => reader.next()),
            () => driver.run(() => reader.next()), // the frame stays buffered
            () => codec.writer(new ScriptWriter()).write(large),
          ]) {
            let error: MessageTooLongError | null = null;
            try {
              attempt();
            } catch (thrown) {
              error = thrown as MessageTooLongError;
            }
            expect(error).toMatchObject({ name: "MessageTooLongError", maxBytes: MAX_BYTES });
          }
        },
      ),
      { numRuns: 100 },
    );
  },
);
