// BufWriter: collects small writes to a byte stream. buffered-write.ts has its futures.

import { checkCount, checkObject, invalidType } from "../base/check.ts";
import { describe } from "../base/describe.ts";
import { counted, inspectableParts } from "../base/inspect.ts";
import type { Future } from "../core/future.ts";
import { kept, reuse } from "../core/leaf.ts";
import { checkBuffer } from "../sys/socket.ts";
import { ByteOutput, Flush, WritePieces, WriteSome } from "./buffered-write.ts";
import { type ByteWriter, CHUNK_BYTES } from "./bytes.ts";
import { ConcurrentUseError, UnflushedError } from "./stream-errors.ts";
import { checkData } from "./transfer.ts";
import { bytesOf } from "./writev.ts";

/** Options of a BufWriter. */
export interface BufWriterOptions {
  /** The number of bytes to buffer before writing: a positive integer. 65536 by default. */
  capacity?: number;
}

/**
 * Buffers writes to a byte stream, so that many small ones take one syscall. It is a ByteWriter itself. Bytes that are
 * buffered reach the stream with `flush`, or when the buffer is full; nothing flushes by itself. It does not own the
 * stream: flush, then shut down or close the stream. A writer with nothing buffered holds no buffer.
 *
 * No byte is lost or written twice, and the stream never has a part of one `writeAll` without the rest to follow:
 *
 * - A dropped `flush` keeps what it has not written. The next one continues there.
 * - A dropped `write`, `writeAll` or `writev` has added nothing. The exception is data that is longer than `capacity`,
 *   which goes to the stream directly: once a part of it is written, the rest is buffered when the write is dropped, so
 *   all of it counts as written.
 *
 * A write that throws follows the same rules. One write at a time may wait: a second one throws ConcurrentUseError. Each
 * write throws what the stream throws (SysError, ClosedError).
 *
 * @example
 * const writer = new BufWriter(connection);
 * for (const name of ["a", "b", "c"]) yield* writer.writeAll(`hello ${name}\n`);
 * yield* writer.flush(); // one syscall
 */
export class BufWriter implements ByteWriter {
  static {
    inspectableParts(BufWriter, (it) => `${counted(it.buffered, "byte")} buffered`);
  }

  readonly #writer: ByteWriter;
  readonly #output: ByteOutput;
  /** The latest write of each kind, for reuse. */
  #some: WriteSome | null = null;
  #pieces: WritePieces | null = null;
  #flush: Flush | null = null;

  /** Throws TypeError if `writer` has no `write`, and RangeError unless `capacity` is a positive integer. */
  constructor(writer: ByteWriter, options: BufWriterOptions = {}) {
    if (typeof (writer as ByteWriter | null)?.write !== "function") {
      throw invalidType(`BufWriter: writer must have a write method; got ${describe(writer)}`);
    }
    checkObject(options, "BufWriter: options");
    const { capacity = CHUNK_BYTES } = options;
    checkCount(capacity, "BufWriter: capacity");
    this.#writer = writer;
    this.#output = new ByteOutput(writer, capacity);
  }

  /** The number of bytes that are buffered. More than `capacity` only after a long `writeAll` was dropped. */
  get buffered(): number {
    return this.#output.length;
  }

  /**
   * Buffers at least the first byte of `data`, and writes the buffer out before if it is full. Returns the number of
   * bytes. Throws TypeError if `data` is not a Uint8Array, and RangeError if it is empty. Cancel safe.
   */
  write(data: Uint8Array): Future<number> {
    checkBuffer(data, "data");
    const write = reuse(this.#some) ?? new WriteSome(this.#output);
    this.#some = kept(write);
    return write.arm(data);
  }

  /**
   * Buffers all of `data` (a string as UTF-8), or its first `length` bytes. If it does not fit, writes the buffer out
   * before. Data that is longer than `capacity` goes to the stream directly. Throws TypeError if `data` is neither a
   * Uint8Array nor a string, and RangeError unless `length` is an integer from 0 to the length of `data`. Cancel safe
   * up to `capacity` bytes; see above.
   *
   * @example
   * const writer = new BufWriter(connection);
   * yield* writer.writeAll("HTTP/1.1 204 No Content\r\n");
   * yield* writer.writeAll("Date: today\r\n\r\n");
   * yield* writer.flush();
   */
  writeAll(data: Uint8Array | string, length?: number): Future<void> {
    const isText = typeof data === "string" && length === undefined;
    const bytes = isText ? null : checkData(data, length).subarray(0, length);
    const write = this.#nextPieces();
    return bytes === null ? write.armText(data as string) : write.arm([bytes], "writeAll");
  }

  /**
   * Buffers all `pieces` in order, as one `writeAll` of them joined would. Throws TypeError unless each is a Uint8Array
   * or a string.
   */
  writev(pieces: readonly (Uint8Array | string)[]): Future<void> {
    const bytes = bytesOf(pieces);
    return this.#nextPieces().arm(bytes, "writev");
  }

  #nextPieces(): WritePieces {
    const write = reuse(this.#pieces) ?? new WritePieces(this.#output);
    this.#pieces = kept(write);
    return write;
  }

  /** Writes out all that is buffered. Cancel safe: a dropped flush keeps what it has not written. */
  flush(): Future<void> {
    const flush = reuse(this.#flush) ?? new Flush(this.#output);
    this.#flush = kept(flush);
    return flush;
  }

  /**
   * Ends the stream: the peer reads the end after everything written before. Returns at once. Throws UnflushedError if
   * bytes are buffered, ConcurrentUseError while a write waits, and what `shutdown` of the stream throws.
   *
   * @example
   * const writer = new BufWriter(connection);
   * yield* writer.writeAll("the last line\n");
   * yield* writer.flush();
   * writer.shutdown();
   */
  shutdown(): void {
    const { length, owner } = this.#output;
    if (owner !== null) throw new ConcurrentUseError("shutdown: a write waits on this BufWriter");
    if (length > 0) {
      throw new UnflushedError(`shutdown: ${counted(length, "byte")} not written yet; flush first`);
    }
    this.#writer.shutdown();
  }
}
