// copy: moves all bytes of a reader to a writer. Also what it shares with copyBidirectional: the future that polls the
// pumps, and its error.
//
// Invariants of a Copy:
// - A step moves one chunk in one direction, and the directions take turns. So neither starves the other, and the coop
//   budget bounds a poll.
// - A direction reads only after it has written everything that it read before.

import { checkCount, checkObject, checkSignal, invalidType } from "../base/check.ts";
import { describe } from "../base/describe.ts";
import { withSignal } from "../combine/with-signal.ts";
import { type Context, describeWaits, isAnyInOtherRuntime } from "../core/context.ts";
import { type Future, polledAfterEnd } from "../core/future.ts";
import { Leaf } from "../core/leaf.ts";
import { Again, Pending, type Poll } from "../core/poll.ts";
import type { ByteReader, ByteWriter } from "./bytes.ts";
import { FdPump, fdStreamOf } from "./fd-pump.ts";
import { type Pump, StreamPump } from "./pump.ts";

/** The options of `copy`. */
export interface CopyOptions {
  /** Ends the copy after this many bytes, a positive integer. Leaves the rest in the reader. No limit by default. */
  maxBytes?: number;
  /** Cancels the copy when it aborts. The copy then throws `signal.reason`. */
  signal?: AbortSignal;
}

/** How many bytes `copyBidirectional` has written in each direction. */
export interface CopyCounts {
  /** Read from `a` and written to `b`. */
  readonly aToB: number;
  /** Read from `b` and written to `a`. */
  readonly bToA: number;
}

/**
 * Thrown by `copy` and `copyBidirectional` when an operation of a stream fails. `cause` is the error of that operation,
 * and `code` is that error's code, such as `"ECONNRESET"`; `"ERR_COPY"` if it has none.
 */
export class CopyError extends Error {
  override readonly name = "CopyError";
  readonly code: string;
  /** The operation that failed. */
  readonly operation: "read" | "write" | "shutdown";
  /** The stream that failed, by the name of the parameter. */
  readonly side: "reader" | "writer" | "a" | "b";
  /** The number of bytes written before the failure. `copyBidirectional`: in both directions together. */
  readonly bytes: number;
  /** The bytes written in each direction before the failure. Only `copyBidirectional` sets them. */
  declare readonly aToB?: number;
  declare readonly bToA?: number;

  constructor(
    operation: CopyError["operation"],
    side: CopyError["side"],
    written: number | CopyCounts,
    cause: unknown,
  ) {
    const counts = typeof written === "number" ? null : written;
    const done =
      counts === null
        ? `${written} bytes`
        : `${counts.aToB} bytes from a to b and ${counts.bToA} from b to a`;
    const call = counts === null ? "copy" : "copyBidirectional";
    const why = cause instanceof Error ? cause.message : describe(cause);
    super(`${call}: the ${operation} of "${side}" failed after ${done}: ${why}`, { cause });
    const code = (cause as { code?: unknown } | null | undefined)?.code;
    this.code = typeof code === "string" ? code : "ERR_COPY";
    this.operation = operation;
    this.side = side;
    this.bytes = typeof written === "number" ? written : written.aToB + written.bToA;
    if (counts !== null) {
      this.aToB = counts.aToB;
      this.bToA = counts.bToA;
    }
  }
}

/** Drives one or two pumps to their ends. */
export abstract class Copy<T> extends Leaf<T> {
  protected readonly pumps: readonly Pump[];
  /** The pump that makes the next step. */
  private turn = 0;
  /** The runtime of the latest poll. */
  private runtime: object | null = null;

  constructor(pumps: readonly Pump[]) {
    super();
    this.pumps = pumps;
  }

  /** Returns the result, once all pumps are done. */
  protected abstract result(): T;
  /** Returns the error to throw when an operation of the pump `index` has failed with `cause`. */
  protected abstract errorOf(index: number, cause: unknown): CopyError;
  /** Called when the pump `index` has reached its end. */
  protected onPumpDone(_index: number): void {}
  /** Called when all pumps wait. May throw. */
  protected onIdle(_cx: Context): void {}

  protected override attempt(cx: Context): Poll<T> | Again {
    const { pumps } = this;
    if (this.runtime !== cx.runtime) {
      // An fd moves to another runtime only without waiters, and both pumps may wait for the same fd.
      for (const pump of pumps) pump.stopWaiting();
      this.runtime = cx.runtime;
    }
    let isDone = true;
    for (let tries = pumps.length; tries > 0; tries--) {
      if (this.isEnded) throw polledAfterEnd("a copy"); // code of a stream has dropped it meanwhile
      const index = this.turn;
      this.turn = index + 1 < pumps.length ? index + 1 : 0;
      const pump = pumps[index]!; // in range
      if (pump.isDone) continue;
      isDone = false;
      let step: Poll<void> | Again;
      try {
        step = pump.step(cx);
      } catch (cause) {
        throw this.errorOf(index, cause);
      }
      if (step === Pending) continue;
      if (step === Again) return Again;
      pump.isDone = true;
      this.onPumpDone(index);
      return Again;
    }
    if (isDone) return this.result();
    this.onIdle(cx);
    return Pending;
  }

  protected override release(): void {
    for (const pump of this.pumps) pump.drop();
  }

  override pollCancel(cx: Context): Poll<void> {
    if (this.isEnded) return;
    let isPending = false;
    for (const pump of this.pumps) if (pump.pollCancel(cx) === Pending) isPending = true;
    if (isPending) {
      cx.blockedOn = this;
      return Pending;
    }
    this.drop();
  }

  override get runsUserCode(): boolean {
    return this.pumps.some((pump) => pump instanceof StreamPump);
  }

  private get waits(): readonly Pump[] {
    return this.pumps.filter((pump) => !pump.isDone);
  }

  override describe(): string {
    return `copy (${describeWaits(this.waits)})`;
  }

  get isInOtherRuntime(): boolean {
    return isAnyInOtherRuntime(this.waits);
  }
}

class CopyOneWay extends Copy<number> {
  protected override result(): number {
    return this.pumps[0]!.written;
  }

  protected override errorOf(index: number, cause: unknown): CopyError {
    const { operation, written } = this.pumps[index]!;
    return new CopyError(operation, operation === "read" ? "reader" : "writer", written, cause);
  }
}

/** Returns a pump from `reader` to `writer`: the fast one if both are streams over fds. */
export function pumpOf(reader: ByteReader, writer: ByteWriter, maxBytes?: number): Pump {
  const limit = maxBytes ?? Number.POSITIVE_INFINITY;
  const from = fdStreamOf(reader);
  const to = fdStreamOf(writer);
  return from !== null && to !== null
    ? new FdPump(from, to, limit)
    : new StreamPump(reader, writer, limit);
}

/** Returns `work`, which `signal` cancels if there is one. Throws TypeError. */
export function cancelledBy<T>(
  signal: AbortSignal | undefined,
  work: Future<T>,
  what: string,
): Future<T> {
  if (signal === undefined) return work;
  checkSignal(signal, what);
  return withSignal(signal, work);
}

/** Throws TypeError unless `stream` has the methods that a copy calls. */
export function checkStream(stream: unknown, methods: readonly string[], what: string): void {
  const has = (name: string): boolean =>
    typeof (stream as Record<string, unknown>)[name] === "function";
  if (typeof stream === "object" && stream !== null && methods.every(has)) return;
  throw invalidType(
    `${what} must have ${methods.map((name) => `${name}()`).join(" and ")}; got ${describe(stream)}`,
  );
}

/**
 * Copies the bytes of `reader` to `writer` until the reader ends, or until `maxBytes`. Returns the number of bytes. It
 * reads a chunk only after it has written the previous one, so a slow writer slows the reader. It does not shut the writer
 * down: call `writer.shutdown()` for that. Between two fds (TcpStream, AsyncFd) it creates no object per chunk, and holds
 * a buffer only while the writer is full.
 *
 * Throws CopyError when an operation of a stream fails: the error names the operation and has its error as `cause`, and
 * the number of `bytes` written before. Throws `signal.reason` when `signal` aborts, and TypeError or RangeError at once
 * for invalid arguments.
 *
 * Not cancel safe: a dropped copy loses what it has read and not written. That is at most one chunk of 64 KiB, and
 * usually nothing unless the writer was full. Both streams stay usable. See recv(2), send(2).
 *
 * @example
 * using source = yield* TcpStream.connect("127.0.0.1:7000");
 * using copyOf = yield* TcpStream.connect("127.0.0.1:7000");
 * source.shutdown("both"); // so that the reader ends here
 * const bytes = yield* copy(source, copyOf);
 * copyOf.shutdown();
 * console.log(bytes); // 0
 */
export function copy(
  reader: ByteReader,
  writer: ByteWriter,
  options: CopyOptions = {},
): Future<number> {
  checkStream(reader, ["readChunk"], "copy: reader");
  checkStream(writer, ["write"], "copy: writer");
  checkObject(options, "copy: options");
  const { maxBytes, signal } = options;
  if (maxBytes !== undefined) checkCount(maxBytes, "copy: maxBytes");
  return cancelledBy(signal, new CopyOneWay([pumpOf(reader, writer, maxBytes)]), "copy: signal");
}
