// BufReader: reads lines, exact counts and delimited messages from a byte stream. buffered-read.ts has its futures.

import { checkCount, checkObject, invalidType, outOfRange } from "../base/check.ts";
import { describe } from "../base/describe.ts";
import { counted, inspectableParts } from "../base/inspect.ts";
import type { Future } from "../core/future.ts";
import { reuse } from "../core/leaf.ts";
import { checkBuffer } from "../sys/socket.ts";
import {
  ByteInput,
  Fill,
  ReadExact,
  ReadFrame,
  ReadInto,
  ReadLine,
  ReadToEnd,
  ReadUntil,
  TakeChunk,
  type TextEncoding,
} from "./buffered-read.ts";
import { type ByteReader, CHUNK_BYTES, type ReadChunkOptions } from "./bytes.ts";
import { type Decode, Frames } from "./frames.ts";
import { checkMaxBytes } from "./read-chunk.ts";

/** The limit of a line, or of a message that ends with a delimiter, where the caller sets none. */
export const DEFAULT_MAX_BYTES = 65_536;

/** Options of a BufReader. */
export interface BufReaderOptions {
  /** The most bytes to read from the stream at once: a positive integer. 65536 by default. */
  capacity?: number;
}

/** The limit of one message. */
export interface MaxBytesOptions {
  /** The most bytes of one message, without its delimiter: a positive integer. 65536 by default. */
  maxBytes?: number;
}

/** Options of `readLine` and `lines`. */
export interface ReadLineOptions extends MaxBytesOptions {
  /** "utf-8" (the default), in which invalid bytes become U+FFFD; or "latin1", one character per byte. */
  encoding?: TextEncoding;
}

/**
 * Buffers a byte stream, to read lines, exact counts of bytes, messages with a delimiter, or frames of your own. It is a
 * ByteReader itself. It does not own the stream: close the stream.
 *
 * Every read is cancel safe: a dropped read, or one that throws, has consumed nothing, and all bytes that have arrived
 * are there for the next read. One read at a time may wait: a second one throws ConcurrentUseError. A read that the
 * buffer can serve makes no syscall. A reader with nothing buffered holds no buffer.
 *
 * Each read throws what the stream throws (SysError, ClosedError). The stream's end is final: once it was reached, the
 * stream is not read again.
 *
 * @example
 * const reader = new BufReader(connection);
 * for (let line; (line = yield* reader.readLine()) !== null; ) console.log(line);
 */
export class BufReader implements ByteReader {
  static {
    inspectableParts(BufReader, (it) => `${counted(it.buffered, "byte")} buffered`);
  }

  readonly #input: ByteInput;

  /** Throws TypeError if `reader` has no `readChunk`, and RangeError unless `capacity` is a positive integer. */
  constructor(reader: ByteReader, options: BufReaderOptions = {}) {
    checkReader(reader, "BufReader: reader");
    checkObject(options, "BufReader: options");
    const { capacity = CHUNK_BYTES } = options;
    checkCount(capacity, "BufReader: capacity");
    this.#input = new ByteInput(reader, capacity);
  }

  /** The number of bytes that have arrived and were not consumed. */
  get buffered(): number {
    return this.#input.buffer.length;
  }

  /**
   * Waits for a line, and returns it without its ending, LF or CRLF. Returns null at the end of the stream, and
   * the last line also if it has no ending. Throws LineTooLongError if the line is longer than `maxBytes`, TypeError
   * for an unknown `encoding`, and RangeError unless `maxBytes` is a positive integer. Cancel safe.
   *
   * @example
   * const reader = new BufReader(connection);
   * const greeting = yield* reader.readLine({ maxBytes: 512 });
   */
  readLine(options: ReadLineOptions = {}): Future<string | null> {
    checkObject(options, "readLine: options");
    const { maxBytes = DEFAULT_MAX_BYTES, encoding = "utf-8" } = options;
    checkCount(maxBytes, "readLine: maxBytes");
    if (encoding !== "utf-8" && encoding !== "latin1") {
      throw invalidType(
        `readLine: encoding must be "utf-8" or "latin1"; got ${describe(encoding)}`,
      );
    }
    const input = this.#input;
    return (reuse(input.line) ?? new ReadLine(input)).arm(maxBytes, encoding);
  }

  /**
   * Returns the lines until the end of the stream, as `readLine` reads them. `next` and the loop over the lines throw
   * what `readLine` throws.
   *
   * @example
   * for await (const line of new BufReader(connection).lines()) console.log(line);
   */
  lines(options: ReadLineOptions = {}): Frames<string> {
    checkObject(options, "lines: options");
    const copy = { ...options };
    return new Frames(() => this.readLine(copy));
  }

  /**
   * Waits for `delimiter`, and returns the bytes before it. Consumes the delimiter as well. `delimiter` is a byte, or
   * several, or a string (as UTF-8). Returns null at the end of the stream. Throws UnexpectedEofError if the stream ends
   * with bytes that no delimiter follows, MessageTooLongError if more than `maxBytes` bytes come before it, TypeError
   * for a `delimiter` of another type, and RangeError if it is empty or not a byte. Cancel safe.
   *
   * @example
   * const reader = new BufReader(connection);
   * const head = yield* reader.readUntil("\r\n\r\n", { maxBytes: 16_384 });
   */
  readUntil(
    delimiter: number | Uint8Array | string,
    options: MaxBytesOptions = {},
  ): Future<Uint8Array | null> {
    checkObject(options, "readUntil: options");
    const { maxBytes = DEFAULT_MAX_BYTES } = options;
    checkCount(maxBytes, "readUntil: maxBytes");
    const sought = toDelimiter(delimiter, "readUntil");
    const input = this.#input;
    return (reuse(input.until) ?? new ReadUntil(input)).arm(sought, maxBytes);
  }

  /**
   * Waits for exactly `count` bytes, and returns them. Throws UnexpectedEofError if the stream ends before that, and
   * RangeError unless `count` is an integer from 0 to 2147483647. Check a `count` that the peer chose. Cancel safe.
   *
   * @example
   * const reader = new BufReader(connection);
   * const header = yield* reader.readExact(12);
   */
  readExact(count: number): Future<Uint8Array> {
    checkByteCount(count, "readExact: count");
    return this.#exact(count, false);
  }

  /**
   * Waits until `count` bytes have come, and returns a copy of them without consuming them. Returns fewer bytes only if
   * the stream ends before that. Throws RangeError unless `count` is an integer from 0 to 2147483647. Cancel safe.
   *
   * @example
   * const reader = new BufReader(connection);
   * const [first] = yield* reader.peek(1);
   * const isTls = first === 0x16;
   */
  peek(count: number): Future<Uint8Array> {
    checkByteCount(count, "peek: count");
    return this.#exact(count, true);
  }

  /**
   * Reads until the end of the stream, and returns all its bytes. Throws MessageTooLongError if there are more than
   * `maxBytes`, and RangeError unless `maxBytes` is a positive integer. Cancel safe: the bytes that have come stay
   * buffered.
   *
   * @example
   * const body = yield* new BufReader(connection).readToEnd({ maxBytes: 1_000_000 });
   */
  readToEnd(options: { maxBytes: number }): Future<Uint8Array> {
    checkObject(options, "readToEnd: options");
    checkCount(options.maxBytes, "readToEnd: maxBytes");
    return new ReadToEnd(this.#input, options.maxBytes);
  }

  /**
   * Waits for a frame, found by `decode`, and returns its value. Returns null at the end of the stream. Throws what
   * `decode` throws, UnexpectedEofError if the stream ends inside a frame, MessageTooLongError if a frame consists of
   * more than `maxBytes` bytes, and RangeError for a `consumed` that cannot be. Cancel safe. See `frames`.
   *
   * @example
   * const reader = new BufReader(connection);
   * const point = yield* reader.readFrame((bytes) =>
   *   bytes.length < 2 ? null : { value: { x: bytes[0], y: bytes[1] }, consumed: 2 });
   */
  readFrame<T>(decode: Decode<T>, options: MaxBytesOptions = {}): Future<T | null> {
    checkObject(options, "readFrame: options");
    const { maxBytes = DEFAULT_MAX_BYTES } = options;
    checkCount(maxBytes, "readFrame: maxBytes");
    if (typeof decode !== "function") {
      throw invalidType(`readFrame: decode must be a function; got ${describe(decode)}`);
    }
    const input = this.#input;
    const latest = reuse(input.frame) as ReadFrame<T> | null;
    return (latest ?? new ReadFrame<T>(input)).arm(decode, maxBytes);
  }

  /**
   * Reads from the stream once, and adds what comes to the buffer. Returns how many bytes came; 0 at the end of the
   * stream. Cancel safe. The buffer has no limit: see `buffered`.
   *
   * @example
   * const reader = new BufReader(connection);
   * const count = yield* reader.fill();
   */
  fill(): Future<number> {
    return new Fill(this.#input);
  }

  /**
   * Reads at least one byte into `buffer`, from what is buffered or else from the stream. Returns the number of bytes; 0
   * at the end of the stream. Throws TypeError if `buffer` is not a Uint8Array, and RangeError if it is empty. Cancel
   * safe.
   */
  read(buffer: Uint8Array): Future<number> {
    checkBuffer(buffer, "read: buffer");
    return new ReadInto(this.#input, buffer);
  }

  /**
   * Returns what is buffered, or else what the stream has; null at the end of the stream. The array belongs to the
   * caller. Throws RangeError unless `maxBytes` is an integer from 1 to 2147483647. Cancel safe.
   */
  readChunk(options?: ReadChunkOptions): Future<Uint8Array | null> {
    const maxBytes = checkMaxBytes(options);
    const input = this.#input;
    return (reuse(input.chunk) ?? new TakeChunk(input)).arm(maxBytes);
  }

  #exact(count: number, isPeek: boolean): Future<Uint8Array> {
    const input = this.#input;
    return (reuse(input.exact) ?? new ReadExact(input)).arm(count, isPeek);
  }
}

/** Throws TypeError unless `reader` has a `readChunk`. `what` names the argument. */
function checkReader(reader: unknown, what: string): void {
  if (typeof (reader as { readChunk?: unknown } | null)?.readChunk !== "function") {
    throw invalidType(`${what} must have a readChunk method; got ${describe(reader)}`);
  }
}

function checkByteCount(count: unknown, what: string): void {
  if (typeof count !== "number" || !Number.isInteger(count) || count < 0 || count > 0x7fffffff) {
    throw outOfRange(`${what} must be an integer from 0 to 2147483647; got ${describe(count)}`);
  }
}

/** Returns a delimiter in the form in which the buffer is searched: a byte, or a copy of several. */
export function toDelimiter(
  delimiter: number | Uint8Array | string,
  caller: string,
): number | Uint8Array {
  if (typeof delimiter === "number") {
    if (Number.isInteger(delimiter) && delimiter >= 0 && delimiter <= 255) return delimiter;
    throw outOfRange(
      `${caller}: a delimiter that is a number must be a byte, from 0 to 255; got ${describe(delimiter)}`,
    );
  }
  const isText = typeof delimiter === "string";
  if (!isText && !(delimiter instanceof Uint8Array)) {
    throw invalidType(
      `${caller}: delimiter must be a byte, a Uint8Array or a string; got ${describe(delimiter)}`,
    );
  }
  const bytes = isText ? new TextEncoder().encode(delimiter) : new Uint8Array(delimiter);
  if (bytes.length === 0) throw outOfRange(`${caller}: delimiter must not be empty`);
  return bytes.length === 1 ? (bytes[0] as number) : bytes;
}
