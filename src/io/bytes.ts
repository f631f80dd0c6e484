// The interfaces of byte streams. TcpStream, AsyncFd, the halves of a split stream, duplex() and TlsStream implement
// them. Everything that handles bytes (BufReader, copy, framing, the adapters) accepts them, and no particular class.

import type { Future } from "../core/future.ts";

/** The most bytes that `readChunk` returns by default. */
export const CHUNK_BYTES = 65_536;

/** How much a `readChunk` may return. */
export interface ReadChunkOptions {
  /** The most bytes to return: an integer from 1 to 2147483647. 65536 by default. */
  maxBytes?: number;
}

/**
 * The reading side of a byte stream. Both methods wait for data, return at least one byte unless the stream has ended,
 * and are cancel safe: a dropped read has read nothing.
 */
export interface ByteReader {
  /** Reads into `buffer`, which must not be empty. Returns the number of bytes; 0 at the end of the stream. */
  read(buffer: Uint8Array): Future<number>;
  /**
   * Returns the bytes that are available, in an array of exactly their length; null at the end of the stream. The array
   * belongs to the caller.
   */
  readChunk(options?: ReadChunkOptions): Future<Uint8Array | null>;
}

/** The writing side of a byte stream. */
export interface ByteWriter {
  /** Writes at least the first byte of `data`, which must not be empty. Returns the number of bytes. Cancel safe. */
  write(data: Uint8Array): Future<number>;
  /**
   * Writes all of `data` (a string as UTF-8), or its first `length` bytes. `data` must not change until the write
   * completes. Not cancel safe: a dropped write may have written a part.
   */
  writeAll(data: Uint8Array | string, length?: number): Future<void>;
  /**
   * Writes all `pieces` in order, with as few syscalls as possible. A writer without it receives one `writeAll` per
   * piece. The rules of `writeAll` apply.
   */
  writev?(pieces: readonly (Uint8Array | string)[]): Future<void>;
  /** Ends the stream: the peer reads the end after everything written before. Returns at once. */
  shutdown(): void;
}

/** Both sides of a byte stream, and what owns them. */
export interface ByteStream extends ByteReader, ByteWriter, Disposable {
  /** Closes both sides. Pending operations throw ClosedError. Idempotent. */
  close(): void;
}
