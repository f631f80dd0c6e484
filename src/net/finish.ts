// Finish: closes a connection without losing what was written.
//
// Facts about close(2) on TCP, and what they mean for this code:
// - If unread input is left, or arrives later, the kernel answers with RST. The RST discards what is still queued to send,
//   and what the peer's kernel has received and the peer has not read.
// - So this future ends the writes, reads until the peer has ended its side, and only then closes. A peer usually ends
//   its side after it has read everything. nginx calls this lingering_close.
// - shutdown(2) fails with ENOTCONN once the connection is over: after a reset, and also after both sides have ended it. A
//   reset is reported once, and not by recv(2) if the peer had ended its side before. So we ask SO_ERROR, and remember
//   whether an operation has failed.

import type { Context } from "../core/context.ts";
import { Again, type Poll } from "../core/poll.ts";
import { Operation } from "../io/operation.ts";
import { receiveBuffer } from "../io/read-chunk.ts";
import { FAILED, READ, type Source } from "../io/source.ts";
import { reactorOf } from "../reactor/reactor.ts";
import type { Timers } from "../reactor/timers.ts";
import { TimerNode } from "../reactor/wheel.ts";
import { EAGAIN, EINTR } from "../sys/errno.ts";
import { SHUT_WR, SO_ERROR, SOL_SOCKET } from "../sys/socket.ts";

/** The options of `stream.finish`. */
export interface FinishOptions {
  /** How long to wait for the peer's end, in milliseconds. 5000 by default; Infinity waits without limit. */
  timeoutMs?: number;
}

export const FINISH_TIMEOUT_MS = 5000;

export class Finish extends Operation<boolean> {
  private readonly timeoutMs: number;
  private readonly timer = new TimerNode();
  /** The timers that hold `timer`. null before the first poll. */
  private timers: Timers | null = null;

  constructor(source: Source, timeoutMs: number) {
    super(source);
    this.timeoutMs = timeoutMs;
  }

  protected override get direction(): typeof READ {
    return READ;
  }

  protected override attempt(cx: Context): Poll<boolean> | Again {
    const { source } = this;
    if (source.isClosed) throw source.closedError();
    const { timers, clock } = reactorOf(cx);
    const isFirst = this.timers === null;
    if (!isFirst && this.timer.target === null) return false; // the timer has fired
    if (this.timers !== timers) this.startTimer(timers, clock.now());
    this.timer.target = cx.target;
    if (isFirst && source.sys.shutdown(source.fd, SHUT_WR) < 0 && this.wasReset) return false;
    if ((source.ready & READ) === 0) return source.wait(READ, this, cx);
    const buffer = receiveBuffer();
    const count = source.sys.recv(source.fd, buffer, 0);
    if (count === 0) return true;
    if (count === -EAGAIN || count === -EINTR) return this.onErrno(count, cx);
    if (count < 0) return false; // the peer has reset the connection
    if (count < buffer.length) source.onShortRead();
    return Again;
  }

  /** True if the connection, which is over, did not end cleanly. */
  private get wasReset(): boolean {
    const { source } = this;
    if ((source.ready & FAILED) !== 0) return true;
    return source.sys.getsockopt(source.fd, SOL_SOCKET, SO_ERROR) !== 0;
  }

  private startTimer(timers: Timers, nowMs: number): void {
    if (this.timers === null) this.timer.deadlineMs = nowMs + this.timeoutMs;
    this.timers?.remove(this.timer);
    this.timers = timers;
    if (this.timeoutMs !== Number.POSITIVE_INFINITY) timers.insert(this.timer, nowMs);
  }

  protected override get syscall(): string {
    return "recv";
  }

  protected override release(): void {
    super.release();
    if (this.timers === null) return; // never polled
    this.timers.remove(this.timer);
    this.source.close();
  }

  override describe(): string {
    return `finish ${this.source.describe()}`;
  }
}
