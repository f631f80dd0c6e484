// WriteV: writes many pieces with as few syscalls as possible.

import { invalidType, outOfRange } from "../base/check.ts";
import { describe } from "../base/describe.ts";
import type { Context } from "../core/context.ts";
import { Again, type Poll } from "../core/poll.ts";
import { MAX_PIECES } from "../sys/message.ts";
import { checkBuffer } from "../sys/socket.ts";
import { Operation } from "./operation.ts";
import { WRITE } from "./source.ts";
import { MAX_SEND } from "./transfer.ts";

const encoder = new TextEncoder();

/** Returns the bytes of `pieces`, in an array of our own. Throws TypeError unless each is a Uint8Array or a string. */
export function bytesOf(pieces: readonly (Uint8Array | string)[]): Uint8Array[] {
  if (!Array.isArray(pieces)) {
    throw invalidType(`writev: pieces must be an array; got ${describe(pieces)}`);
  }
  return pieces.map((piece, index) => {
    if (typeof piece === "string") return encoder.encode(piece);
    if (piece instanceof Uint8Array) return piece;
    throw invalidType(
      `writev: pieces[${index}] must be a Uint8Array or a string; got ${describe(piece)}`,
    );
  });
}

/**
 * Throws unless `left`, the number of bytes left by the lengths that the pieces had at the start, is 0 at the end. User
 * code has then resized a piece: a part was not written, or was written twice.
 */
export function checkWritten(left: number): void {
  if (left === 0) return;
  throw outOfRange(
    `writev: pieces must keep their lengths while they are written; the lengths changed by ${-left} bytes`,
  );
}

export class WriteV extends Operation<void> {
  private pieces: Uint8Array[] = [];
  /** The first piece that is not written. After a short write it is only the rest of a piece. */
  private first = 0;
  /** The number of bytes left, by the lengths that the pieces had at the start. */
  private left = 0;

  protected override get direction(): typeof WRITE {
    return WRITE;
  }

  /** Prepares the write. Takes ownership of the array. */
  arm(pieces: Uint8Array[]): this {
    this.pieces = pieces;
    this.first = 0;
    this.left = pieces.reduce((sum, piece) => sum + piece.length, 0);
    return this;
  }

  protected override attempt(cx: Context): Poll<void> | Again {
    if ((this.source.ready & WRITE) === 0) return this.source.wait(WRITE, this, cx);
    const batch = this.batch();
    if (batch.length === 0) return checkWritten(this.left);
    const count = this.transmit(batch);
    if (count < 0) return this.onErrno(count, cx);
    this.skip(count);
    return this.first === this.pieces.length ? checkWritten(this.left) : Again;
  }

  /** Makes the syscall. Returns the number of bytes, or the negative errno. */
  protected transmit(pieces: readonly Uint8Array[]): number {
    return this.source.sys.sendv(this.source.fd, pieces, 0);
  }

  protected override get syscall(): string {
    return "sendmsg";
  }

  protected override release(): void {
    super.release();
    this.pieces = [];
  }

  /**
   * Returns the pieces of the next call, which are not more than one call may send. Skips empty pieces: a call without
   * a byte would return 0 and make no progress.
   */
  private batch(): Uint8Array[] {
    const { pieces } = this;
    const batch: Uint8Array[] = [];
    let bytes = 0;
    for (let index = this.first; index < pieces.length && batch.length < MAX_PIECES; index++) {
      const piece = pieces[index]!;
      if (piece.length === 0) {
        if ((piece.buffer as ArrayBuffer).detached) checkBuffer(piece, `writev: pieces[${index}]`);
        if (batch.length === 0) this.first = index + 1;
        continue;
      }
      if (bytes + piece.length > MAX_SEND) {
        if (bytes < MAX_SEND) batch.push(piece.subarray(0, MAX_SEND - bytes));
        break;
      }
      batch.push(piece);
      bytes += piece.length;
    }
    return batch;
  }

  /** Removes the first `count` bytes. */
  private skip(count: number): void {
    this.left -= count;
    let rest = count;
    while (this.first < this.pieces.length && rest >= this.pieces[this.first]!.length) {
      rest -= this.pieces[this.first++]!.length;
    }
    if (rest > 0) this.pieces[this.first] = this.pieces[this.first]!.subarray(rest);
  }
}
