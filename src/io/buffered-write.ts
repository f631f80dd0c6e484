// BufferedWrite: a leaf that puts bytes into the buffer of a BufWriter, and writes the buffer out when it must.
// ByteOutput is what the writes of one BufWriter share.
//
// Invariants, which keep every byte in order, once:
// - Bytes leave the buffer when a `write` of the stream has completed with them. That `write` is cancel safe, so a
//   dropped flush has lost and repeated nothing. (`writeAll` and `writev` of the stream are not: dropping one leaves
//   unknown how much it wrote. So data that bypasses the buffer costs one syscall more than with `writev`, but only data
//   that is longer than the whole buffer does.)
// - Data that fits into the buffer enters it whole, in the attempt that completes its write.
// - Longer data goes to the stream directly, behind what was buffered. If its write ends early, the bytes that are left
//   enter the buffer, unless none was written. So the stream never has a part of it without the rest to follow.
// - One write at a time may wait, because writes that two tasks interleave would tear each other's data.

import { outOfRange } from "../base/check.ts";
import { describe } from "../base/describe.ts";
import type { Context } from "../core/context.ts";
import { Pending, type Poll } from "../core/poll.ts";
import { checkBuffer } from "../sys/socket.ts";
import { BufferedOperation, StreamUse } from "./buffered-operation.ts";
import { type ByteWriter, CHUNK_BYTES } from "./bytes.ts";
import { ConcurrentUseError } from "./stream-errors.ts";

const NO_BYTES: Uint8Array = new Uint8Array(0);
const NO_PIECES: readonly Uint8Array[] = [];
const MIN_STORAGE_BYTES = 1024;

/** The storage of a buffer that became empty, for the next buffer of this thread that needs one. */
let spare: Uint8Array | null = null;

interface TextWrites {
  utf8Write(this: Uint8Array, text: string, offset: number): number;
}

export class ByteOutput extends StreamUse<BufferedWrite<unknown>, number> {
  readonly capacity: number;
  private readonly writer: ByteWriter;
  /** The buffered bytes are those from `start` to `end`. */
  private storage: Uint8Array = NO_BYTES;
  private start = 0;
  private end = 0;

  constructor(writer: ByteWriter, capacity: number) {
    super();
    this.writer = writer;
    this.capacity = capacity;
  }

  /** The number of bytes that are buffered. */
  get length(): number {
    return this.end - this.start;
  }

  /** How many bytes still fit. Negative if the rest of long data was put into the buffer. */
  get room(): number {
    return this.capacity - this.length;
  }

  put(data: Uint8Array): void {
    this.reserve(data.length);
    this.storage.set(data, this.end);
    this.end += data.length;
  }

  /** Puts `text` into the buffer, as UTF-8. It takes at most three bytes per UTF-16 unit. */
  putText(text: string): void {
    this.reserve(3 * text.length);
    const { utf8Write } = Buffer.prototype as unknown as TextWrites;
    this.end += utf8Write.call(this.storage, text, this.end);
  }

  /** Writes the buffer out. */
  flush(cx: Context): Poll<void> {
    while (this.end > this.start) {
      const count = this.write(this.storage.subarray(this.start, this.end), cx);
      if (count === Pending) return Pending;
      this.start += count;
    }
    this.clear();
  }

  /** Writes a part of `data` to the stream. After Pending, call this with the same data. Returns the number of bytes. */
  write(data: Uint8Array, cx: Context): Poll<number> {
    if (this.owner === null) return Pending; // the stream ran user code that dropped this write
    if (!this.hasBegun) this.begin(this.writer.write(data));
    const count = this.advance(cx);
    if (count !== Pending && !(count > 0 && count <= data.length)) {
      throw outOfRange(
        `BufWriter: write of the stream must return a number from 1 to ${data.length}; got ${describe(count)}`,
      );
    }
    return count;
  }

  /** Makes room for `count` more bytes. */
  private reserve(count: number): void {
    const { storage, start, end, length } = this;
    if (storage.length - end >= count) return;
    const needed = length + count;
    let moved = spare;
    if (moved !== null && moved.length >= needed) spare = null;
    else moved = new Uint8Array(Math.max(2 * length + count, MIN_STORAGE_BYTES));
    moved.set(storage.subarray(start, end));
    this.storage = moved;
    this.start = 0;
    this.end = length;
  }

  /** An empty buffer holds no storage. */
  private clear(): void {
    const { length } = this.storage;
    if (length <= CHUNK_BYTES && length > (spare?.length ?? 0)) spare = this.storage;
    this.storage = NO_BYTES;
    this.start = this.end = 0;
  }
}

export abstract class BufferedWrite<T> extends BufferedOperation<T, ByteOutput> {
  /** Puts the data into the buffer, or writes. */
  protected abstract proceed(cx: Context): Poll<T>;

  protected override attempt(cx: Context): Poll<T> {
    const { shared: output } = this;
    const { owner } = output;
    if (owner !== this) {
      if (owner !== null) {
        throw new ConcurrentUseError(
          `${this.method}: a ${owner.method} already waits on this BufWriter, which allows one write at a time`,
        );
      }
      output.owner = this; // also while it does not wait: the stream may run user code that writes
    }
    return this.proceed(cx);
  }
}

export class Flush extends BufferedWrite<void> {
  protected override get method(): string {
    return "flush";
  }

  protected override proceed(cx: Context): Poll<void> {
    return this.shared.flush(cx);
  }
}

/** `write`: buffers a part of the data, or writes a part of it. */
export class WriteSome extends BufferedWrite<number> {
  private data: Uint8Array = NO_BYTES;
  private isDirect = false;

  arm(data: Uint8Array): this {
    this.data = data;
    this.isDirect = false;
    return this;
  }

  protected override get method(): string {
    return "write";
  }

  protected override proceed(cx: Context): Poll<number> {
    const { shared: output, data } = this;
    if (data.length === 0) checkBuffer(data, "data"); // user code has detached it meanwhile
    if (!this.isDirect) {
      if (output.room <= 0 && output.flush(cx) === Pending) return Pending;
      if (output.length > 0 || data.length <= output.capacity) {
        const count = Math.min(data.length, output.room);
        output.put(data.subarray(0, count));
        return count;
      }
      this.isDirect = true;
    }
    return output.write(data, cx);
  }

  protected override release(): void {
    super.release();
    this.data = NO_BYTES;
  }
}

function lengthOf(pieces: readonly Uint8Array[]): number {
  let length = 0;
  for (const piece of pieces) length += piece.length;
  return length;
}

/** `writeAll` and `writev`. */
export class WritePieces extends BufferedWrite<void> {
  /** The data: text that may fit into the buffer, or else pieces. */
  private text: string | null = null;
  private pieces: readonly Uint8Array[] = NO_PIECES;
  private length = 0;
  /** For data longer than the buffer: the piece that is being written, and how much of it was written. */
  private index = 0;
  private offset = 0;
  private isDirect = false;
  private isWriting = false;
  private name = "writeAll";

  armText(text: string): this {
    this.text = text;
    return this;
  }

  /** Prepares the write. Takes ownership of the array. */
  arm(pieces: readonly Uint8Array[], name: string): this {
    this.name = name;
    this.pieces = pieces;
    this.length = lengthOf(pieces);
    this.index = this.offset = 0;
    this.isDirect = false;
    return this;
  }

  protected override get method(): string {
    return this.name;
  }

  protected override proceed(cx: Context): Poll<void> {
    const { shared: output, text } = this;
    if (text !== null) {
      if (3 * text.length <= output.room) return output.putText(text);
      this.text = null;
      this.arm([new TextEncoder().encode(text)], "writeAll");
    }
    if (!this.isDirect) {
      if (this.length > output.room && output.flush(cx) === Pending) return Pending;
      const length = lengthOf(this.pieces);
      if (length !== this.length) {
        throw outOfRange(
          `${this.name}: data must keep its length until it is written; it had ${this.length} bytes and has ${length}`,
        );
      }
      if (length <= output.room) {
        for (const piece of this.pieces) output.put(piece);
        return;
      }
      this.isDirect = true;
      if (this.pieces.length > 1) this.pieces = coalesce(this.pieces, output.capacity);
    }
    this.isWriting = true; // if user code drops this write meanwhile, `release` does not know what was written
    try {
      return this.writeDirectly(cx);
    } finally {
      this.isWriting = false;
      if (this.isEnded) this.keepRest();
    }
  }

  private writeDirectly(cx: Context): Poll<void> {
    const { shared: output, pieces } = this;
    for (;;) {
      const piece = pieces[this.index];
      if (piece === undefined) return;
      if (this.offset === piece.length) {
        this.index++;
        this.offset = 0;
        continue;
      }
      const count = output.write(this.offset === 0 ? piece : piece.subarray(this.offset), cx);
      if (count === Pending) return Pending;
      this.offset += count;
    }
  }

  protected override release(): void {
    super.release();
    if (!this.isWriting) this.keepRest();
  }

  /** If the stream has a part of the data, buffers the rest, which must follow. Forgets the data. */
  private keepRest(): void {
    if (this.index > 0 || this.offset > 0) {
      for (; this.index < this.pieces.length; this.index++, this.offset = 0) {
        this.shared.put(this.pieces[this.index]!.subarray(this.offset));
      }
    }
    this.pieces = NO_PIECES;
    this.text = null;
    this.index = this.offset = 0;
  }
}

/** Joins small pieces, so that each takes no syscall of its own. Each of the results but the last has `size` bytes or more. */
function coalesce(pieces: readonly Uint8Array[], size: number): Uint8Array[] {
  const joined: Uint8Array[] = [];
  let group: Uint8Array[] = [];
  let room = size;
  for (let rest of pieces) {
    while (rest.length > 0) {
      if (room === size && rest.length >= size) {
        joined.push(rest);
        break;
      }
      const part = rest.subarray(0, room);
      group.push(part);
      room -= part.length;
      rest = rest.subarray(part.length);
      if (room > 0) continue;
      joined.push(Buffer.concat(group));
      group = [];
      room = size;
    }
  }
  if (group.length > 0) joined.push(Buffer.concat(group));
  return joined;
}
