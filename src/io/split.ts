// split: the two sides of a byte stream as two objects, so that two tasks may own one each.

import { checkConstructor, invalidType } from "../base/check.ts";
import { describe } from "../base/describe.ts";
import { inspectableParts, lineOf } from "../base/inspect.ts";
import type { Future } from "../core/future.ts";
import { SysError } from "../sys/errno.ts";
import type { ByteReader, ByteStream, ByteWriter, ReadChunkOptions } from "./bytes.ts";
import { type FdStream, fdStreamOf } from "./fd-pump.ts";
import { ClosedError } from "./source.ts";

/** The stream that two halves share. The second half to close closes it. */
class SharedStream {
  readonly stream: ByteStream;
  private openHalves = 2;

  constructor(stream: ByteStream) {
    this.stream = stream;
  }

  onHalfClosed(): void {
    if (--this.openHalves === 0) this.stream.close();
  }
}

/** The reading half of a stream: see `split`. */
export class ReadHalf implements ByteReader, Disposable {
  static {
    inspectableParts(ReadHalf, (it) => (it.#isClosed ? "closed" : lineOf(it.#shared.stream)));
  }

  readonly #shared: SharedStream;
  #isClosed = false;

  private constructor(shared: SharedStream) {
    checkConstructor(shared, SharedStream, "ReadHalf", "split()");
    this.#shared = shared;
  }

  /** @internal */
  static create(shared: SharedStream): ReadHalf {
    return new ReadHalf(shared);
  }

  /** Calls `read` of the stream. Throws ClosedError once this half is closed. */
  read(buffer: Uint8Array): Future<number> {
    return this.#open().read(buffer);
  }

  /** Calls `readChunk` of the stream. Throws ClosedError once this half is closed. */
  readChunk(options?: ReadChunkOptions): Future<Uint8Array | null> {
    return this.#open().readChunk(options);
  }

  /** Closes this half, and the stream if the other half is closed as well. The peer notices only that. Idempotent. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#shared.onHalfClosed();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /** @internal For copy. */
  get fdStream(): FdStream | null {
    return fdStreamOf(this.#open());
  }

  #open(): ByteStream {
    if (this.#isClosed) throw new ClosedError("this reading half of a stream is closed");
    return this.#shared.stream;
  }
}

/** The writing half of a stream: see `split`. */
export class WriteHalf implements ByteWriter, Disposable {
  static {
    inspectableParts(WriteHalf, (it) => (it.#isClosed ? "closed" : lineOf(it.#shared.stream)));
  }

  readonly #shared: SharedStream;
  #isClosed = false;
  /** Calls `writev` of the stream. Absent if the stream has none. Throws ClosedError once this half is closed. */
  readonly writev?: (pieces: readonly (Uint8Array | string)[]) => Future<void>;

  private constructor(shared: SharedStream) {
    checkConstructor(shared, SharedStream, "WriteHalf", "split()");
    this.#shared = shared;
    if (shared.stream.writev !== undefined) {
      this.writev = (pieces) => this.#open().writev!(pieces); // it is there: checked above
    }
  }

  /** @internal */
  static create(shared: SharedStream): WriteHalf {
    return new WriteHalf(shared);
  }

  /** Calls `write` of the stream. Throws ClosedError once this half is closed. */
  write(data: Uint8Array): Future<number> {
    return this.#open().write(data);
  }

  /** Calls `writeAll` of the stream. Throws ClosedError once this half is closed. */
  writeAll(data: Uint8Array | string, length?: number): Future<void> {
    return this.#open().writeAll(data, length);
  }

  /** Ends the writing, as `close` does, but keeps this half open. Throws ClosedError once this half is closed. */
  shutdown(): void {
    this.#open().shutdown();
  }

  /**
   * Shuts down the writing side of the stream, so the peer reads the end after everything written before. Then closes
   * this half, and the stream if the other half is closed as well. Does not throw if the connection is gone. Idempotent.
   */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    try {
      this.#shared.stream.shutdown();
    } catch (error) {
      // The peer has reset the connection, or the stream was closed: no peer is left to read the end.
      if (!(error instanceof SysError || error instanceof ClosedError)) throw error;
    } finally {
      this.#shared.onHalfClosed();
    }
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /** @internal For copy. */
  get fdStream(): FdStream | null {
    return fdStreamOf(this.#open());
  }

  #open(): ByteStream {
    if (this.#isClosed) throw new ClosedError("this writing half of a stream is closed");
    return this.#shared.stream;
  }
}

/**
 * Splits a stream into a reading and a writing half, which two tasks may own. The stream closes when both halves are
 * closed, by `close` or `using`. Closing the writing half also shuts down the writing side, as dropping tokio's
 * `OwnedWriteHalf` does. Closing only the reading half does nothing that the peer can see. Calling a closed half throws
 * ClosedError. An operation that is pending when its half closes continues until the stream closes. Do not use `stream`
 * itself afterwards. Throws TypeError unless `stream` is a ByteStream.
 *
 * @example
 * const [reader, writer] = split(yield* TcpStream.connect("127.0.0.1:7000"));
 * spawn(function* () {
 *   using _ = writer;
 *   yield* writer.writeAll("the last line\n");
 * }).detach(); // its end shuts the writing side down
 * using _ = reader; // the second half to close closes the socket
 */
export function split(stream: ByteStream): [ReadHalf, WriteHalf] {
  if (typeof stream?.readChunk !== "function" || typeof stream.close !== "function") {
    throw invalidType(`split: stream must be a ByteStream; got ${describe(stream)}`);
  }
  const shared = new SharedStream(stream);
  return [ReadHalf.create(shared), WriteHalf.create(shared)];
}
