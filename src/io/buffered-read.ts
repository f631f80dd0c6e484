// BufferedRead: a leaf that takes a message from the buffer of a BufReader, and fills the buffer until it can.
// ByteInput is what the reads of one BufReader share.
//
// Invariants, which make every read cancel safe:
// - A read consumes bytes only in the attempt that completes it. Until then all bytes that came are in the buffer.
// - The only other place for bytes is a `readChunk` of the stream. Dropping it reads nothing, per its contract.
// - A read that fails consumes nothing.
// - A read that completed for an awaiter that was cancelled puts its bytes back (`reclaim`).
//
// One read at a time may wait, because bytes that two reads wait for would go to either of them at random.

import { invalidType, outOfRange } from "../base/check.ts";
import { describe } from "../base/describe.ts";
import type { Context } from "../core/context.ts";
import { Again, Pending, type Poll } from "../core/poll.ts";
import { checkBuffer } from "../sys/socket.ts";
import { BufferedOperation, StreamUse } from "./buffered-operation.ts";
import { ByteBuffer } from "./byte-buffer.ts";
import type { ByteReader, ReadChunkOptions } from "./bytes.ts";
import type { Decode } from "./frames.ts";
import {
  ConcurrentUseError,
  LineTooLongError,
  MessageTooLongError,
  UnexpectedEofError,
} from "./stream-errors.ts";

const NO_BYTES: Uint8Array = new Uint8Array(0);
const LF = 10;
const CR = 13;

/** The encodings of text. Bytes that are not valid UTF-8 become U+FFFD, as in TextDecoder. */
export type TextEncoding = "utf-8" | "latin1";

interface TextSlices {
  utf8Slice(this: Uint8Array, start: number, end: number): string;
  latin1Slice(this: Uint8Array, start: number, end: number): string;
}

export class ByteInput extends StreamUse<BufferedRead<unknown>, Uint8Array | null> {
  readonly buffer: ByteBuffer = new ByteBuffer();
  /** True once the stream has ended. The buffer may still hold bytes. */
  isEnded = false;
  /** True if the buffer or the end of the stream has changed since `owner` last looked. */
  hasNews = false;
  /** The latest read of each kind that completed in a `yield*`, for reuse. */
  line: ReadLine | null = null;
  until: ReadUntil | null = null;
  exact: ReadExact | null = null;
  frame: ReadFrame<unknown> | null = null;
  chunk: TakeChunk | null = null;
  private readonly reader: ByteReader;
  private readonly options: ReadChunkOptions;

  constructor(reader: ByteReader, capacity: number) {
    super();
    this.reader = reader;
    this.options = { maxBytes: capacity };
  }

  /** Reads one chunk into the buffer, or learns that the stream has ended. Throws what the stream throws. */
  fill(cx: Context): Poll<void> {
    if (!this.hasBegun) this.begin(this.reader.readChunk(this.options));
    const chunk = this.advance(cx);
    if (chunk === Pending) return Pending;
    if (chunk === null) {
      this.isEnded = true;
    } else if (chunk instanceof Uint8Array && chunk.length > 0) {
      this.buffer.append(chunk);
    } else {
      throw invalidType(
        `BufReader: readChunk of the stream must return at least one byte, or null at the end; got ${describeChunk(chunk)}`,
      );
    }
    this.hasNews = true;
  }

  /** Puts `bytes` back in front of the others, for a read that may already wait. */
  unread(bytes: Uint8Array): void {
    this.buffer.unread(bytes);
    this.hasNews = true;
    this.owner?.target?.wake();
  }
}

function describeChunk(chunk: unknown): string {
  return chunk instanceof Uint8Array ? "an empty array" : describe(chunk);
}

export abstract class BufferedRead<T> extends BufferedOperation<T, ByteInput> {
  /** Where the consumed bytes are, for `reclaim`: an array, and their place in it. */
  private consumed: Uint8Array = NO_BYTES;
  private consumedStart = 0;
  private consumedEnd = 0;

  /** Takes the value from the buffer. Returns Pending if that needs more bytes, which after the end it never does. */
  protected abstract take(): Poll<T>;

  /** Makes this read the one that the input offers for reuse. */
  protected abstract keep(): void;

  protected override attempt(cx: Context): Poll<T> | Again {
    const { shared: input } = this;
    if (input.owner !== null && input.owner !== this) {
      throw new ConcurrentUseError(
        `${this.method}: a ${input.owner.method} already waits on this BufReader, which allows one read at a time`,
      );
    }
    if (input.owner !== this || input.hasNews) {
      input.hasNews = false;
      const value = this.take();
      if (value !== Pending) return value;
    }
    input.owner = this;
    this.target = cx.target;
    // An ended read: the stream ran user code that dropped it. The bytes that came are in the buffer.
    return input.fill(cx) === Pending || this.isEnded ? Pending : Again;
  }

  /** Consumes the first `length` bytes of the buffer. */
  protected consume(length: number): void {
    const { buffer } = this.shared;
    this.consumed = buffer.bytes;
    this.consumedStart = buffer.start;
    this.consumedEnd = buffer.start + length;
    buffer.consume(length);
  }

  /** The value has reached its awaiter: keeps the read for reuse, and not the bytes, so that an idle reader holds none. */
  override next(): IteratorResult<symbol, T> {
    const result = super.next();
    if (result.done === true) {
      this.consumed = NO_BYTES;
      this.consumedStart = this.consumedEnd = 0;
      this.keep();
    }
    return result;
  }

  override reclaim(_value: T): void {
    if (this.consumedEnd === this.consumedStart) return;
    this.shared.unread(this.consumed.subarray(this.consumedStart, this.consumedEnd));
    this.consumedEnd = this.consumedStart;
  }

  protected tooLong(
    what: string,
    maxBytes: number,
    TooLongError: typeof MessageTooLongError = MessageTooLongError,
  ): MessageTooLongError {
    return new TooLongError(
      `${this.method}: ${what} is longer than maxBytes, ${maxBytes}; it stays buffered: call again with a larger limit, or close the stream`,
      maxBytes,
    );
  }

  protected unexpectedEof(what: string): UnexpectedEofError {
    const received = this.shared.buffer.copy();
    return new UnexpectedEofError(
      `${this.method}: the stream ended ${what}, after ${received.length} bytes`,
      received,
    );
  }
}

export class ReadLine extends BufferedRead<string | null> {
  private maxBytes = 0;
  private encoding: TextEncoding = "utf-8";

  arm(maxBytes: number, encoding: TextEncoding): this {
    this.maxBytes = maxBytes;
    this.encoding = encoding;
    return this;
  }

  protected override get method(): string {
    return "readLine";
  }

  protected override take(): Poll<string | null> {
    const { buffer, isEnded } = this.shared;
    const { maxBytes } = this;
    const newline = buffer.indexOf(LF);
    const { bytes, start } = buffer;
    const lineEnd = newline < 0 ? bytes.length : newline;
    // Before the newline has come, a CR at the end may be a part of it. At the end of the stream it is not.
    const hasCr = lineEnd > start && bytes[lineEnd - 1] === CR && (newline >= 0 || !isEnded);
    const end = hasCr ? lineEnd - 1 : lineEnd;
    if (end - start > maxBytes) throw this.tooLong("the line", maxBytes, LineTooLongError);
    if (newline < 0) {
      if (!isEnded) return Pending;
      if (end === start) return null;
    }
    const { utf8Slice, latin1Slice } = Buffer.prototype as unknown as TextSlices;
    const slice = this.encoding === "latin1" ? latin1Slice : utf8Slice;
    const line = slice.call(bytes, start, end);
    this.consume((newline < 0 ? end : newline + 1) - start);
    return line;
  }

  protected override keep(): void {
    this.shared.line = this;
  }
}

export class ReadUntil extends BufferedRead<Uint8Array | null> {
  private delimiter: number | Uint8Array = 0;
  private maxBytes = 0;

  arm(delimiter: number | Uint8Array, maxBytes: number): this {
    this.delimiter = delimiter;
    this.maxBytes = maxBytes;
    return this;
  }

  protected override get method(): string {
    return "readUntil";
  }

  protected override take(): Poll<Uint8Array | null> {
    const { buffer, isEnded } = this.shared;
    const { delimiter, maxBytes } = this;
    const delimiterLength = typeof delimiter === "number" ? 1 : delimiter.length;
    const index = buffer.indexOf(delimiter);
    // Without a delimiter in them, these bytes are longer than the message may be, whatever follows.
    const length = index < 0 ? buffer.length - delimiterLength + 1 : index - buffer.start;
    if (length > maxBytes) throw this.tooLong("the message", maxBytes);
    if (index < 0) {
      if (!isEnded) return Pending;
      if (buffer.length === 0) return null;
      throw this.unexpectedEof("before the delimiter");
    }
    const message = buffer.copy(length);
    this.consume(length + delimiterLength);
    return message;
  }

  protected override keep(): void {
    this.shared.until = this;
  }
}

/** `readExact` and `peek`: waits until `count` bytes have come, and consumes them or not. */
export class ReadExact extends BufferedRead<Uint8Array> {
  private count = 0;
  private isPeek = false;

  arm(count: number, isPeek: boolean): this {
    this.count = count;
    this.isPeek = isPeek;
    return this;
  }

  protected override get method(): string {
    return this.isPeek ? "peek" : "readExact";
  }

  protected override take(): Poll<Uint8Array> {
    const { buffer, isEnded } = this.shared;
    const { count } = this;
    if (this.isPeek) {
      return buffer.length >= count || isEnded
        ? buffer.copy(Math.min(count, buffer.length))
        : Pending;
    }
    if (buffer.length < count) {
      if (!isEnded) return Pending;
      throw this.unexpectedEof(`before ${count} bytes had come`);
    }
    const bytes = buffer.copy(count);
    this.consume(count);
    return bytes;
  }

  protected override keep(): void {
    this.shared.exact = this;
  }
}

export class ReadToEnd extends BufferedRead<Uint8Array> {
  private readonly maxBytes: number;

  constructor(input: ByteInput, maxBytes: number) {
    super(input);
    this.maxBytes = maxBytes;
  }

  protected override get method(): string {
    return "readToEnd";
  }

  protected override take(): Poll<Uint8Array> {
    const { buffer, isEnded } = this.shared;
    const { length } = buffer;
    if (length > this.maxBytes) throw this.tooLong("the rest of the stream", this.maxBytes);
    if (!isEnded) return Pending;
    const bytes = buffer.copy();
    this.consume(length);
    return bytes;
  }

  protected override keep(): void {}
}

/** Fills the buffer once, whatever it holds already. */
export class Fill extends BufferedRead<number> {
  private lengthBefore = -1;

  protected override get method(): string {
    return "fill";
  }

  protected override take(): Poll<number> {
    const { buffer, isEnded } = this.shared;
    if (this.lengthBefore < 0) this.lengthBefore = buffer.length;
    const count = buffer.length - this.lengthBefore;
    return count > 0 || isEnded ? count : Pending;
  }

  protected override keep(): void {}
}

/** `readChunk` and `read`: takes what the buffer holds, once it holds anything. */
export class TakeChunk extends BufferedRead<Uint8Array | null> {
  private maxBytes = 0;

  arm(maxBytes: number): this {
    this.maxBytes = maxBytes;
    return this;
  }

  protected override get method(): string {
    return "readChunk";
  }

  protected override take(): Poll<Uint8Array | null> {
    const { buffer, isEnded } = this.shared;
    if (buffer.length === 0) return isEnded ? null : Pending;
    return buffer.takeChunk(this.maxBytes);
  }

  override reclaim(chunk: Uint8Array | null): void {
    if (chunk !== null) this.shared.unread(chunk);
  }

  protected override keep(): void {
    this.shared.chunk = this;
  }
}

export class ReadInto extends BufferedRead<number> {
  private into: Uint8Array;

  constructor(input: ByteInput, into: Uint8Array) {
    super(input);
    this.into = into;
  }

  protected override get method(): string {
    return "read";
  }

  protected override take(): Poll<number> {
    const { buffer, isEnded } = this.shared;
    if (buffer.length === 0 && !isEnded) return Pending;
    const { into } = this;
    if (into.length === 0) checkBuffer(into); // user code has detached it meanwhile
    const count = Math.min(buffer.length, into.length);
    into.set(buffer.view(count));
    this.consume(count);
    return count;
  }

  protected override release(): void {
    super.release();
    this.into = NO_BYTES;
  }

  protected override keep(): void {}
}

export class ReadFrame<T> extends BufferedRead<T | null> {
  private decode!: Decode<T>; // set by `arm`
  private maxBytes = 0;

  arm(decode: Decode<T>, maxBytes: number): this {
    this.decode = decode;
    this.maxBytes = maxBytes;
    return this;
  }

  override get runsUserCode(): boolean {
    return true; // `decode`
  }

  protected override get method(): string {
    return "readFrame";
  }

  protected override take(): Poll<T | null> {
    const { buffer, isEnded } = this.shared;
    const { decode, maxBytes } = this;
    const { length } = buffer;
    if (length === 0) return isEnded ? null : Pending;
    const frame = decode(buffer.view());
    if (frame !== null) {
      const { value, consumed } = frame;
      if (!Number.isInteger(consumed) || consumed < 1 || consumed > length) {
        throw outOfRange(
          `readFrame: consumed must be an integer from 1 to the number of bytes, ${length}; got ${describe(consumed)}`,
        );
      }
      if (consumed > maxBytes) throw this.tooLong("the frame", maxBytes);
      this.consume(consumed);
      return value;
    }
    // A frame that is not complete after `maxBytes` bytes is longer than that.
    if (length >= maxBytes) throw this.tooLong("the frame", maxBytes);
    if (isEnded) throw this.unexpectedEof("inside a frame");
    return Pending;
  }

  protected override keep(): void {
    this.shared.frame = this as ReadFrame<unknown>;
  }
}
