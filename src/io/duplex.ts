// duplex(): two connected byte streams in memory, for tests and for code that expects a stream.
//
// Invariants:
// - A lane holds at most its capacity. Bytes enter in the order of the writes and leave in that order, each once.
// - After the end, a lane takes no bytes, and returns those it holds before it returns 0.

import { checkConstructor, checkCount, checkObject } from "../base/check.ts";
import { counted, inspectableParts } from "../base/inspect.ts";
import type { Future } from "../core/future.ts";
import { Pending, type Poll } from "../core/poll.ts";
import { QueuedAttempt } from "../core/queued-attempt.ts";
import { WaitQueue } from "../core/wait-queue.ts";
import { EPIPE, SysError } from "../sys/errno.ts";
import { checkBuffer } from "../sys/socket.ts";
import type { ByteStream, ReadChunkOptions } from "./bytes.ts";
import { checkMaxBytes } from "./read-chunk.ts";
import { ClosedError } from "./source.ts";
import { checkData, checkKept } from "./transfer.ts";
import { bytesOf, checkWritten } from "./writev.ts";

/** The bytes of one direction: a ring buffer. */
class Lane {
  readonly readers: WaitQueue = new WaitQueue();
  readonly writers: WaitQueue = new WaitQueue();
  readonly capacity: number;
  /** The bytes that are written and not read. */
  size = 0;
  /** No more writes: the writing side was shut down or closed. */
  isEnded = false;
  /** The reading side was closed: nobody will read what is written. */
  isBroken = false;
  private memory: Uint8Array | null = null;
  private start = 0;

  constructor(capacity: number) {
    this.capacity = capacity;
  }

  /** Copies as much of `data` as fits. Returns the number of bytes. */
  put(data: Uint8Array): number {
    this.memory ??= new Uint8Array(this.capacity);
    const count = Math.min(data.length, this.capacity - this.size);
    const at = (this.start + this.size) % this.capacity;
    const first = Math.min(count, this.capacity - at);
    this.memory.set(data.subarray(0, first), at);
    this.memory.set(data.subarray(first, count), 0);
    this.size += count;
    if (count > 0) this.readers.wakeAll();
    return count;
  }

  /** Moves the oldest bytes to `buffer`, as many as fit. Returns the number of bytes. */
  get(buffer: Uint8Array): number {
    if (this.memory === null) return 0;
    const count = Math.min(buffer.length, this.size);
    const first = Math.min(count, this.capacity - this.start);
    buffer.set(this.memory.subarray(this.start, this.start + first));
    buffer.set(this.memory.subarray(0, count - first), first);
    this.start = (this.start + count) % this.capacity;
    this.size -= count;
    if (count > 0) this.writers.wakeAll();
    return count;
  }

  end(): void {
    this.isEnded = true;
    this.readers.wakeAll();
    this.writers.wakeAll();
  }

  break(): void {
    this.isBroken = true;
    this.size = 0;
    this.memory = null;
    this.readers.wakeAll();
    this.writers.wakeAll();
  }
}

/**
 * One end of an in-memory pair, created by `duplex`. Behaves as a socket does: reads return what was written before
 * the peer's `shutdown` or `close`, then 0; writes to a closed peer throw SysError `EPIPE`; operations that are pending
 * at `close` throw ClosedError. Several tasks may use it at once.
 */
export class DuplexStream implements ByteStream {
  static {
    inspectableParts(DuplexStream, (it) =>
      it.#isClosed ? "closed" : `${counted(it.#incoming.size, "byte")} to read`,
    );
  }

  readonly #incoming: Lane;
  readonly #outgoing: Lane;
  #isClosed = false;

  private constructor(incoming: Lane, outgoing: Lane) {
    checkConstructor(incoming, Lane, "DuplexStream", "duplex()");
    this.#incoming = incoming;
    this.#outgoing = outgoing;
  }

  /** @internal */
  static create(incoming: Lane, outgoing: Lane): DuplexStream {
    return new DuplexStream(incoming, outgoing);
  }

  /** Waits for data and reads at least one byte. Returns the number of bytes; 0 at the end. Cancel safe. */
  read(buffer: Uint8Array): Future<number> {
    checkBuffer(buffer);
    return this.#whenReadable(() => {
      checkBuffer(buffer); // user code may have detached it meanwhile
      return this.#incoming.get(buffer);
    });
  }

  /** Waits for data and returns it, at most `maxBytes` bytes; null at the end. Cancel safe. */
  readChunk(options?: ReadChunkOptions): Future<Uint8Array | null> {
    const maxBytes = checkMaxBytes(options);
    return this.#whenReadable(() => {
      const chunk = new Uint8Array(Math.min(this.#incoming.size, maxBytes));
      return this.#incoming.get(chunk) === 0 ? null : chunk;
    });
  }

  /** Waits for room and writes at least the first byte of `data`. Returns the number of bytes. Cancel safe. */
  write(data: Uint8Array): Future<number> {
    checkBuffer(data, "data");
    return this.#whenWritable(() => {
      checkBuffer(data, "data"); // user code may have detached it meanwhile
      const count = this.#outgoing.put(data);
      return count === 0 ? Pending : count;
    });
  }

  /**
   * Writes all of `data`, or its first `length` bytes. Throws RangeError if `data` becomes shorter meanwhile. Not cancel
   * safe: a dropped write may have written a part.
   */
  writeAll(data: Uint8Array | string, length?: number): Future<void> {
    const bytes = checkData(data, length);
    const end = length ?? bytes.length;
    let written = 0;
    return this.#whenWritable(() => {
      checkKept(bytes, end);
      written += this.#outgoing.put(bytes.subarray(written, end));
      return written === end ? undefined : Pending;
    });
  }

  /**
   * Writes all `pieces` in order. Throws RangeError if their lengths change meanwhile. Not cancel safe: a dropped write
   * may have written a part.
   */
  writev(pieces: readonly (Uint8Array | string)[]): Future<void> {
    const rest = bytesOf(pieces);
    let left = rest.reduce((sum, piece) => sum + piece.length, 0);
    return this.#whenWritable(() => {
      for (let piece = rest[0]; piece !== undefined; piece = rest[0]) {
        const count = this.#outgoing.put(piece);
        left -= count;
        if (count < piece.length) {
          rest[0] = piece.subarray(count);
          return Pending;
        }
        rest.shift();
      }
      checkWritten(left);
    });
  }

  /** Ends the writes: the peer reads 0 after the bytes written before. Throws ClosedError. */
  shutdown(): void {
    this.#checkOpen();
    this.#outgoing.end();
  }

  /** Closes this end. The peer reads the remaining bytes and then 0. Pending operations throw ClosedError. Idempotent. */
  close(): void {
    this.#isClosed = true;
    this.#outgoing.end();
    this.#incoming.break();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #checkOpen(): void {
    if (this.#isClosed) throw new ClosedError("this end of the duplex stream is closed");
  }

  #whenReadable<T>(read: () => T): Future<T> {
    const { readers } = this.#incoming;
    return new QueuedAttempt(readers, describeRead, (): Poll<T> => {
      this.#checkOpen();
      if (this.#incoming.size === 0 && !this.#incoming.isEnded) return Pending;
      return read();
    });
  }

  #whenWritable<T>(write: () => Poll<T>): Future<T> {
    const { writers } = this.#outgoing;
    return new QueuedAttempt(writers, describeWrite, (): Poll<T> => {
      this.#checkOpen();
      const isRefused = this.#outgoing.isEnded || this.#outgoing.isBroken;
      if (isRefused) throw new SysError(-EPIPE, "write");
      return write();
    });
  }
}

const describeRead = (): string => "read of a duplex stream";
const describeWrite = (): string => "write to a duplex stream";

/** Options of `duplex`. */
export interface DuplexOptions {
  /** The number of bytes that each direction holds before its writes wait. 65536 by default. */
  capacity?: number;
}

/**
 * Creates two connected byte streams in memory: what one writes, the other reads. For tests of code that works on byte
 * streams, without a socket. Throws RangeError unless `capacity` is a positive integer.
 *
 * @example
 * const [client, server] = duplex({ capacity: 4 });
 * const writing = spawn(client.writeAll("hello")); // waits for room after four bytes
 * const buffer = new Uint8Array(64);
 * console.log(yield* server.read(buffer), yield* server.read(buffer)); // 4 1
 * yield* writing;
 */
export function duplex(options: DuplexOptions = {}): [DuplexStream, DuplexStream] {
  checkObject(options, "duplex: options");
  const { capacity = 65_536 } = options;
  checkCount(capacity, "duplex: capacity");
  const there = new Lane(capacity);
  const back = new Lane(capacity);
  return [DuplexStream.create(back, there), DuplexStream.create(there, back)];
}
