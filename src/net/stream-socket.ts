// StreamSocket: a connected byte stream over a socket of any family. TcpStream and UnixStream extend it.

import { checkMilliseconds, checkObject, invalidType } from "../base/check.ts";
import { cold } from "../base/cold.ts";
import { describe } from "../base/describe.ts";
import { iterateChunks } from "../core/async-iteration.ts";
import type { Context } from "../core/context.ts";
import { current } from "../core/current.ts";
import type { Future } from "../core/future.ts";
import type { Again, Poll } from "../core/poll.ts";
import type { ByteStream, ReadChunkOptions } from "../io/bytes.ts";
import { FdStream } from "../io/fd-pump.ts";
import { checkMaxBytes, ReadChunk } from "../io/read-chunk.ts";
import { type Direction, READ, type Source, WRITE } from "../io/source.ts";
import { WebStreams } from "../io/to-web.ts";
import { checkData, Read, Write, WriteAll } from "../io/transfer.ts";
import { bytesOf, WriteV } from "../io/writev.ts";
import { check, EAGAIN, EINTR } from "../sys/errno.ts";
import { checkBuffer, MSG_PEEK, SHUT_RD, SHUT_RDWR, SHUT_WR } from "../sys/socket.ts";
import { Socket } from "./base-socket.ts";
import { FINISH_TIMEOUT_MS, Finish, type FinishOptions } from "./finish.ts";
import { openSys } from "./socket.ts";

/** Not a field: most streams have none, and with a seventh field the engine would allocate 80 bytes instead of 64. */
const webStreams: WeakMap<StreamSocket, WebStreams> = new WeakMap();

function webStreamsOf(stream: StreamSocket): WebStreams {
  const known = webStreams.get(stream) ?? new WebStreams(stream);
  webStreams.set(stream, known);
  return known;
}

// A coroutine reuses its operations.
const newRead = cold((source: Source) => new Read(source));
const newReadChunk = cold((source: Source) => new ReadChunk(source));
const newWrite = cold((source: Source) => new Write(source));
const newWriteAll = cold((source: Source) => new WriteAll(source));

/** A connected byte stream. Several tasks may read and write at once; each received byte goes to exactly one read. */
export abstract class StreamSocket extends Socket implements AsyncIterable<Uint8Array>, ByteStream {
  /** The latest operation of each kind, for reuse; null if an async function started it (see `kept` in leaf.ts). */
  #read: Read | null = null;
  #readChunk: ReadChunk | null = null;
  #write: Write | null = null;
  #writeAll: WriteAll | null = null;

  /**
   * Waits for data and reads at least one byte into `buffer`. Returns the number of bytes; 0 after the peer has
   * ended its side. Throws SysError (`ECONNRESET`), ClosedError, TypeError if `buffer` is not a Uint8Array, and
   * RangeError if it is empty. Cancel safe: a dropped read has read nothing. See recv(2).
   *
   * @example
   * const buffer = new Uint8Array(4096);
   * // Is a pooled connection still usable? undefined: it is idle, so yes. 0: the peer has closed it.
   * const isUsable = (yield* race(stream.read(buffer), sleep(0))) === undefined;
   */
  read(buffer: Uint8Array): Future<number> {
    checkBuffer(buffer);
    const cx = current.context;
    if (cx === null) {
      this.#read = null;
      return new Read(this.source).arm(buffer);
    }
    if (!this.#read?.tryReuse(cx)) this.#read = newRead(this.source);
    return this.#read.arm(buffer);
  }

  /**
   * Waits for data and returns what has arrived, in an array of exactly its length that belongs to the caller; null
   * after the peer has ended its side. Returns at most `maxBytes` bytes (65536 by default, which is also the most).
   * The stream needs no buffer while it waits, so idle connections use less memory than with `read`. Large chunks cost a
   * copy: where they are usual, `read` into one buffer is half as fast again. Throws SysError (`ECONNRESET`), ClosedError,
   * TypeError and RangeError for invalid options. Cancel safe: a dropped read has read nothing. See recv(2).
   *
   * @example
   * for (;;) {
   *   const chunk = yield* stream.readChunk();
   *   if (chunk === null) break; // the peer sends no more
   *   yield* stream.writeAll(chunk);
   * }
   */
  readChunk(options?: ReadChunkOptions): Future<Uint8Array | null> {
    const maxBytes = checkMaxBytes(options);
    const cx = current.context;
    if (cx === null) {
      this.#readChunk = null;
      return new ReadChunk(this.source).arm(maxBytes);
    }
    if (!this.#readChunk?.tryReuse(cx)) this.#readChunk = newReadChunk(this.source);
    return this.#readChunk.arm(maxBytes);
  }

  /**
   * Writes at least one byte of `data`. Returns the number of bytes. Throws SysError (`EPIPE`, `ECONNRESET`),
   * ClosedError, TypeError if `data` is not a Uint8Array, and RangeError if it is empty. Cancel safe: a dropped
   * write has written nothing. See send(2).
   *
   * @example
   * const bytes = yield* stream.write(new Uint8Array([1, 2, 3]));
   */
  write(data: Uint8Array): Future<number> {
    checkBuffer(data, "data");
    const cx = current.context;
    if (cx === null) {
      this.#write = null;
      return new Write(this.source).arm(data);
    }
    if (!this.#write?.tryReuse(cx)) this.#write = newWrite(this.source);
    return this.#write.arm(data);
  }

  /**
   * Writes all of `data` (a string as UTF-8), or its first `length` bytes, which avoids a `subarray` of a partly
   * filled buffer. `data` must not change until the write completes. Throws SysError (`EPIPE`, `ECONNRESET`),
   * ClosedError, TypeError if `data` is neither a Uint8Array nor a string, and RangeError unless `length` is an
   * integer from 0 to the length of `data`. Not cancel safe: a dropped write may have written a part. See
   * send(2).
   *
   * @example
   * yield* stream.writeAll("a line\n");
   * yield* stream.writeAll(new Uint8Array(65536), 5); // the first five bytes of the buffer
   */
  writeAll(data: Uint8Array | string, length?: number): Future<void> {
    const bytes = checkData(data, length);
    const cx = current.context;
    if (cx === null) {
      this.#writeAll = null;
      return new WriteAll(this.source).arm(bytes, length);
    }
    if (!this.#writeAll?.tryReuse(cx)) this.#writeAll = newWriteAll(this.source);
    return this.#writeAll.arm(bytes, length);
  }

  /**
   * Writes all `pieces` in order (strings as UTF-8), 64 of them per syscall, without copying them into one buffer. The
   * pieces must not change until the write completes. Throws SysError (`EPIPE`, `ECONNRESET`), ClosedError, TypeError
   * if `pieces` is not an array of Uint8Arrays and strings, and RangeError if a piece changes its length meanwhile. Not
   * cancel safe: a dropped write may have written a part. See sendmsg(2).
   *
   * @example
   * const body = new TextEncoder().encode("hello");
   * yield* stream.writev([`content-length: ${body.length}\r\n\r\n`, body]);
   */
  writev(pieces: readonly (Uint8Array | string)[]): Future<void> {
    return new WriteV(this.source).arm(bytesOf(pieces));
  }

  /**
   * Waits for data and copies it into `buffer`, but leaves it in the socket: the next read returns it again. Returns the
   * number of bytes; 0 after the peer has ended its side. Errors and cancel safety are those of `read`. See MSG_PEEK in
   * recv(2).
   *
   * @example
   * const buffer = new Uint8Array(1);
   * const count = yield* race(stream.peek(buffer), sleep(10)); // a TLS client's first byte is 22
   */
  peek(buffer: Uint8Array): Future<number> {
    checkBuffer(buffer);
    return new Peek(this.source).arm(buffer);
  }

  /**
   * Reads what has arrived, without waiting. Returns the number of bytes, 0 after the peer has ended its side, or null if
   * a `read` would wait. Errors are those of `read`. See recv(2).
   *
   * @example
   * const buffer = new Uint8Array(4096);
   * console.log(stream.tryRead(buffer)); // null: nothing has arrived
   */
  tryRead(buffer: Uint8Array): number | null {
    checkBuffer(buffer);
    return attemptNow(this.source, READ, "recv", ({ sys, fd }) => sys.recv(fd, buffer, 0));
  }

  /**
   * Writes as much of `data` as fits into the kernel's buffer, without waiting. Returns the number of bytes, or null if a
   * `write` would wait. Errors are those of `write`. See send(2).
   *
   * @example
   * console.log(stream.tryWrite(new Uint8Array([1, 2, 3]))); // 3
   */
  tryWrite(data: Uint8Array): number | null {
    checkBuffer(data, "data");
    return attemptNow(this.source, WRITE, "send", ({ sys, fd }) => sys.send(fd, data, 0));
  }

  /**
   * Shuts down one side of the connection, or both. The default is a half-close: it ends our writes, and the peer
   * then reads 0. Returns at once. Throws SysError (`ENOTCONN` after the peer has reset the connection, or once both
   * sides have ended it), ClosedError, and TypeError for an invalid `how`. See shutdown(2).
   *
   * @example
   * using stream = yield* TcpStream.connect("127.0.0.1:7000");
   * yield* stream.writeAll("the last line\n");
   * stream.shutdown();
   */
  shutdown(how: "read" | "write" | "both" = "write"): void {
    const flags = { read: SHUT_RD, write: SHUT_WR, both: SHUT_RDWR };
    const flag = typeof how === "string" ? flags[how] : undefined;
    if (flag === undefined) {
      throw invalidType(`shutdown: how must be "read", "write" or "both"; got ${describe(how)}`);
    }
    check(openSys(this.source).shutdown(this.source.fd, flag), "shutdown");
  }

  /**
   * Iterates over the chunks of `readChunk`, up to the end of the stream. Leaving the loop keeps the stream open. Throws
   * what `readChunk` throws.
   *
   * @example
   * for await (const chunk of stream) console.log(chunk.length);
   */
  [Symbol.asyncIterator](): AsyncIterator<Uint8Array> {
    return iterateChunks(() => this.readChunk());
  }

  /**
   * The data that arrives, as a web stream: see `toReadable`. The same object each time. Once it and `writable` have
   * both ended, they close this stream.
   *
   * @example
   * const response = new Response(stream.readable);
   */
  get readable(): ReadableStream<Uint8Array<ArrayBuffer>> {
    return webStreamsOf(this).readable;
  }

  /**
   * What to send, as a web stream: see `toWritable`. The same object each time.
   *
   * @example
   * await new Response("hello").body?.pipeTo(stream.writable, { preventClose: true });
   */
  get writable(): WritableStream<Uint8Array | string> {
    return webStreamsOf(this).writable;
  }

  /**
   * Closes the connection without losing what was written: ends our writes, then reads and discards until the peer ends
   * its side, and closes. Returns true then. Returns false if the peer has reset the connection, or has not ended its side
   * within `timeoutMs` milliseconds (5000 by default): the stream is closed as well, and the peer may not have received
   * everything. A peer that sends without end does not delay the deadline. Throws ClosedError, and RangeError unless
   * `timeoutMs` is a number >= 0.
   *
   * Not cancel safe: dropping it closes the stream at once, unless it was never polled. Do not read from the stream at the
   * same time: each read would take bytes from the other. See shutdown(2), and lingering_close of nginx.
   *
   * @example
   * using stream = yield* TcpStream.connect("127.0.0.1:7000");
   * yield* stream.writeAll("the last answer\n");
   * const isReceived = yield* stream.finish({ timeoutMs: 5 });
   */
  finish(options: FinishOptions = {}): Future<boolean> {
    checkObject(options, "finish: options");
    const { timeoutMs = FINISH_TIMEOUT_MS } = options;
    checkMilliseconds(timeoutMs, "finish: timeoutMs");
    return new Finish(this.source, timeoutMs);
  }

  /**
   * Closes the socket. Pending operations throw ClosedError. Idempotent.
   *
   * The kernel still sends what was written. But if unread input is left, or the peer sends more, it answers with RST,
   * which discards data on both sides: the peer may lose the tail. If the peer may still be sending, use `finish`. See
   * close(2).
   */
  override close(): void {
    super.close();
  }

  /** @internal For copy and split. */
  get fdStream(): FdStream {
    return new FdStream(this.source, true);
  }
}

/** Makes one call now. Returns its result, or null if it would block. Throws SysError, ClosedError. */
export function attemptNow(
  source: Source,
  direction: Direction,
  syscall: string,
  call: (source: Source) => number,
): number | null {
  openSys(source);
  let result: number;
  do result = call(source);
  while (result === -EINTR);
  if (result >= 0) return result;
  if (result !== -EAGAIN) throw source.errorOf(result, syscall);
  source.clearReady(direction); // any later readiness is a new edge
  return null;
}

/** Never clears readiness after a short read: the data is still there. */
class Peek extends Read {
  protected override attempt(cx: Context): Poll<number> | Again {
    const { source, buffer } = this;
    if ((source.ready & READ) === 0) return source.wait(READ, this, cx);
    if (buffer.length === 0) checkBuffer(buffer); // user code has detached it meanwhile
    const count = source.sys.recv(source.fd, buffer, MSG_PEEK);
    return count < 0 ? this.onErrno(count, cx) : count;
  }
}
