// AsyncFd: any fd that epoll can watch: a pipe, a terminal, a pidfd, an inotify fd, a device.
// See epoll_ctl(2), read(2), write(2), fcntl(2).

import { describe } from "../base/describe.ts";
import type { Context } from "../core/context.ts";
import type { Future } from "../core/future.ts";
import type { Again, Poll } from "../core/poll.ts";
import { currentSys } from "../reactor/reactor.ts";
import { check, SysError } from "../sys/errno.ts";
import { checkBuffer, F_GETFL, F_SETFL, O_NONBLOCK } from "../sys/socket.ts";
import { Operation } from "./operation.ts";
import { type Direction, READ, Source, WRITE } from "./source.ts";
import { Read, Write } from "./transfer.ts";

/**
 * An fd that other code opened. This object owns it from now on: `close` closes it, `release` returns it. The
 * fd is non-blocking meanwhile, also for others that share it, because `O_NONBLOCK` belongs to the open file
 * description and not to the number. Throws SysError (`EBADF`); RangeError when `fd` is not an fd number.
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
export class AsyncFd implements Disposable {
  readonly #source: Source;
  /** The original flags, if we changed them. */
  readonly #flags: number | null;

  constructor(fd: number) {
    if (!Number.isInteger(fd) || fd < 0 || fd > 0x7fffffff) {
      throw new RangeError(`fd must be an integer >= 0; got ${describe(fd)}`);
    }
    const sys = currentSys();
    const flags = check(sys.fcntl(fd, F_GETFL, 0), "fcntl");
    const isBlocking = (flags & O_NONBLOCK) === 0;
    if (isBlocking) check(sys.fcntl(fd, F_SETFL, flags | O_NONBLOCK), "fcntl");
    this.#flags = isBlocking ? flags : null;
    this.#source = new Source(sys, fd);
  }

  /** The fd number. It is borrowed: closing it elsewhere breaks this object. */
  get fd(): number {
    return this.#source.fd;
  }

  /**
   * Waits until the fd is readable; an end or an error counts. The caller then reads by its own means. Throws
   * SysError (`EPERM` for a file that epoll cannot watch), ClosedError. Cancel safe. See EPOLLIN in
   * epoll_ctl(2).
   */
  readable(): Future<void> {
    return new Ready(this.#source, READ);
  }

  /** Waits until the fd is writable. Otherwise like `readable`. */
  writable(): Future<void> {
    return new Ready(this.#source, WRITE);
  }

  /**
   * Reads available bytes into `buffer`, waiting for at least one. Returns how many, 0 at the end. Throws
   * SysError (`EIO`, `EINVAL`, ...), ClosedError; TypeError when `buffer` is not a Uint8Array, RangeError when it
   * is empty. Cancel safe: a dropped read has read nothing. See read(2).
   */
  read(buffer: Uint8Array): Future<number> {
    checkBuffer(buffer);
    return new FdRead(this.#source).arm(buffer);
  }

  /**
   * Writes a first part of `data`. Returns how many bytes, at least one. Throws SysError (`EPIPE`, ...),
   * ClosedError; TypeError when `data` is not a Uint8Array, RangeError when it is empty. Cancel safe: a dropped
   * write has written nothing. See write(2).
   */
  write(data: Uint8Array): Future<number> {
    checkBuffer(data, "data");
    return new FdWrite(this.#source).arm(data);
  }

  /**
   * Returns the fd, with its original blocking mode, to the caller, which owns it again. Waiting operations
   * throw ClosedError. Throws ClosedError when the fd was already closed or released.
   */
  release(): number {
    if (this.#source.isClosed) throw this.#source.closedError();
    this.#restore();
    this.#source.release();
    return this.fd;
  }

  /** Closes the fd. Waiting operations throw ClosedError. Idempotent. */
  close(): void {
    if (this.#source.isClosed) return;
    this.#restore();
    this.#source.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /** Other processes may share the open file, a terminal for example, and expect it to block. */
  #restore(): void {
    const { sys, fd } = this.#source;
    if (this.#flags !== null) sys.fcntl(fd, F_SETFL, this.#flags);
  }
}

/**
 * Waits for readiness alone. The cached readiness may be stale, because this class does not see what the caller
 * does with the fd. So it makes epoll report again, once. (A cached "not ready" is never stale: whatever
 * comes is an edge.)
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
    if ((this.source.ready & this.#direction) === 0) return this.wait(cx);
    if (this.#hasRearmed) return;
    this.source.rearm(cx);
    this.#hasRearmed = true;
    this.source.clearReady(this.direction); // until the report comes
    return this.wait(cx);
  }

  protected override errorOf(errno: number): Error {
    return new SysError(errno, "epoll_ctl");
  }
}

/** A short read proves nothing here: a terminal returns one line at a time, an inotify fd whole events. */
class FdRead extends Read {
  protected override attempt(cx: Context): Poll<number> | Again {
    if ((this.source.ready & READ) === 0) return this.wait(cx);
    const { source, buffer } = this;
    if (buffer.length === 0) checkBuffer(buffer); // it was detached meanwhile
    const count = source.sys.read(source.fd, buffer);
    return count < 0 ? this.onErrno(count, cx) : count;
  }

  protected override errorOf(errno: number): Error {
    return new SysError(errno, "read");
  }
}

class FdWrite extends Write {
  protected override attempt(cx: Context): Poll<number> | Again {
    if ((this.source.ready & WRITE) === 0) return this.wait(cx);
    const { source, buffer } = this;
    if (buffer.length === 0) checkBuffer(buffer, "data"); // it was detached meanwhile
    const count = source.sys.write(source.fd, buffer);
    return count < 0 ? this.onErrno(count, cx) : count;
  }

  protected override errorOf(errno: number): Error {
    return new SysError(errno, "write");
  }
}
