// Web streams as byte streams: fromReadable, fromWritable.
//
// Invariants: at most one read of the ReadableStream is in progress, and what it returns stays in the WebReader. So a
// dropped read loses nothing. A chunk is given to the WritableStream as a copy, and only when that has room for it.
//
// The promises of a web stream are foreign to the runtime. While `blockOn` holds the thread they settle only if they
// need nothing from Bun's own loop: streams of this library do, and streams in JavaScript. The body of a `fetch` does
// not.

import { counted, inspectableParts } from "../base/inspect.ts";
import type { Context } from "../core/context.ts";
import type { Future } from "../core/future.ts";
import { host } from "../core/host.ts";
import { Leaf } from "../core/leaf.ts";
import { type Again, Pending, type Poll } from "../core/poll.ts";
import { checkBuffer } from "../sys/socket.ts";
import type { ByteReader, ByteWriter, ReadChunkOptions } from "./bytes.ts";
import { checkMaxBytes } from "./read-chunk.ts";
import { ClosedError } from "./source.ts";
import { checkMethod, chunkBytes } from "./to-web.ts";
import { checkData } from "./transfer.ts";

/** Waits for promises of a web stream until `step` has a value. */
class WebWait<T> extends Leaf<T> {
  /** Returns the value, or the promise to wait for, which never rejects. */
  private readonly step: () => { readonly value: T } | Promise<void>;
  private readonly what: string;
  private wait: Future<unknown> | null = null;

  constructor(what: string, step: () => { readonly value: T } | Promise<void>) {
    super();
    this.what = what;
    this.step = step;
  }

  protected override attempt(cx: Context): Poll<T> | Again {
    for (;;) {
      if (this.wait !== null && this.wait.poll(cx) === Pending) return Pending;
      this.wait = null;
      const next = this.step();
      if (!(next instanceof Promise)) return next.value;
      this.wait = host.futureOf(next) as Future<unknown>;
    }
  }

  protected override release(): void {
    this.wait?.drop();
  }

  override describe(): string {
    return this.what;
  }
}

/** The part of a ReadableStreamDefaultReader that a WebReader uses. The types of Bun and Node disagree on the rest. */
export interface WebSource {
  read(): Promise<{ readonly done: boolean; readonly value?: unknown }>;
  cancel(): Promise<void>;
}

/** A ReadableStream as a ByteReader. Create it with `fromReadable`. */
export class WebReader implements ByteReader, Disposable {
  static {
    inspectableParts(WebReader, (it) =>
      it.#end === null
        ? `${counted(it.#rest.length, "byte")} to read`
        : it.#end === "end"
          ? "ended"
          : "closed",
    );
  }

  readonly #reader: WebSource;
  /** The read in progress. Its chunk goes into `#rest`, even if no read waits any more. */
  #reading: Promise<void> | null = null;
  /** The bytes that have arrived and were not read; empty if there are none. */
  #rest: Uint8Array = new Uint8Array(0);
  /** Set at the end, by an error, or by `close`. */
  #end: { readonly error: unknown } | "end" | null = null;

  /** The same as `fromReadable`, for the reader of a stream. Throws TypeError unless `reader` has its methods. */
  constructor(reader: WebSource) {
    checkMethod(reader, "read", "WebReader: reader");
    checkMethod(reader, "cancel", "WebReader: reader");
    this.#reader = reader;
  }

  /**
   * Reads into `buffer`. Returns the number of bytes; 0 at the end. Throws the error of the stream, ClosedError,
   * TypeError for a chunk that is not bytes or text, or if `buffer` is not a Uint8Array, and RangeError if it is empty.
   * Cancel safe: a chunk that arrives for a dropped read stays for the next.
   */
  read(buffer: Uint8Array): Future<number> {
    checkBuffer(buffer);
    return new WebWait("read of a web stream", () => {
      const more = this.#whenReadable();
      if (more !== null) return more;
      checkBuffer(buffer); // user code may have detached it meanwhile
      const bytes = this.#take(buffer.length);
      buffer.set(bytes);
      return { value: bytes.length };
    });
  }

  /**
   * Returns the bytes that are available, at most `maxBytes`; null at the end. Throws TypeError and RangeError for
   * invalid options; otherwise like `read`.
   */
  readChunk(options?: ReadChunkOptions): Future<Uint8Array | null> {
    const maxBytes = checkMaxBytes(options);
    return new WebWait<Uint8Array | null>("read of a web stream", () => {
      const more = this.#whenReadable();
      if (more !== null) return more;
      return { value: this.#rest.length === 0 ? null : new Uint8Array(this.#take(maxBytes)) };
    });
  }

  /** Cancels the ReadableStream. Pending reads throw ClosedError. Idempotent. */
  close(): void {
    if (this.#end !== null) return;
    this.#end = { error: new ClosedError("the reader of this ReadableStream is closed") };
    this.#rest = new Uint8Array(0);
    this.#reader.cancel().catch(() => {}); // the source's own error: nobody reads any more
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /** Returns null once there are bytes or the end; else the read to wait for. Throws the error of the stream. */
  #whenReadable(): Promise<void> | null {
    if (this.#rest.length > 0) return null;
    if (this.#end !== null) {
      if (this.#end === "end") return null;
      throw this.#end.error;
    }
    this.#reading ??= this.#readOnce();
    return this.#reading;
  }

  async #readOnce(): Promise<void> {
    try {
      const { done, value } = await this.#reader.read();
      if (this.#end !== null) return; // closed meanwhile
      if (done) this.#end = "end";
      else this.#rest = asBytes(value);
    } catch (error) {
      this.#end ??= { error };
    } finally {
      this.#reading = null;
    }
  }

  #take(max: number): Uint8Array {
    const bytes = this.#rest.subarray(0, max);
    this.#rest = this.#rest.subarray(bytes.length);
    return bytes;
  }
}

/** The part of a WritableStreamDefaultWriter that a WebWriter uses. */
export interface WebSink {
  readonly closed: Promise<unknown>;
  readonly ready: Promise<unknown>;
  readonly desiredSize: number | null;
  write(chunk: Uint8Array<ArrayBuffer>): Promise<void>;
  close(): Promise<void>;
  abort(reason: unknown): Promise<void>;
}

/** A WritableStream as a ByteWriter. Create it with `fromWritable`. */
export class WebWriter implements ByteWriter, Disposable {
  static {
    inspectableParts(WebWriter, (it) =>
      it.#error !== null ? "closed" : it.#isShutDown ? "shut down" : "open",
    );
  }

  readonly #writer: WebSink;
  /** Why the stream failed, or was closed. */
  #error: { readonly error: unknown } | null = null;
  /** No more writes begin. Those that have begun complete. */
  #isShutDown = false;
  /** The wait for room, which all writes share: a promise keeps each reaction until it settles, also of a dropped write. */
  #waiting: Promise<void> | null = null;

  /** The same as `fromWritable`, for the writer of a stream. Throws TypeError unless `writer` has its methods. */
  constructor(writer: WebSink) {
    for (const name of ["write", "close", "abort"]) checkMethod(writer, name, "WebWriter: writer");
    checkMethod(writer.closed, "catch", "WebWriter: writer.closed");
    this.#writer = writer;
    writer.closed.catch(this.#onError);
  }

  /**
   * Waits until the stream has room, and writes all of `data`. Returns its length. A failure of the sink is thrown by
   * the next write. Throws the error of the stream, ClosedError after `shutdown` or `close`, TypeError if `data` is not
   * a Uint8Array, and RangeError if it is empty. Cancel safe: a dropped write has written nothing.
   */
  write(data: Uint8Array): Future<number> {
    checkBuffer(data, "data");
    return new WebWait("write to a web stream", () => {
      const full = this.#whenWritable();
      if (full !== null) return full;
      checkBuffer(data, "data"); // user code may have detached it meanwhile
      this.#writer.write(new Uint8Array(data)).catch(this.#onError);
      return { value: data.length };
    });
  }

  /**
   * Writes all of `data` (a string as UTF-8), or its first `length` bytes, and waits until the sink has accepted it.
   * Throws RangeError unless `length` is an integer from 0 to the length of `data`; otherwise like `write`. Not cancel
   * safe: a dropped write may have been written.
   */
  writeAll(data: Uint8Array | string, length?: number): Future<void> {
    const bytes = new Uint8Array(checkData(data, length).subarray(0, length));
    let writing: Promise<void> | null = null;
    let isWritten = bytes.length === 0;
    return new WebWait("write to a web stream", () => {
      if (isWritten) return { value: undefined };
      if (this.#error !== null) throw this.#error.error;
      if (writing === null) {
        const full = this.#whenWritable();
        if (full !== null) return full;
        writing = this.#writer.write(bytes).then(() => {
          isWritten = true;
        }, this.#onError);
      }
      return writing;
    });
  }

  /** Closes the WritableStream after what was written. Later writes throw ClosedError. Returns at once. Idempotent. */
  shutdown(): void {
    if (this.#error !== null || this.#isShutDown) return;
    this.#isShutDown = true;
    this.#writer.close().catch(this.#onError);
  }

  /** Aborts the WritableStream, unless `shutdown` has closed it. Pending writes throw ClosedError. Idempotent. */
  close(): void {
    if (this.#error !== null || this.#isShutDown) return;
    this.#error = { error: new ClosedError("the writer of this WritableStream is closed") };
    this.#writer.abort(this.#error.error).catch(() => {}); // the sink's own error: nobody writes any more
  }

  [Symbol.dispose](): void {
    this.close();
  }

  readonly #onError = (error: unknown): void => {
    this.#error ??= { error };
  };

  /** Returns null if the stream has room; else the promise to wait for. Throws the error of the stream. */
  #whenWritable(): Promise<void> | null {
    if (this.#error !== null) throw this.#error.error;
    if (this.#isShutDown) throw new ClosedError("this WritableStream was shut down");
    if ((this.#writer.desiredSize ?? 0) > 0) return null;
    this.#waiting ??= this.#untilReady();
    return this.#waiting;
  }

  async #untilReady(): Promise<void> {
    try {
      await this.#writer.ready;
    } catch (error) {
      this.#onError(error);
    } finally {
      this.#waiting = null;
    }
  }
}

function asBytes(chunk: unknown): Uint8Array {
  const bytes = chunkBytes(chunk);
  return typeof bytes === "string" ? new TextEncoder().encode(bytes) : bytes;
}

/**
 * Returns a reader of the bytes of `readable`, and locks it: the body of a Response or a Request, a file, or what
 * another library returns. Its chunks may be bytes of any view, or text. Close it with `using` or `close`, which
 * cancels the stream. In `blockOn` it can read only streams that need nothing from Bun's own loop. Throws TypeError if
 * `readable` is not a ReadableStream, or is locked.
 *
 * @example
 * using reader = fromReadable(new Blob(["a blob"]).stream());
 * for (let chunk; (chunk = await reader.readChunk()) !== null; ) console.log(chunk.length);
 */
export function fromReadable(readable: ReadableStream<unknown>): WebReader {
  checkMethod(readable, "getReader", "fromReadable: readable");
  return new WebReader(readable.getReader());
}

/**
 * Returns a writer to `writable`, and locks it. End it with `shutdown`, which closes the stream. `close` and `using`
 * abort the stream, unless it was shut down. Throws TypeError if `writable` is not a WritableStream, or is locked.
 *
 * @example
 * const { readable, writable } = new CompressionStream("gzip");
 * const compressed = new Response(readable).bytes();
 * using writer = fromWritable(writable);
 * await writer.writeAll("some text");
 * writer.shutdown();
 * console.log((await compressed).length);
 */
export function fromWritable(writable: { getWriter(): WebSink }): WebWriter {
  checkMethod(writable, "getWriter", "fromWritable: writable");
  return new WebWriter(writable.getWriter());
}
