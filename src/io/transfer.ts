// Moving bytes through a connected socket: the operations behind read, write and writeAll.

import { SysError } from "../sys/errno.ts";
import { checkBuffer } from "../sys/socket.ts";
import { AGAIN, Operation } from "./operation.ts";
import { READ, type Source, WRITE } from "./source.ts";

/** The most that one call sends. To a peer that reads as fast as we write one of 512 MB took a second. */
const PIECE = 262_144;

export class Read extends Operation<number> {
  constructor(source: Source) {
    super(source, READ);
  }

  of(buffer: Uint8Array): this {
    this.buffer = buffer;
    return this;
  }

  protected override attempt(source: Source): number {
    if (this.buffer.length === 0) checkBuffer(this.buffer); // it was detached since
    const count = source.sys.recv(source.fd, this.buffer, 0);
    // A short read: drained. Forget readiness without paying for the EAGAIN.
    if (count > 0 && count < this.buffer.length) source.drained();
    return count;
  }

  protected override complete(count: number): number {
    return count;
  }

  protected override fail(errno: number): Error {
    return new SysError(errno, "recv");
  }
}

export class Write extends Operation<number> {
  constructor(source: Source) {
    super(source, WRITE);
  }

  of(data: Uint8Array): this {
    this.buffer = data;
    return this;
  }

  protected override attempt(source: Source): number {
    if (this.buffer.length === 0) checkBuffer(this.buffer, "data"); // it was detached since
    return source.sys.send(source.fd, this.buffer, 0, Math.min(this.buffer.length, PIECE));
  }

  protected override complete(count: number): number {
    return count;
  }

  protected override fail(errno: number): Error {
    return new SysError(errno, "send");
  }
}

export class WriteAll extends Operation<void> {
  /** So many bytes, the first of `buffer`, are not yet written. */
  #left = 0;

  constructor(source: Source) {
    super(source, WRITE);
  }

  of(data: Uint8Array, length: number): this {
    this.buffer = data;
    this.#left = length;
    return this;
  }

  protected override attempt(source: Source): number {
    if (this.#left === 0 || this.buffer.length < this.#left) {
      if ((this.buffer.buffer as ArrayBuffer).detached) checkBuffer(this.buffer, "data");
      if (this.#left === 0) return 0;
      throw new RangeError("data must keep its length while it is written; it has shrunk");
    }
    const count = source.sys.send(source.fd, this.buffer, 0, Math.min(this.#left, PIECE));
    if (count < 0 || count === this.#left) return count;
    // Short, so its buffer is full, as a rule. To be told so costs little: it waits anyway.
    this.buffer = this.buffer.subarray(count);
    this.#left -= count;
    return AGAIN;
  }

  protected override complete(): void {}

  protected override fail(errno: number): Error {
    return new SysError(errno, "send");
  }
}
