// Moving bytes through a connected socket: the operations behind read, write and writeAll.

import { Operation } from "../reactor/operation.ts";
import type { Source } from "../reactor/source.ts";
import { SysError } from "../sys/errno.ts";
import { checkBuffer } from "../sys/socket.ts";

export class Read extends Operation<number> {
  readonly #buffer: Uint8Array;

  constructor(source: Source, buffer: Uint8Array) {
    super(source, "read");
    this.#buffer = buffer;
  }

  protected override attempt(source: Source): number {
    checkBuffer(this.#buffer); // it may have been detached since
    const count = source.sys.recv(source.fd, this.#buffer, 0);
    // A short read: drained. Forget readiness without paying for the EAGAIN.
    if (count > 0 && count < this.#buffer.length) source.drained();
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
  readonly #data: Uint8Array;

  constructor(source: Source, data: Uint8Array) {
    super(source, "write");
    this.#data = data;
  }

  protected override attempt(source: Source): number {
    checkBuffer(this.#data, "data");
    return source.sys.send(source.fd, this.#data, 0);
  }

  protected override complete(count: number): number {
    return count;
  }

  protected override fail(errno: number): Error {
    return new SysError(errno, "send");
  }
}

export class WriteAll extends Operation<void> {
  /** What is not yet written is its first `#left` bytes. */
  #rest: Uint8Array;
  #left: number;

  constructor(source: Source, data: Uint8Array, length: number) {
    super(source, "write");
    this.#rest = data;
    this.#left = length;
  }

  protected override attempt(source: Source): number {
    if (this.#left === 0 || this.#rest.length < this.#left) {
      if ((this.#rest.buffer as ArrayBuffer).detached) checkBuffer(this.#rest, "data");
      if (this.#left === 0) return 0;
      throw new RangeError("data must keep its length while it is written; it has shrunk");
    }
    for (;;) {
      const count = source.sys.send(source.fd, this.#rest, 0, this.#left);
      if (count < 0 || count === this.#left) return count;
      // Short, so its buffer is full, as a rule. To be told so costs little: it waits anyway.
      this.#rest = this.#rest.subarray(count);
      this.#left -= count;
    }
  }

  protected override complete(): void {}

  protected override fail(errno: number): Error {
    return new SysError(errno, "send");
  }
}
