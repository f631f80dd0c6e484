// Frames: the messages of a byte stream, one after the other. And Decode, the pure function that finds one in bytes.

import { checkFunction } from "../base/check.ts";
import { inspectableParts } from "../base/inspect.ts";
import { iterateChunks } from "../core/async-iteration.ts";
import type { Future } from "../core/future.ts";

/** What a `Decode` found at the beginning of its bytes: the value, and how many of the bytes it consists of. */
export interface DecodedFrame<T> {
  /** Not null, which means the end of the stream. */
  readonly value: T;
  /** An integer from 1 to the number of bytes that `decode` received. */
  readonly consumed: number;
}

/**
 * Finds one frame at the beginning of `bytes`, or returns null if the frame needs more bytes. It must be a pure
 * function: each time more has arrived, it gets the same bytes again, followed by the new ones, until the frame is
 * complete. `bytes` is never empty, and may contain the beginning of later frames. The view is valid only during the call:
 * copy what belongs to the value with `slice`.
 */
export type Decode<T> = (bytes: Uint8Array) => DecodedFrame<T> | null;

/**
 * The messages of a byte stream. Iterating with `for await` reads until the end; leaving the loop loses nothing and
 * closes nothing. Create it with `reader.lines()`, `lengthDelimited`, `delimited` or `frames`.
 *
 * @example
 * const lines = new BufReader(connection).lines();
 * for (let line; (line = yield* lines.next()) !== null; ) console.log(line);
 */
export class Frames<T> implements AsyncIterable<T> {
  static {
    inspectableParts<Frames<unknown>>(Frames, () => "next() and for await return them");
  }

  readonly #read: () => Future<T | null>;

  /** `read` returns the future of the next message: null at the end of the stream. Throws TypeError if it is no function. */
  constructor(read: () => Future<T | null>) {
    checkFunction(read, "Frames: read");
    this.#read = read;
  }

  /** Waits for the next message. Returns null at the end of the stream. Its errors and cancel safety are the reader's. */
  next(): Future<T | null> {
    return this.#read();
  }

  [Symbol.asyncIterator](): AsyncIterator<T> {
    return iterateChunks(() => this.next());
  }
}
