// Pump: moves bytes from a reader to a writer, one step at a time. It is not a future: a Copy polls its pumps. FdPump
// moves bytes between two fds; StreamPump between all other streams, through their futures.

import { invalidType, outOfRange } from "../base/check.ts";
import { describe } from "../base/describe.ts";
import { cancelStep } from "../combine/children.ts";
import type { Blocker, Context } from "../core/context.ts";
import type { Future } from "../core/future.ts";
import { Again, Pending, type Poll } from "../core/poll.ts";
import { type ByteReader, type ByteWriter, CHUNK_BYTES } from "./bytes.ts";

export abstract class Pump {
  /** The number of bytes read, and of bytes written. The pump holds the difference. */
  received = 0;
  written = 0;
  /** True once the pump has reached its end, with everything written. */
  isDone = false;
  /** The pump ends after this many bytes: an integer, or Infinity. */
  protected readonly maxBytes: number;

  constructor(maxBytes: number) {
    this.maxBytes = maxBytes;
  }

  /** The operation that the pump waits for, or that has failed. */
  abstract get operation(): "read" | "write";
  /** What the pump waits for, after a step that returned Pending. */
  abstract get blockedOn(): Blocker | null;

  /**
   * Makes one step. Returns undefined at the end of the reader, or after `maxBytes`; Pending while the reader has no
   * data or the writer has no room; Again after progress. Throws the error of the operation.
   */
  abstract step(cx: Context): Poll<void> | Again;

  /** Leaves the queue in which the pump waits, if it waits by itself. The next step waits again if necessary. */
  stopWaiting(): void {}

  /** Ends the running operation. What was read and not written is lost. Idempotent. */
  abstract drop(): void;

  /** Ends the running operation, and waits for its cleanup. See `Future.pollCancel`. */
  pollCancel(_cx: Context): Poll<void> {
    this.drop();
  }
}

/** Reads with `readChunk`. Writes with `write` rather than `writeAll`, to know how much was written when it fails. */
export class StreamPump extends Pump {
  private readonly reader: ByteReader;
  private readonly writer: ByteWriter;
  /** The running read or write. */
  private running: Future<Uint8Array | null> | Future<number> | null = null;
  /** What was read and is not written. null while everything is written. */
  private rest: Uint8Array | null = null;
  override blockedOn: Blocker | null = null;

  constructor(reader: ByteReader, writer: ByteWriter, maxBytes: number) {
    super(maxBytes);
    this.reader = reader;
    this.writer = writer;
  }

  override get operation(): "read" | "write" {
    return this.rest === null ? "read" : "write";
  }

  override step(cx: Context): Poll<void> | Again {
    const left = this.maxBytes - this.received;
    if (this.rest === null && left <= 0) return;
    this.running ??=
      this.rest === null
        ? this.reader.readChunk(left < CHUNK_BYTES ? { maxBytes: left } : undefined)
        : this.writer.write(this.rest);
    const { running } = this;
    cx.blockedOn = null;
    const value = running.poll(cx);
    if (value === Pending) {
      this.blockedOn = cx.blockedOn;
      // The operation dropped this pump, then suspended. The pump no longer knows it, so drop it here.
      if (this.running !== running) running.drop();
      return Pending;
    }
    this.running = null;
    if (value === null) return;
    if (this.rest === null) this.onRead(value);
    else this.onWritten(value, this.rest);
    return Again;
  }

  private onRead(chunk: unknown): void {
    if (!(chunk instanceof Uint8Array && chunk.length > 0)) {
      const given = chunk instanceof Uint8Array ? "an empty array" : describe(chunk);
      throw invalidType(
        `readChunk of the stream must return at least one byte, or null at the end; got ${given}`,
      );
    }
    this.received += chunk.length;
    this.rest = chunk;
  }

  private onWritten(count: unknown, rest: Uint8Array): void {
    if (typeof count !== "number" || !(count > 0 && count <= rest.length)) {
      throw outOfRange(
        `write of the stream must return a number from 1 to ${rest.length}; got ${describe(count)}`,
      );
    }
    this.written += count;
    this.rest = count === rest.length ? null : rest.subarray(count);
  }

  override drop(): void {
    const { running } = this;
    this.running = null;
    this.rest = null;
    running?.drop();
  }

  override pollCancel(cx: Context): Poll<void> {
    if (this.running !== null && cancelStep(this.running, cx) === Pending) {
      this.blockedOn = cx.blockedOn;
      return Pending;
    }
    this.drop();
  }
}
