// Byte streams as web streams: toReadable, toWritable, and both sides of one stream.
//
// Facts about web streams, and what they mean for this code:
// - With a high-water mark of 0, `pull` is called only while a read waits. So nothing is read ahead, and the peer
//   feels the backpressure of the consumer.
// - `enqueue` also fills the buffer of a BYOB read that waits. `close` leaves such a read waiting until `respond(0)`.
// - `abort` of a WritableStream waits for the write in progress before it calls the sink. The signal of the controller
//   fires at once, so that one ends the write.

import { checkObject, invalidType } from "../base/check.ts";
import { describe } from "../base/describe.ts";
import type { ByteReader, ByteStream, ByteWriter } from "./bytes.ts";
import { CallbackFutures, STOPPED } from "./callback-futures.ts";

/** What a web stream does with the stream behind it. */
export interface ToWebOptions {
  /**
   * Closes the stream behind it at the end of the data, and after an error, too. Use it when nothing else will close that stream, as in
   * `new Response(toReadable(stream, { closeAtEnd: true }))`. False by default.
   */
  readonly closeAtEnd?: boolean;
}

/** What else the reader or writer behind a web stream may be able to do. */
export interface MaybeClosable {
  close?(): void;
}

/**
 * Returns a ReadableStream of bytes that reads from `reader`: one `readChunk` for each read that waits, so it reads
 * nothing ahead. BYOB readers work too. An error of `reader` errors the stream. `cancel()` drops the read that waits,
 * and then closes `reader`, if it has a `close`: nothing else would read the rest. At the end of the data `reader`
 * stays open, unless `closeAtEnd` is true. While the stream has a reader, read in no other way.
 *
 * The reads run on the runtime of the poll in progress, else the one whose `blockOn` holds the thread, else the one
 * that was current when the stream was created. Throws TypeError if `reader` has no `readChunk`.
 *
 * @example
 * const [ours, peer] = duplex();
 * await peer.writeAll("hello");
 * peer.shutdown();
 * console.log(await new Response(toReadable(ours)).text()); // hello
 */
export function toReadable(
  reader: ByteReader & MaybeClosable,
  options: ToWebOptions = {},
): ReadableStream<Uint8Array<ArrayBuffer>> {
  checkMethod(reader, "readChunk", "toReadable: reader");
  checkObject(options, "toReadable: options");
  return readableOf(reader, options.closeAtEnd ? () => reader.close?.() : () => {});
}

/**
 * Returns a WritableStream that writes to `writer`. Each write waits until `writeAll` has written its chunk: a
 * Uint8Array, another view, an ArrayBuffer, or a string, which is written as UTF-8. `close()` calls `shutdown`, and
 * leaves `writer` open, unless `closeAtEnd` is true. `abort()` drops the write in progress, which may have written a
 * part, and closes `writer`, if it has a `close`. An error of `writer` errors the stream.
 *
 * The writes run on the runtime that `toReadable` describes. Throws TypeError if `writer` has no `writeAll`.
 *
 * @example
 * await new Response("hello").body?.pipeTo(toWritable(stream), { preventClose: true });
 */
export function toWritable(
  writer: ByteWriter & MaybeClosable,
  options: ToWebOptions = {},
): WritableStream<Uint8Array | string> {
  checkMethod(writer, "writeAll", "toWritable: writer");
  checkObject(options, "toWritable: options");
  return writableOf(writer, options.closeAtEnd ? () => writer.close?.() : () => {});
}

/** Both sides of one stream. It closes the stream once both have ended. */
export class WebStreams {
  private readonly stream: ByteStream;
  private cachedReadable: ReadableStream<Uint8Array<ArrayBuffer>> | null = null;
  private cachedWritable: WritableStream<Uint8Array | string> | null = null;
  private endedSides = 0;

  constructor(stream: ByteStream) {
    this.stream = stream;
  }

  get readable(): ReadableStream<Uint8Array<ArrayBuffer>> {
    this.cachedReadable ??= readableOf(this.stream, this.onEnd);
    return this.cachedReadable;
  }

  get writable(): WritableStream<Uint8Array | string> {
    this.cachedWritable ??= writableOf(this.stream, this.onEnd);
    return this.cachedWritable;
  }

  private readonly onEnd = (): void => {
    this.endedSides++;
    if (this.endedSides === 2) this.stream.close();
  };
}

/** `onEnd` is called once, at the end of the data or after an error. */
function readableOf(
  reader: ByteReader & MaybeClosable,
  onEnd: () => void,
): ReadableStream<Uint8Array<ArrayBuffer>> {
  const futures = new CallbackFutures();
  const source = {
    type: "bytes" as const,
    async pull(controller: ReadableByteStreamController): Promise<void> {
      const chunk = await orEnd(async () => {
        const read = await futures.run(reader.readChunk());
        if (read === null) {
          controller.close();
          controller.byobRequest?.respond(0);
        } else if (read !== STOPPED) controller.enqueue(read as Uint8Array<ArrayBuffer>);
        return read;
      }, onEnd);
      if (chunk === null) onEnd();
    },
    cancel(): void {
      futures.stopAll();
      reader.close?.();
    },
  };
  return new ReadableStream(source, { highWaterMark: 0 });
}

/** `onEnd` is called once, after `close` or an error. */
function writableOf(
  writer: ByteWriter & MaybeClosable,
  onEnd: () => void,
): WritableStream<Uint8Array | string> {
  const futures = new CallbackFutures();
  let signal: AbortSignal;
  return new WritableStream({
    start(controller) {
      signal = (controller as { signal?: AbortSignal }).signal!; // the types of Bun omit it
      signal.addEventListener("abort", () => futures.stopAll(), { once: true });
    },
    async write(chunk: unknown) {
      const written = await orEnd(() => futures.run(writer.writeAll(chunkBytes(chunk))), onEnd);
      if (written === STOPPED) throw signal.reason;
    },
    close() {
      try {
        writer.shutdown();
      } finally {
        onEnd();
      }
    },
    abort() {
      writer.close?.();
    },
  });
}

/** Performs an operation. If it fails, also on the side of the web stream, that stream is over. */
async function orEnd<T>(operation: () => Promise<T>, onEnd: () => void): Promise<T> {
  try {
    return await operation();
  } catch (error) {
    onEnd();
    throw error;
  }
}

/** Returns a chunk of a web stream as bytes or text. Throws TypeError if it is neither. */
export function chunkBytes(chunk: unknown): Uint8Array | string {
  if (chunk instanceof Uint8Array || typeof chunk === "string") return chunk;
  if (chunk instanceof ArrayBuffer) return new Uint8Array(chunk);
  if (ArrayBuffer.isView(chunk)) {
    return new Uint8Array(chunk.buffer, chunk.byteOffset, chunk.byteLength);
  }
  throw invalidType(
    `a chunk of a byte stream must be a Uint8Array, another view, an ArrayBuffer or a string; got ${describe(chunk)}`,
  );
}

/** Throws TypeError unless `value` has the method `name`. `what` names the argument. */
export function checkMethod(value: unknown, name: string, what: string): void {
  if (typeof (value as Record<string, unknown> | null)?.[name] !== "function") {
    throw invalidType(`${what} must have a method ${name}; got ${describe(value)}`);
  }
}
