// Moving bytes through a connected socket: the operations behind read, write and writeAll.

import { outOfRange } from "../base/check.ts";
import { describe } from "../base/describe.ts";
import type { Context } from "../core/context.ts";
import { current, currentContext } from "../core/current.ts";
import { hoistThen } from "../core/future.ts";
import { Again, type Pending, type Poll } from "../core/poll.ts";
import { checkBuffer } from "../sys/socket.ts";
import { Operation } from "./operation.ts";
import { READ, WRITE } from "./source.ts";

const encoder = new TextEncoder();

/** The most bytes that one call sends. Without this limit, a write of 512 MB to a fast reader held the thread for a second. */
export const MAX_SEND = 262_144;

export class Read extends Operation<number> {
  static {
    hoistThen(Read.prototype);
  }

  protected override get direction(): typeof READ {
    return READ;
  }

  arm(buffer: Uint8Array): this {
    this.buffer = buffer;
    return this;
  }

  /** A copy for this class: see Leaf.beginNext. */
  override next(): IteratorResult<symbol, number> {
    const cx = current.context ?? currentContext();
    return this.beginNext(cx) ? this.endNext(this.attempt(cx), cx) : super.next();
  }

  protected override attempt(cx: Context): Poll<number> | Again {
    const { source, buffer } = this;
    if ((source.ready & READ) === 0) return source.wait(READ, this, cx);
    const count = source.sys.recv(source.fd, buffer, 0);
    if (count <= 0) return this.onNothing(count, cx);
    // A short read drained the socket. Clearing readiness now saves the recv that would return EAGAIN.
    if (count < buffer.length) source.onShortRead();
    return count;
  }

  private onNothing(count: number, cx: Context): Poll<number> | Again {
    if (count < 0) return this.onErrno(count, cx);
    if (this.buffer.length === 0) checkBuffer(this.buffer); // user code has detached it meanwhile
    return 0; // the end of the stream
  }

  protected override get syscall(): string {
    return "recv";
  }
}

export class Write extends Operation<number> {
  static {
    hoistThen(Write.prototype);
  }

  protected override get direction(): typeof WRITE {
    return WRITE;
  }

  arm(data: Uint8Array): this {
    this.buffer = data;
    return this;
  }

  protected override attempt(cx: Context): Poll<number> | Again {
    const { source, buffer } = this;
    if ((source.ready & WRITE) === 0) return source.wait(WRITE, this, cx);
    if (buffer.length === 0) checkBuffer(buffer, "data"); // user code has detached it meanwhile
    const count = source.sys.send(source.fd, buffer, 0, Math.min(buffer.length, MAX_SEND));
    return count < 0 ? this.onErrno(count, cx) : count;
  }

  protected override get syscall(): string {
    return "send";
  }
}

export class WriteAll extends Operation<void> {
  static {
    hoistThen(WriteAll.prototype);
  }

  /** The number of bytes at the start of `buffer` that are not written yet. */
  private left = 0;

  protected override get direction(): typeof WRITE {
    return WRITE;
  }

  /** Prepares the write of `data`, or of its first `length` bytes. */
  arm(data: Uint8Array, length: number | undefined): this {
    this.buffer = data;
    this.left = length ?? data.length;
    return this;
  }

  /** A copy for this class: see Leaf.beginNext. */
  override next(): IteratorResult<symbol, void> {
    const cx = current.context ?? currentContext();
    return this.beginNext(cx) ? this.endNext(this.attempt(cx), cx) : super.next();
  }

  protected override attempt(cx: Context): Poll<void> | Again {
    const { source, buffer, left } = this;
    if ((source.ready & WRITE) === 0) return source.wait(WRITE, this, cx);
    if (left === 0 || buffer.length < left) return this.onMissing();
    const count = source.sys.send(source.fd, buffer, 0, Math.min(left, MAX_SEND));
    return count === left ? undefined : this.onPartlySent(count, cx);
  }

  /** There is nothing to write; or less than there was. */
  private onMissing(): void {
    const { buffer, left } = this;
    if ((buffer.buffer as ArrayBuffer).detached) checkBuffer(buffer, "data");
    if (left === 0) return;
    this.drop(); // see Leaf.beginNext
    throw outOfRange(
      `data must keep its length while it is written; ${left} bytes are left, but it has ${buffer.length}`,
    );
  }

  private onPartlySent(count: number, cx: Context): Pending | Again {
    if (count < 0) return this.onErrno(count, cx);
    // The kernel's buffer is probably full. Another send costs little, because we would wait anyway.
    this.buffer = this.buffer.subarray(count);
    this.left -= count;
    return Again;
  }

  protected override get syscall(): string {
    return "send";
  }
}

/**
 * Returns the bytes of the arguments of `writeAll`: `data`, or its first `length` bytes. Empty data is allowed: the
 * write then completes without a syscall. Throws TypeError and RangeError.
 */
export const checkData = (data: unknown, length: number | undefined): Uint8Array => {
  const bytes = typeof data === "string" ? encoder.encode(data) : data;
  if (!(bytes instanceof Uint8Array)) checkBuffer(bytes, "data", "a Uint8Array or a string");
  if (length !== undefined) checkLength(length, bytes.length);
  return bytes;
};

/** Throws RangeError if user code has left fewer than `end` bytes in `data`, the number that `writeAll` is to write. */
export const checkKept = (data: Uint8Array, end: number): void => {
  if (data.length >= end) return;
  throw outOfRange(
    `writeAll: data must keep its length while it is written; the write is of ${end} bytes, and it has ${data.length}`,
  );
};

const checkLength = (length: unknown, max: number): void => {
  if (typeof length !== "number" || !Number.isInteger(length) || length < 0 || length > max) {
    throw outOfRange(
      `writeAll: length must be an integer from 0 to data's length, ${max}; got ${describe(length)}`,
    );
  }
};
