// Framing: length-delimited and delimited frames, and frames of one's own, as readers (Frames) and FrameWriters.
//
// A frame is found by a pure function over the buffered bytes (`Decode`) and consumed when it is complete, so a codec is
// cancel safe by construction: it has no state that a dropped read could leave behind.

import {
  checkConstructor,
  checkCount,
  checkObject,
  invalidType,
  outOfRange,
} from "../base/check.ts";
import { describe } from "../base/describe.ts";
import { inspectableParts, lineOf } from "../base/inspect.ts";
import type { Future } from "../core/future.ts";
import { BufReader, DEFAULT_MAX_BYTES, type MaxBytesOptions, toDelimiter } from "./buf-reader.ts";
import { BufWriter } from "./buf-writer.ts";
import type { ByteReader, ByteWriter } from "./bytes.ts";
import { type Decode, Frames } from "./frames.ts";
import { MessageTooLongError } from "./stream-errors.ts";

/** The limit of a length-delimited frame where the caller sets none: 8 MiB, as in tokio_util. */
const MAX_LENGTH_DELIMITED_BYTES = 8_388_608;

/** Options of `lengthDelimited` and `lengthDelimitedWriter`. Both sides of a connection need the same. */
export interface LengthDelimitedOptions {
  /** The number of bytes of the length before each frame: 1, 2, 4 or 8. 4 by default. */
  bytes?: 1 | 2 | 4 | 8;
  /** The order of the bytes of the length. "big" by default. */
  endian?: "big" | "little";
  /** The most bytes of a frame, without its length: a positive integer. 8388608 by default. */
  maxBytes?: number;
}

/** Turns a frame into bytes, or into pieces that are written one after the other. A string is written as UTF-8. */
export type Encode<T> = (frame: T) => Uint8Array | string | readonly (Uint8Array | string)[];

/**
 * Returns the frames of `reader` that `decode` finds. `decode` is a pure function from the bytes that have arrived to the
 * first frame in them, or to null if it needs more bytes; see `Decode`. Nothing is consumed before a frame is complete,
 * so every codec is cancel safe. If `reader` is not a BufReader, creates one; pass a BufReader to read from it by other
 * means as well, before the first frame or between frames.
 *
 * `next` and the loop over the frames throw what `decode` throws, UnexpectedEofError if the stream ends inside a frame,
 * MessageTooLongError if a frame consists of more than `maxBytes` bytes, and what the stream throws.
 *
 * @example
 * // A point: two bytes.
 * const points = frames(connection, (bytes) =>
 *   bytes.length < 2 ? null : { value: { x: bytes[0], y: bytes[1] }, consumed: 2 });
 * const point = yield* points.next();
 */
export function frames<T>(
  reader: ByteReader,
  decode: Decode<T>,
  options: MaxBytesOptions = {},
): Frames<T> {
  checkObject(options, "frames: options");
  const { maxBytes = DEFAULT_MAX_BYTES } = options;
  checkCount(maxBytes, "frames: maxBytes");
  if (typeof decode !== "function") {
    throw invalidType(`frames: decode must be a function; got ${describe(decode)}`);
  }
  const buffered = bufferedReader(reader);
  const limit = { maxBytes };
  return new Frames(() => buffered.readFrame(decode, limit));
}

/**
 * Returns the frames of `reader` that each begin with their length. An empty frame is an empty array. `next` and the loop
 * over the frames throw MessageTooLongError as soon as a length above `maxBytes` has arrived, UnexpectedEofError if the
 * stream ends inside a frame, and what the stream throws. Throws TypeError and RangeError for invalid options. Cancel
 * safe. Like tokio_util's LengthDelimitedCodec.
 *
 * @example
 * const [near, far] = duplex();
 * const writer = lengthDelimitedWriter(near);
 * yield* writer.write("hello");
 * yield* writer.flush();
 * const frame = yield* lengthDelimited(far).next();
 * console.log(new TextDecoder().decode(frame!)); // hello
 */
export function lengthDelimited(
  reader: ByteReader,
  options: LengthDelimitedOptions = {},
): Frames<Uint8Array> {
  const { bytes, isLittle, maxBytes } = checkLengthOptions(options, "lengthDelimited");
  const decode: Decode<Uint8Array> = (data) => {
    if (data.length < bytes) return null;
    let length = 0; // a length of 8 bytes may lose its lowest bits, but then it is above any limit
    for (let index = 0; index < bytes; index++) {
      length = length * 256 + data[isLittle ? bytes - 1 - index : index]!;
    }
    if (length > maxBytes) throw frameTooLong("lengthDelimited", length, maxBytes);
    const end = bytes + length;
    return data.length < end ? null : { value: data.slice(bytes, end), consumed: end };
  };
  return frames(reader, decode, { maxBytes: Math.min(maxBytes + bytes, Number.MAX_SAFE_INTEGER) });
}

/**
 * Returns the frames of `reader` that each end with `delimiter`, without it. `delimiter` is a byte, or several, or a string
 * (as UTF-8). `next` and the loop over the frames throw MessageTooLongError if a frame is longer than `maxBytes` (65536 by
 * default), UnexpectedEofError if the stream ends with bytes that no delimiter follows, and what the stream throws. Throws
 * TypeError and RangeError for an invalid delimiter or limit. Cancel safe. For text lines, `reader.lines()` returns
 * strings and accepts CRLF.
 *
 * @example
 * const records = delimited(connection, "\r\n");
 * const first = yield* records.next();
 */
export function delimited(
  reader: ByteReader,
  delimiter: number | Uint8Array | string,
  options: MaxBytesOptions = {},
): Frames<Uint8Array> {
  const sought = toDelimiter(delimiter, "delimited");
  checkObject(options, "delimited: options");
  const { maxBytes = DEFAULT_MAX_BYTES } = options;
  checkCount(maxBytes, "delimited: maxBytes");
  const buffered = bufferedReader(reader);
  const limit = { maxBytes };
  return new Frames(() => buffered.readUntil(sought, limit));
}

/**
 * Writes frames through a BufWriter. Create it with `lengthDelimitedWriter`, `delimitedWriter` or `frameWriter`.
 * Frames reach the stream with `flush`, or when the buffer is full.
 */
export class FrameWriter<T> {
  static {
    inspectableParts<FrameWriter<unknown>>(FrameWriter, (it) => lineOf(it.#writer));
  }

  readonly #writer: BufWriter;
  readonly #encode: Encode<T>;

  private constructor(writer: BufWriter, encode: Encode<T>) {
    checkConstructor(writer, BufWriter, "FrameWriter", "frameWriter(writer, encode)");
    this.#writer = writer;
    this.#encode = encode;
  }

  /** @internal */
  static create<T>(writer: BufWriter, encode: Encode<T>): FrameWriter<T> {
    return new FrameWriter(writer, encode);
  }

  /**
   * Encodes `frame` at once, and buffers it. Throws what the encoder throws. Its errors and cancel safety are those of
   * `writev` of a BufWriter: a dropped write has added nothing, or all of a frame that is longer than the buffer.
   */
  write(frame: T): Future<void> {
    const encoded = this.#encode(frame);
    const isOne = typeof encoded === "string" || encoded instanceof Uint8Array;
    return isOne ? this.#writer.writeAll(encoded) : this.#writer.writev(encoded);
  }

  /** Writes out all frames that are buffered. Cancel safe: a dropped flush keeps what it has not written. */
  flush(): Future<void> {
    return this.#writer.flush();
  }
}

/**
 * Returns a writer of frames that `encode` turns into bytes, the counterpart of `frames`. If `writer` is not a BufWriter,
 * creates one. Throws TypeError if `encode` is not a function.
 *
 * @example
 * const points = frameWriter(connection, (point: { x: number; y: number }) =>
 *   new Uint8Array([point.x, point.y]));
 * yield* points.write({ x: 1, y: 2 });
 * yield* points.flush();
 */
export function frameWriter<T>(writer: ByteWriter, encode: Encode<T>): FrameWriter<T> {
  if (typeof encode !== "function") {
    throw invalidType(`frameWriter: encode must be a function; got ${describe(encode)}`);
  }
  return FrameWriter.create(writer instanceof BufWriter ? writer : new BufWriter(writer), encode);
}

/**
 * Returns a writer of frames that each begin with their length, the counterpart of `lengthDelimited`. Its `write` throws
 * MessageTooLongError for a frame longer than `maxBytes`, or longer than the bytes of the length can express, and
 * TypeError for a frame that is neither a Uint8Array nor a string. Throws TypeError and RangeError for invalid options.
 *
 * @example
 * const writer = lengthDelimitedWriter(connection, { bytes: 2 });
 * yield* writer.write("hello");
 * yield* writer.flush();
 */
export function lengthDelimitedWriter(
  writer: ByteWriter,
  options: LengthDelimitedOptions = {},
): FrameWriter<Uint8Array | string> {
  const { bytes, isLittle, maxBytes } = checkLengthOptions(options, "lengthDelimitedWriter");
  return frameWriter(writer, (frame) => {
    const payload = toBytes(frame, "lengthDelimitedWriter");
    if (payload.length > maxBytes) {
      throw frameTooLong("lengthDelimitedWriter", payload.length, maxBytes);
    }
    const header = new Uint8Array(bytes);
    for (let index = 0, rest = payload.length; rest > 0; index++, rest = Math.floor(rest / 256)) {
      header[isLittle ? index : bytes - 1 - index] = rest % 256;
    }
    return [header, payload];
  });
}

/**
 * Returns a writer of frames that each end with `delimiter`, the counterpart of `delimited`. Its `write` throws
 * MessageTooLongError for a frame longer than `maxBytes`, and RangeError for a frame that a reader would end early,
 * because it contains the delimiter, or because its end and the delimiter together do. Throws TypeError and RangeError
 * for an invalid delimiter or limit.
 *
 * @example
 * const writer = delimitedWriter(connection, "\0");
 * yield* writer.write("hello");
 * yield* writer.flush();
 */
export function delimitedWriter(
  writer: ByteWriter,
  delimiter: number | Uint8Array | string,
  options: MaxBytesOptions = {},
): FrameWriter<Uint8Array | string> {
  const sought = toDelimiter(delimiter, "delimitedWriter");
  checkObject(options, "delimitedWriter: options");
  const { maxBytes = DEFAULT_MAX_BYTES } = options;
  checkCount(maxBytes, "delimitedWriter: maxBytes");
  const end = typeof sought === "number" ? new Uint8Array([sought]) : sought;
  return frameWriter(writer, (frame) => {
    const payload = toBytes(frame, "delimitedWriter");
    if (payload.length > maxBytes) throw frameTooLong("delimitedWriter", payload.length, maxBytes);
    const encoded = Buffer.concat([payload, end]);
    const index = encoded.indexOf(end);
    if (index !== payload.length) {
      throw outOfRange(
        `delimitedWriter: a frame must not contain the delimiter; this one has it at byte ${index}`,
      );
    }
    return encoded;
  });
}

function bufferedReader(reader: ByteReader): BufReader {
  return reader instanceof BufReader ? reader : new BufReader(reader);
}

function toBytes(frame: unknown, caller: string): Uint8Array {
  if (typeof frame === "string") return new TextEncoder().encode(frame);
  if (frame instanceof Uint8Array) return frame;
  throw invalidType(`${caller}: frame must be a Uint8Array or a string; got ${describe(frame)}`);
}

function frameTooLong(caller: string, length: number, maxBytes: number): MessageTooLongError {
  return new MessageTooLongError(
    `${caller}: the frame has ${length} bytes, more than maxBytes, ${maxBytes}`,
    maxBytes,
  );
}

function checkLengthOptions(
  options: LengthDelimitedOptions,
  caller: string,
): { bytes: number; isLittle: boolean; maxBytes: number } {
  checkObject(options, `${caller}: options`);
  const { bytes = 4, endian = "big", maxBytes = MAX_LENGTH_DELIMITED_BYTES } = options;
  if (bytes !== 1 && bytes !== 2 && bytes !== 4 && bytes !== 8) {
    throw outOfRange(`${caller}: bytes must be 1, 2, 4 or 8; got ${describe(bytes)}`);
  }
  if (endian !== "big" && endian !== "little") {
    throw invalidType(`${caller}: endian must be "big" or "little"; got ${describe(endian)}`);
  }
  checkCount(maxBytes, `${caller}: maxBytes`);
  // What the length can express limits a frame, too. (Above a safe integer, nothing is that long.)
  return { bytes, isLittle: endian === "little", maxBytes: Math.min(maxBytes, 256 ** bytes - 1) };
}
