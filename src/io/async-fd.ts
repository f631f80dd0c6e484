// AsyncFd: any file descriptor that epoll can watch: a pipe, a terminal, a pidfd, an inotify, a device.
// See epoll_ctl(2), read(2), write(2), fcntl(2).

import { describe } from "../base/describe.ts";
import type { Context } from "../core/context.ts";
import type { Future } from "../core/future.ts";
import { currentSys } from "../reactor/reactor.ts";
import { check, EAGAIN, SysError } from "../sys/errno.ts";
import { checkBuffer, F_GETFL, F_SETFL, O_NONBLOCK } from "../sys/socket.ts";
import { Operation } from "./operation.ts";
import { READ, Source, WRITE } from "./source.ts";
import { Read, Write } from "./transfer.ts";

/**
 * A file descriptor that was opened elsewhere, and is this object's from now on: `close` closes it, `release`
 * gives it back. It is made non-blocking meanwhile, for whoever shares it, too: `O_NONBLOCK` belongs to what is
 * open, not to the number. Throws SysError (`EBADF`); RangeError for what is no descriptor.
 *
 * A regular file is always ready: reads of one block, as anywhere, and `readable` throws `EPERM`.
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
  /** As they were, if they are other now. */
  readonly #flags: number | null;

  constructor(fd: number) {
    if (!Number.isInteger(fd) || fd < 0 || fd > 0x7fffffff) {
      throw new RangeError(
        `fd must be a file descriptor, an integer of 0 or more; got ${describe(fd)}`,
      );
    }
    const sys = currentSys();
    const flags = check(sys.fcntl(fd, F_GETFL, 0), "fcntl");
    const isBlocking = (flags & O_NONBLOCK) === 0;
    if (isBlocking) check(sys.fcntl(fd, F_SETFL, flags | O_NONBLOCK), "fcntl");
    this.#flags = isBlocking ? flags : null;
    this.#source = new Source(sys, fd);
  }

  /** Its number. Borrowed: whoever closes it closes it for this object. */
  get fd(): number {
    return this.#source.fd;
  }

  /**
   * Completes when there is something to read, an end or an error included; at once if there is. What is read
   * afterwards, and how, is the caller's affair. Throws SysError (`EPERM` for what epoll cannot watch),
   * ClosedError. Cancel safe. EPOLLIN in epoll_ctl(2).
   */
  readable(): Future<void> {
    return new Ready(this.#source, READ);
  }

  /** The same for writing. */
  writable(): Future<void> {
    return new Ready(this.#source, WRITE);
  }

  /**
   * Reads what is there, at least one byte, into `buffer`; returns how many bytes, 0 at the end. Throws
   * SysError (`EIO`, `EINVAL`, ...), ClosedError; TypeError for what is no Uint8Array, RangeError for an empty
   * one. Cancel safe: dropped, it has read nothing. See read(2).
   */
  read(buffer: Uint8Array): Future<number> {
    checkBuffer(buffer);
    return new FdRead(this.#source).of(buffer);
  }

  /**
   * Writes some of `data`; returns how many bytes, at least one. Throws SysError (`EPIPE`, ...), ClosedError;
   * TypeError for what is no Uint8Array, RangeError for an empty one. Cancel safe: dropped, it has written
   * nothing. See write(2).
   */
  write(data: Uint8Array): Future<number> {
    checkBuffer(data, "data");
    return new FdWrite(this.#source).of(data);
  }

  /**
   * Gives the descriptor back, as blocking as it was: it is the caller's again, and who waits here gets a
   * ClosedError. Its number. Throws ClosedError once it was closed, or given back.
   */
  release(): number {
    if (this.#source.isClosed) throw this.#source.closedError();
    this.#restore();
    this.#source.release();
    return this.fd;
  }

  /** Closes it; who waits on it gets a ClosedError. Idempotent. */
  close(): void {
    if (this.#source.isClosed) return;
    this.#restore();
    this.#source.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /** A terminal, say, is others' too, and they expect to be blocked. */
  #restore(): void {
    const { sys, fd } = this.#source;
    if (this.#flags !== null) sys.fcntl(fd, F_SETFL, this.#flags);
  }
}

/**
 * Waits for readiness itself. That the fd was ready may be old, since what the caller does with it is not seen
 * here: so epoll is asked anew, once. (That it was not is not: whatever comes is an edge.)
 */
class Ready extends Operation<void> {
  #hasAsked = false;

  protected override attempt(source: Source, cx: Context): number {
    if (this.#hasAsked) return 0;
    source.recheck(cx);
    this.#hasAsked = true;
    return -EAGAIN; // until it answers
  }

  protected override complete(): void {}

  protected override fail(errno: number): Error {
    return new SysError(errno, "epoll_ctl"); // no attempt returns one
  }
}

/** A short read says nothing here: a terminal gives a line at a time, an inotify whole events. */
class FdRead extends Read {
  protected override attempt({ sys, fd }: Source): number {
    if (this.buffer.length === 0) checkBuffer(this.buffer); // it was detached since
    return sys.read(fd, this.buffer);
  }

  protected override fail(errno: number): Error {
    return new SysError(errno, "read");
  }
}

class FdWrite extends Write {
  protected override attempt({ sys, fd }: Source): number {
    if (this.buffer.length === 0) checkBuffer(this.buffer, "data"); // it was detached since
    return sys.write(fd, this.buffer);
  }

  protected override fail(errno: number): Error {
    return new SysError(errno, "write");
  }
}
