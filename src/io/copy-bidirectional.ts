// copyBidirectional: moves bytes between two streams, both ways, until both have ended. The core of a proxy.
//
// Bytes that move do not move the idle timer. When the timer fires too early, the copy sets it again. So a busy
// connection pays for one clock read per poll, and not for a timer.

import { checkMilliseconds, checkObject } from "../base/check.ts";
import type { Context } from "../core/context.ts";
import type { Future } from "../core/future.ts";
import { reactorOf } from "../reactor/reactor.ts";
import type { Timers } from "../reactor/timers.ts";
import type { Timer } from "../reactor/wheel.ts";
import type { ByteReader, ByteWriter } from "./bytes.ts";
import { Copy, type CopyCounts, CopyError, cancelledBy, checkStream, pumpOf } from "./copy.ts";

/** The options of `copyBidirectional`. */
export interface CopyBidirectionalOptions {
  /** Throws IdleTimeoutError when no byte has moved in either direction for this many milliseconds. No limit by default. */
  idleMs?: number;
  /** Cancels the copy when it aborts. The copy then throws `signal.reason`. */
  signal?: AbortSignal;
}

/** Thrown by `copyBidirectional` when no byte has moved in either direction for `idleMs`. */
export class IdleTimeoutError extends Error implements CopyCounts {
  override readonly name = "IdleTimeoutError";
  readonly code = "ERR_IDLE_TIMEOUT";
  readonly aToB: number;
  readonly bToA: number;

  constructor(idleMs: number, { aToB, bToA }: CopyCounts) {
    super(
      `copyBidirectional: no byte moved for ${idleMs} ms, after ${aToB} bytes from a to b and ${bToA} from b to a`,
    );
    this.aToB = aToB;
    this.bToA = bToA;
  }
}

/** Pump 0 moves bytes from a to b, pump 1 from b to a. */
class CopyBothWays extends Copy<CopyCounts> implements Timer {
  private readonly writers: readonly [b: ByteWriter, a: ByteWriter];
  private readonly idleMs: number;
  /** When the timer fires: part of Timer. Never later than `idleEndMs`. */
  deadlineMs = 0;
  private timers: Timers | null = null;
  /** When the copy fails if no more bytes move. */
  private idleEndMs = 0;
  /** The bytes read and written at the latest reading of the clock; -1 before the first. */
  private moved = -1;

  constructor(a: ByteReader & ByteWriter, b: ByteReader & ByteWriter, idleMs: number) {
    super([pumpOf(a, b), pumpOf(b, a)]);
    this.writers = [b, a];
    this.idleMs = idleMs;
  }

  protected override result(): CopyCounts {
    return { aToB: this.pumps[0]!.written, bToA: this.pumps[1]!.written };
  }

  protected override errorOf(index: number, cause: unknown): CopyError {
    const { operation } = this.pumps[index]!;
    const isFromA = index === 0;
    const side = isFromA === (operation === "read") ? "a" : "b";
    return new CopyError(operation, side, this.result(), cause);
  }

  /** Passes the end on: the other peer reads it after everything written before. */
  protected override onPumpDone(index: number): void {
    try {
      this.writers[index]!.shutdown();
    } catch (cause) {
      // The peer has reset this connection. The other direction reads what the peer sent before, then the error.
      if ((cause as { code?: unknown } | null)?.code === "ENOTCONN") return;
      throw new CopyError("shutdown", index === 0 ? "b" : "a", this.result(), cause);
    }
  }

  protected override onIdle(cx: Context): void {
    if (this.idleMs === Number.POSITIVE_INFINITY) return;
    const { timers, clock } = reactorOf(cx);
    const moved = this.pumps.reduce((sum, pump) => sum + pump.received + pump.written, 0);
    const hasMoved = moved !== this.moved;
    this.moved = moved;
    this.target = cx.target;
    const isSet = this.timers === timers && this.list !== null;
    if (isSet && !hasMoved) return;
    const nowMs = clock.now();
    if (hasMoved) this.idleEndMs = nowMs + this.idleMs;
    else if (this.timers === timers && nowMs >= this.idleEndMs)
      throw new IdleTimeoutError(this.idleMs, this.result());
    if (isSet) return;
    this.timers?.remove(this);
    this.timers = timers;
    this.deadlineMs = this.idleEndMs;
    timers.insert(this, nowMs);
  }

  protected override release(): void {
    super.release();
    this.timers?.remove(this);
    this.timers = null;
  }
}

/**
 * Copies bytes from `a` to `b` and from `b` to `a` until both have ended. Returns the number of bytes each way. When one
 * stream ends, the copy shuts down the writing side of the other (a half-close), and the other direction continues. It
 * closes neither stream. Each direction reads a chunk only after it has written the previous one, so a slow peer slows the
 * other. Between two fds (TcpStream, AsyncFd) it creates no object per chunk, and an idle connection holds no buffer.
 *
 * Throws CopyError when an operation of a stream fails: `side`, `operation` and `cause` say what failed, and `aToB` and
 * `bToA` how much was written before. Throws IdleTimeoutError when no byte has moved in either direction for `idleMs`
 * milliseconds, and `signal.reason` when `signal` aborts. In each case both directions have stopped. Throws TypeError or
 * RangeError at once for invalid arguments.
 *
 * Not cancel safe: a dropped copy loses what it has read and not written. That is at most one chunk of 64 KiB each way,
 * and usually nothing unless a writer was full. Both streams stay usable. See recv(2), send(2), shutdown(2).
 *
 * @example
 * using client = yield* TcpStream.connect("127.0.0.1:7000");
 * using upstream = yield* TcpStream.connect("127.0.0.1:7000");
 * try {
 *   const { aToB, bToA } = yield* copyBidirectional(client, upstream, { idleMs: 5 });
 *   console.log(`${aToB} bytes sent, ${bToA} received`);
 * } catch (error) {
 *   if (!(error instanceof IdleTimeoutError)) throw error;
 *   console.log(error.aToB); // 0: nobody sent anything
 * }
 */
export function copyBidirectional(
  a: ByteReader & ByteWriter,
  b: ByteReader & ByteWriter,
  options: CopyBidirectionalOptions = {},
): Future<CopyCounts> {
  checkStream(a, ["readChunk", "write", "shutdown"], "copyBidirectional: a");
  checkStream(b, ["readChunk", "write", "shutdown"], "copyBidirectional: b");
  checkObject(options, "copyBidirectional: options");
  const { idleMs = Number.POSITIVE_INFINITY, signal } = options;
  checkMilliseconds(idleMs, "copyBidirectional: idleMs");
  return cancelledBy(signal, new CopyBothWays(a, b, idleMs), "copyBidirectional: signal");
}
