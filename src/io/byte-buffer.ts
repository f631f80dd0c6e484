// ByteBuffer: the bytes that have arrived and that nobody has consumed.
//
// Invariants:
// - An empty buffer holds no storage. A chunk that arrives then is adopted without a copy.
// - All arrays are plain: `slice` of a Buffer, which a chunk may be, returns a view instead of a copy.
// - Appending costs amortized O(1) per byte, and so does searching a long message that arrives in many chunks: the
//   buffer remembers how far it was searched, also across reads that were dropped.
// - Storage is only ever appended to. Consumed bytes keep their values, so that a read that was cancelled after it
//   completed can put them back.

const NO_BYTES: Uint8Array = new Uint8Array(0);
/** The least storage to allocate: it lets a message that arrives byte by byte grow in few steps. */
const MIN_STORAGE_BYTES = 512;

export class ByteBuffer {
  /** The unconsumed bytes begin at `start` and end with this array. */
  bytes: Uint8Array = NO_BYTES;
  start = 0;
  /** The array that `bytes` is the beginning of, with room behind it; null if `bytes` is an adopted chunk. */
  private storage: Uint8Array | null = null;
  /** What the buffer was searched for in vain, and the index in `bytes` from which to continue. */
  private sought: number | Uint8Array | null = null;
  private soughtTo = 0;

  /** The number of unconsumed bytes. */
  get length(): number {
    return this.bytes.length - this.start;
  }

  /** Appends `chunk`, which belongs to this buffer from now on. */
  append(chunk: Uint8Array): void {
    const { bytes, start, storage } = this;
    const end = bytes.length;
    const length = end - start;
    if (length === 0) {
      const isPlain = chunk.constructor === Uint8Array;
      this.bytes = isPlain ? chunk : new Uint8Array(chunk.buffer, chunk.byteOffset, chunk.length);
    } else if (storage !== null && storage.length - end >= chunk.length) {
      storage.set(chunk, end);
      this.bytes = storage.subarray(0, end + chunk.length);
    } else {
      // Room in proportion to the bytes that move makes moving them amortized O(1).
      const moved = new Uint8Array(Math.max(2 * length + chunk.length, MIN_STORAGE_BYTES));
      moved.set(this.view());
      moved.set(chunk, length);
      this.storage = moved;
      this.bytes = moved.subarray(0, length + chunk.length);
      this.soughtTo -= start;
      this.start = 0;
    }
  }

  /** Returns a view of the first `length` unconsumed bytes. */
  view(length: number = this.length): Uint8Array {
    const { bytes, start } = this;
    return start === 0 && length === bytes.length ? bytes : bytes.subarray(start, start + length);
  }

  /** Returns a copy of the first `length` unconsumed bytes. */
  copy(length: number = this.length): Uint8Array {
    return this.bytes.slice(this.start, this.start + length);
  }

  /** Removes the first `length` unconsumed bytes. */
  consume(length: number): void {
    this.sought = null;
    this.start += length;
    if (this.start === this.bytes.length) this.clear();
  }

  /** Removes and returns up to `maxBytes` bytes: an array that belongs to the caller, without a copy if possible. */
  takeChunk(maxBytes: number): Uint8Array {
    const { bytes, length } = this;
    const isWhole = length === bytes.length && length <= maxBytes;
    const chunk = isWhole ? bytes : this.copy(Math.min(length, maxBytes));
    this.consume(chunk.length);
    return chunk;
  }

  /** Puts a copy of `bytes` back in front of the unconsumed bytes. */
  unread(bytes: Uint8Array): void {
    const { length } = this;
    const joined = new Uint8Array(bytes.length + length);
    joined.set(bytes);
    joined.set(this.view(), bytes.length);
    this.clear();
    this.bytes = joined;
  }

  /** Returns the index in `bytes` of the first `delimiter`, which is a byte or several; -1 if it has not come. */
  indexOf(delimiter: number | Uint8Array): number {
    const from = this.sought === delimiter ? this.soughtTo : this.start;
    const isByte = typeof delimiter === "number";
    // The method of Buffer searches any Uint8Array for several bytes, and is native code.
    const index = isByte
      ? this.bytes.indexOf(delimiter, from)
      : Buffer.prototype.indexOf.call(this.bytes, delimiter, from);
    if (index < 0) {
      this.sought = delimiter;
      // The last bytes may be the beginning of a delimiter of several bytes.
      const end = this.bytes.length - (isByte ? 0 : delimiter.length - 1);
      this.soughtTo = Math.max(end, this.start);
    }
    return index;
  }

  private clear(): void {
    this.bytes = NO_BYTES;
    this.storage = this.sought = null;
    this.start = this.soughtTo = 0;
  }
}
