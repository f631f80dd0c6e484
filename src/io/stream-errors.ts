// The errors of buffered reading, buffered writing and framing.

/**
 * Thrown when the stream ends inside a message: `readExact` has too few bytes, or a delimiter or the rest of a frame
 * never came. The bytes that came are in `received`, and stay buffered.
 */
export class UnexpectedEofError extends Error {
  override readonly name = "UnexpectedEofError";
  readonly code = "ERR_UNEXPECTED_EOF";
  /** A copy of the bytes that came before the end. Not enumerable: a peer would fill the log with it, and its secrets. */
  declare readonly received: Uint8Array;

  constructor(message: string, received: Uint8Array) {
    super(message);
    Object.defineProperty(this, "received", { value: received });
  }
}

/**
 * Thrown when a line, a frame or the whole rest of the stream is longer than its `maxBytes`. A reader keeps what it has
 * buffered, so the next call sees the same bytes: call again with a larger limit, or close the stream.
 */
export class MessageTooLongError extends Error {
  override readonly name: string = "MessageTooLongError";
  readonly code = "ERR_MESSAGE_TOO_LONG";
  /** The limit that the message exceeds. */
  readonly maxBytes: number;

  constructor(message: string, maxBytes: number) {
    super(message);
    this.maxBytes = maxBytes;
  }
}

/** The MessageTooLongError of a line. */
export class LineTooLongError extends MessageTooLongError {
  override readonly name = "LineTooLongError";
}

/** Thrown by `shutdown` of a BufWriter that still has bytes to write: they would be lost. Flush it before. */
export class UnflushedError extends Error {
  override readonly name = "UnflushedError";
  readonly code = "ERR_UNFLUSHED";
}

/** Thrown when a read or a write begins while another one waits on the same BufReader or BufWriter. */
export class ConcurrentUseError extends Error {
  override readonly name = "ConcurrentUseError";
  readonly code = "ERR_CONCURRENT_USE";
}
