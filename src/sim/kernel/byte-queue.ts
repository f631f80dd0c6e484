// ByteQueue: bytes in order, in pieces, without copying them together.

export class ByteQueue {
  private readonly pieces: Uint8Array[] = [];
  length = 0;

  /** Appends `bytes`, which must not change. */
  push(bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    this.pieces.push(bytes);
    this.length += bytes.length;
  }

  /** Moves as many bytes as fit into `buffer`. Returns their number. */
  shiftInto(buffer: Uint8Array): number {
    let count = 0;
    while (count < buffer.length && this.pieces.length > 0) {
      const piece = this.pieces[0]!;
      const length = Math.min(piece.length, buffer.length - count);
      buffer.set(length === piece.length ? piece : piece.subarray(0, length), count);
      count += length;
      this.drop(length);
    }
    return count;
  }

  /** Copies as many bytes as fit into `buffer`, without removing them. Returns their number. */
  copyInto(buffer: Uint8Array): number {
    let count = 0;
    for (const piece of this.pieces) {
      if (count === buffer.length) break;
      const part = piece.subarray(0, buffer.length - count);
      buffer.set(part, count);
      count += part.length;
    }
    return count;
  }

  /** Returns up to `length` bytes from `offset` on, from one piece. */
  peek(offset: number, length: number): Uint8Array {
    let skipped = offset;
    for (const piece of this.pieces) {
      if (skipped < piece.length) return piece.subarray(skipped, skipped + length);
      skipped -= piece.length;
    }
    return new Uint8Array(0);
  }

  /** Removes the first `length` bytes. */
  drop(length: number): void {
    this.length -= length;
    for (let left = length; left > 0; ) {
      const piece = this.pieces[0]!;
      if (left < piece.length) {
        this.pieces[0] = piece.subarray(left);
        return;
      }
      left -= piece.length;
      this.pieces.shift();
    }
  }

  clear(): void {
    this.pieces.length = 0;
    this.length = 0;
  }
}
