// ReadChunk: a read without a buffer of the caller's. It receives into one buffer per thread and returns a copy, so a
// connection that waits holds no buffer, and the shared one stays in the CPU's cache.
//
// Invariant: nothing else runs between the syscall and the copy, because an attempt is synchronous.

import { checkObject, outOfRange } from "../base/check.ts";
import { describe } from "../base/describe.ts";
import type { Context } from "../core/context.ts";
import { current, currentContext } from "../core/current.ts";
import type { Again, Poll } from "../core/poll.ts";
import { CHUNK_BYTES, type ReadChunkOptions } from "./bytes.ts";
import { Operation } from "./operation.ts";
import { READ } from "./source.ts";

/** The thread's receive buffer, created by the first read that needs it. */
let shared: Uint8Array | null = null;
/** Its first bytes, for the latest limit below its length: most programs use one limit. */
let limited: Uint8Array | null = null;

/** Returns the first `maxBytes` of the thread's receive buffer. Any other operation may overwrite them later. */
export function receiveBuffer(maxBytes: number = CHUNK_BYTES): Uint8Array {
  shared ??= new Uint8Array(new ArrayBuffer(CHUNK_BYTES));
  if (maxBytes >= CHUNK_BYTES) return shared;
  if (limited?.length !== maxBytes) limited = shared.subarray(0, maxBytes);
  return limited;
}

/** Returns the limit of a `readChunk`. Throws TypeError and RangeError for invalid options. */
export function checkMaxBytes(options: ReadChunkOptions | undefined): number {
  if (options === undefined) return CHUNK_BYTES;
  checkObject(options, "readChunk: options");
  const { maxBytes = CHUNK_BYTES } = options;
  if (!Number.isInteger(maxBytes) || maxBytes < 1 || maxBytes > 0x7fffffff) {
    throw outOfRange(
      `readChunk: maxBytes must be an integer from 1 to 2147483647; got ${describe(maxBytes)}`,
    );
  }
  return maxBytes;
}

export class ReadChunk extends Operation<Uint8Array | null> {
  protected override get direction(): typeof READ {
    return READ;
  }

  arm(maxBytes: number): this {
    this.buffer = receiveBuffer(maxBytes);
    return this;
  }

  /** A copy for this class: see Leaf.beginNext. */
  override next(): IteratorResult<symbol, Uint8Array | null> {
    const cx = current.context ?? currentContext();
    return this.beginNext(cx) ? this.endNext(this.attempt(cx), cx) : super.next();
  }

  protected override attempt(cx: Context): Poll<Uint8Array | null> | Again {
    const { buffer } = this;
    if ((this.source.ready & READ) === 0) return this.source.wait(READ, this, cx);
    const count = this.receive(buffer);
    if (count < 0) return this.onErrno(count, cx);
    return count === 0 ? null : buffer.slice(0, count);
  }

  /** Makes the syscall. Returns the number of bytes, or the negative errno. */
  protected receive(buffer: Uint8Array): number {
    const { source } = this;
    const count = source.sys.recv(source.fd, buffer, 0);
    if (count > 0 && count < buffer.length) source.onShortRead();
    return count;
  }

  protected override get syscall(): string {
    return "recv";
  }
}
