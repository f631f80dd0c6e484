// AsyncFd: any fd that epoll can watch: a pipe, a terminal, a pidfd, an inotify fd, a device. And pipe(), which opens two.
// See epoll_ctl(2), read(2), write(2), fcntl(2).

import { outOfRange } from "../base/check.ts";
import { describe } from "../base/describe.ts";
import { inspectable } from "../base/inspect.ts";
import { iterateChunks } from "../core/async-iteration.ts";
import type { Context } from "../core/context.ts";
import type { Future } from "../core/future.ts";
import type { Again, Poll } from "../core/poll.ts";
import { currentSys } from "../reactor/reactor.ts";
import { check, ENOTSOCK } from "../sys/errno.ts";
import {
  checkBuffer,
  F_GETFL,
  F_SETFL,
  O_ACCMODE,
  O_NONBLOCK,
  O_WRONLY,
  SHUT_WR,
} from "../sys/socket.ts";
import type { ByteStream, ReadChunkOptions } from "./bytes.ts";
import { FdStream } from "./fd-pump.ts";
import { Operation } from "./operation.ts";
import { checkMaxBytes, ReadChunk } from "./read-chunk.ts";
import { type Direction, READ, Source, WRITE } from "./source.ts";
import { checkData, Read, Write } from "./transfer.ts";
import { bytesOf, WriteV } from "./writev.ts";

/**
 * The AsyncFds of this thread whose fd was non-blocking at first, perhaps because another AsyncFd has the same open file:
 * the fds 0 and 1 of a terminal share one.
 */
const foundNonBlocking: Set<WeakRef<AsyncFd>> = new Set();

/**
 * Takes ownership of an fd that other code opened: `close` closes it, `release` returns it. Until then the fd is
 * non-blocking, also in other processes that share it, because `O_NONBLOCK` belongs to the open file description and
 * not to the fd. The constructor throws SysError (`EBADF`), and RangeError if `fd` is not an integer from 0 to
 * 2147483647. See open(2).
 *
 * A regular file is always ready: its reads block the thread, and `readable` throws `EPERM`.
 *
 * @example
 * import { openSync } from "node:fs";
 * Bun.spawnSync(["mkfifo", "/tmp/orders.fifo"]);
 * using orders = new AsyncFd(openSync("/tmp/orders.fifo", "r+"));
 * yield* orders.write(new TextEncoder().encode("tea"));
 * const buffer = new Uint8Array(1024);
 * console.log(yield* orders.read(buffer)); // 3
 */
export class AsyncFd implements AsyncIterable<Uint8Array>, ByteStream {
  static {
    inspectable(AsyncFd, (file) => {
      const { isClosed, fd } = file.#source;
      return `AsyncFd { ${isClosed ? "closed" : `fd ${fd}`} }`;
    });
  }

  readonly #source: Source;
  /** The original flags, to restore; null if the fd was non-blocking already, or another AsyncFd restores them. */
  #flags: number | null;
  /** This object in `foundNonBlocking`; null if it is not there. */
  #found: WeakRef<AsyncFd> | null = null;

  constructor(fd: number) {
    if (!Number.isInteger(fd) || fd < 0 || fd > 0x7fffffff) {
      throw outOfRange(`AsyncFd: fd must be an integer from 0 to 2147483647; got ${describe(fd)}`);
    }
    const sys = currentSys();
    const flags = check(sys.fcntl(fd, F_GETFL, 0), "fcntl");
    const isBlocking = (flags & O_NONBLOCK) === 0;
    if (isBlocking) check(sys.fcntl(fd, F_SETFL, flags | O_NONBLOCK), "fcntl");
    this.#flags = isBlocking ? flags : null;
    this.#source = new Source(sys, fd);
    if (isBlocking) return;
    this.#found = new WeakRef(this);
    foundNonBlocking.add(this.#found);
  }

  /** The fd number, for other calls. Do not close it: this object owns it. */
  get fd(): number {
    return this.#source.fd;
  }

  /**
   * Waits until the fd is readable, at its end or in error, for callers that then read with a syscall of their own.
   * Throws SysError (`EPERM` for a file that epoll cannot watch), ClosedError. Cancel safe. See EPOLLIN in
   * epoll_ctl(2).
   */
  readable(): Future<void> {
    return new Ready(this.#source, READ);
  }

  /** Waits until the fd is writable. Errors and cancel safety are those of `readable`. See EPOLLOUT in epoll_ctl(2). */
  writable(): Future<void> {
    return new Ready(this.#source, WRITE);
  }

  /**
   * Waits for data and reads at least one byte into `buffer`. Returns the number of bytes; 0 at the end. Throws
   * SysError (`EIO`, `EINVAL`, ...), ClosedError, TypeError if `buffer` is not a Uint8Array, and RangeError if it is
   * empty. Cancel safe: a dropped read has read nothing. See read(2).
   */
  read(buffer: Uint8Array): Future<number> {
    checkBuffer(buffer);
    return new FdRead(this.#source).arm(buffer);
  }

  /**
   * Waits for data and returns what has arrived, in an array of exactly its length that belongs to the caller; null at
   * the end. Returns at most `maxBytes` bytes (65536 by default, which is also the most). Throws SysError (`EIO`, ...),
   * ClosedError, TypeError and RangeError for invalid options. Cancel safe: a dropped read has read nothing. See
   * read(2).
   */
  readChunk(options?: ReadChunkOptions): Future<Uint8Array | null> {
    return new FdReadChunk(this.#source).arm(checkMaxBytes(options));
  }

  /**
   * Waits for room and writes at least the first byte of `data`. Returns the number of bytes written. Throws SysError
   * (`EPIPE`, ...), ClosedError, TypeError if `data` is not a Uint8Array, and RangeError if it is empty. Cancel safe:
   * a dropped write has written nothing. See write(2).
   */
  write(data: Uint8Array): Future<number> {
    checkBuffer(data, "data");
    return new FdWrite(this.#source).arm(data);
  }

  /**
   * Writes all of `data` (a string as UTF-8), or its first `length` bytes. `data` must not change until the write
   * completes. Throws SysError (`EPIPE`, ...), ClosedError, TypeError if `data` is neither a Uint8Array nor a string,
   * and RangeError unless `length` is an integer from 0 to the length of `data`. Not cancel safe: a dropped write may
   * have written a part. See write(2).
   */
  writeAll(data: Uint8Array | string, length?: number): Future<void> {
    const bytes = checkData(data, length);
    return new FdWriteV(this.#source).arm([
      length === undefined ? bytes : bytes.subarray(0, length),
    ]);
  }

  /**
   * Writes all `pieces` in order (strings as UTF-8), 64 of them per syscall. The pieces must not change until the write
   * completes. Throws SysError (`EPIPE`, ...), ClosedError, TypeError if `pieces` is not an array of Uint8Arrays and
   * strings, and RangeError if a piece changes its length meanwhile. Not cancel safe: a dropped write may have written
   * a part. See writev(2).
   */
  writev(pieces: readonly (Uint8Array | string)[]): Future<void> {
    return new FdWriteV(this.#source).arm(bytesOf(pieces));
  }

  /**
   * Ends the writes: the reader of a pipe, or the peer of a socket, then reads the end. A socket stays open for reading.
   * The writing end of a pipe has no other way to end than to close, so this closes it. Throws ClosedError, and SysError:
   * `ENOTSOCK` for an fd that can end its writes in neither way, such as a terminal. See shutdown(2).
   */
  shutdown(): void {
    const { sys, fd, isClosed } = this.#source;
    if (isClosed) throw this.#source.closedError();
    const result = sys.shutdown(fd, SHUT_WR);
    const isWriteOnly =
      result === -ENOTSOCK && (sys.fcntl(fd, F_GETFL, 0) & O_ACCMODE) === O_WRONLY;
    if (isWriteOnly) this.close();
    else check(result, "shutdown");
  }

  /**
   * Iterates over the chunks of `readChunk`, up to the end. Leaving the loop keeps the fd open. Throws what `readChunk`
   * throws.
   */
  [Symbol.asyncIterator](): AsyncIterator<Uint8Array> {
    return iterateChunks(() => this.readChunk());
  }

  /**
   * Returns the fd, with its original blocking mode unless another AsyncFd shares the open file. The caller owns it again.
   * Pending operations throw ClosedError. Throws ClosedError if the fd was already closed or released.
   */
  release(): number {
    if (this.#source.isClosed) throw this.#source.closedError();
    this.#restore();
    this.#source.release();
    return this.fd;
  }

  /**
   * Closes the fd, and restores the blocking mode unless another AsyncFd shares the open file. Pending operations throw
   * ClosedError. Idempotent. See close(2).
   */
  close(): void {
    if (this.#source.isClosed) return;
    this.#restore();
    this.#source.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /** @internal For copy and split. */
  get fdStream(): FdStream {
    return new FdStream(this.#source, false);
  }

  /**
   * Restores the blocking mode: other processes may share the open file, such as a terminal, and expect it to block. If
   * another AsyncFd shares it, that one restores the mode instead.
   */
  #restore(): void {
    if (this.#found !== null) foundNonBlocking.delete(this.#found);
    const flags = this.#flags;
    if (flags === null) return;
    const { sys, fd } = this.#source;
    sys.fcntl(fd, F_SETFL, flags);
    for (const reference of foundNonBlocking) {
      const other = reference.deref();
      if (other === undefined) foundNonBlocking.delete(reference);
      else if (other.#source.sys === sys && (sys.fcntl(other.fd, F_GETFL, 0) & O_NONBLOCK) === 0) {
        sys.fcntl(other.fd, F_SETFL, flags | O_NONBLOCK);
        other.#flags = flags;
        foundNonBlocking.delete(reference);
        return;
      }
    }
  }
}

/**
 * Waits for readiness and transfers nothing. A cached "ready" may be stale, because the source does not see what the
 * caller does with the fd. So this operation makes epoll report the readiness once more. (A cached "not ready" is
 * never stale: any later change is an edge.)
 */
class Ready extends Operation<void> {
  readonly #direction: Direction;
  #hasRearmed = false;

  constructor(source: Source, direction: Direction) {
    super(source);
    this.#direction = direction;
  }

  protected override get direction(): Direction {
    return this.#direction;
  }

  protected override attempt(cx: Context): Poll<void> {
    const { source } = this;
    if ((source.ready & this.#direction) === 0) return source.wait(this.#direction, this, cx);
    if (this.#hasRearmed) return;
    source.rearm(cx);
    this.#hasRearmed = true;
    source.clearReady(this.#direction); // until epoll has reported
    return source.wait(this.#direction, this, cx);
  }

  protected override get syscall(): string {
    return "epoll_ctl";
  }
}

/** Does not clear readiness after a short read: a terminal returns one line at a time, an inotify fd whole events. */
class FdRead extends Read {
  protected override attempt(cx: Context): Poll<number> | Again {
    const { source, buffer } = this;
    if ((source.ready & READ) === 0) return source.wait(READ, this, cx);
    if (buffer.length === 0) checkBuffer(buffer); // user code has detached it meanwhile
    const count = source.sys.read(source.fd, buffer);
    return count < 0 ? this.onErrno(count, cx) : count;
  }

  protected override get syscall(): string {
    return "read";
  }
}

class FdWrite extends Write {
  protected override attempt(cx: Context): Poll<number> | Again {
    const { source, buffer } = this;
    if ((source.ready & WRITE) === 0) return source.wait(WRITE, this, cx);
    if (buffer.length === 0) checkBuffer(buffer, "data"); // user code has detached it meanwhile
    const count = source.sys.write(source.fd, buffer);
    return count < 0 ? this.onErrno(count, cx) : count;
  }

  protected override get syscall(): string {
    return "write";
  }
}

class FdReadChunk extends ReadChunk {
  /** Does not clear readiness after a short read, as FdRead does not. */
  protected override receive(buffer: Uint8Array): number {
    return this.source.sys.read(this.source.fd, buffer);
  }

  protected override get syscall(): string {
    return "read";
  }
}

class FdWriteV extends WriteV {
  protected override transmit(pieces: readonly Uint8Array[]): number {
    return this.source.sys.writev(this.source.fd, pieces);
  }

  protected override get syscall(): string {
    return "writev";
  }
}

/**
 * Opens a pipe. The caller owns both ends; the reader reads the end once the writer is closed. `release()` of an end
 * returns a blocking fd, which a child process can use as its stdin or stdout. Throws SysError (`EMFILE`). See pipe(7).
 *
 * @example
 * const { reader, writer } = pipe();
 * yield* writer.writeAll("one way");
 * writer.close();
 * console.log(yield* reader.read(new Uint8Array(64))); // 7
 * reader.close();
 */
export function pipe(): { reader: AsyncFd; writer: AsyncFd } {
  const ends = new Int32Array(2);
  check(currentSys().pipe(ends), "pipe2");
  const [reader, writer] = [new AsyncFd(ends[0]!), new AsyncFd(ends[1]!)];
  for (const end of [reader, writer]) end.fdStream.source.setSocket(end);
  return { reader, writer };
}
