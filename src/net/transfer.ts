// Moving bytes through a connected socket: the operations behind read, write and writeAll.

import { Spares } from "../core/spare.ts";
import { Operation } from "../reactor/operation.ts";
import type { Source } from "../reactor/source.ts";
import { SysError } from "../sys/errno.ts";
import { checkBuffer } from "../sys/socket.ts";

/** What a spare operation holds instead of the caller's buffer. */
export const NO_BUFFER: Uint8Array = new Uint8Array(0);

const reads: Spares<Read> = new Spares();
const writes: Spares<Write> = new Spares();
const wholeWrites: Spares<WriteAll> = new Spares();

export class Read extends Operation<number> {
  #buffer: Uint8Array;

  static of(source: Source, buffer: Uint8Array): Read {
    const spare = reads.take();
    if (spare === null) return new Read(source, buffer);
    spare.useAgain(source);
    spare.#buffer = buffer;
    return spare;
  }

  private constructor(source: Source, buffer: Uint8Array) {
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
    this.#buffer = NO_BUFFER;
    return count;
  }

  override next(): IteratorResult<symbol, number> {
    return reads.keep(this, super.next());
  }

  protected override fail(errno: number): Error {
    return new SysError(errno, "recv");
  }
}

export class Write extends Operation<number> {
  #data: Uint8Array;

  static of(source: Source, data: Uint8Array): Write {
    const spare = writes.take();
    if (spare === null) return new Write(source, data);
    spare.useAgain(source);
    spare.#data = data;
    return spare;
  }

  private constructor(source: Source, data: Uint8Array) {
    super(source, "write");
    this.#data = data;
  }

  protected override attempt(source: Source): number {
    checkBuffer(this.#data, "data");
    return source.sys.send(source.fd, this.#data, 0);
  }

  protected override complete(count: number): number {
    this.#data = NO_BUFFER;
    return count;
  }

  override next(): IteratorResult<symbol, number> {
    return writes.keep(this, super.next());
  }

  protected override fail(errno: number): Error {
    return new SysError(errno, "send");
  }
}

export class WriteAll extends Operation<void> {
  /** What is not yet written is its first `#left` bytes. */
  #rest: Uint8Array;
  #left: number;

  static of(source: Source, data: Uint8Array, length: number): WriteAll {
    const spare = wholeWrites.take();
    if (spare === null) return new WriteAll(source, data, length);
    spare.useAgain(source);
    spare.#rest = data;
    spare.#left = length;
    return spare;
  }

  private constructor(source: Source, data: Uint8Array, length: number) {
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

  protected override complete(): void {
    this.#rest = NO_BUFFER;
  }

  override next(): IteratorResult<symbol, void> {
    return wholeWrites.keep(this, super.next());
  }

  protected override fail(errno: number): Error {
    return new SysError(errno, "send");
  }
}
