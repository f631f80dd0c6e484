// FdShortage: the operations that wait until the process can open an fd again (EMFILE, ENFILE, ENOBUFS, ENOMEM).
//
// When this library closes an fd, all waiting operations retry. Other code may free fds too, and nothing reports that. So each
// operation also retries after a pause, which doubles from 10 ms to 1 s.

import type { Context } from "../core/context.ts";
import { WaiterNode, WaitQueue } from "../core/wait-queue.ts";
import { reactorOf } from "../reactor/reactor.ts";
import type { Timers } from "../reactor/timers.ts";
import { sweepUnclosed } from "../reactor/unclosed.ts";
import { TimerNode } from "../reactor/wheel.ts";
import { EMFILE, ENFILE, ENOBUFS, ENOMEM } from "../sys/errno.ts";
import type { Sys } from "../sys/sys.ts";

const SHORTAGE_ERRNOS: ReadonlySet<number> = new Set([-EMFILE, -ENFILE, -ENOBUFS, -ENOMEM]);
const FIRST_PAUSE_MS = 10;
const LONGEST_PAUSE_MS = 1000;

/** Returns true if `result` is a negative errno that means: the process or the system is out of fds or memory. */
export function isFdShortage(result: number): boolean {
  return SHORTAGE_ERRNOS.has(result);
}

/**
 * Called when a syscall of `sys` has returned `errno`. If the process is out of fds, closes the sockets that nobody can use
 * any more. Returns true if the call may succeed now.
 */
export function freeFds(sys: Sys, errno: number): boolean {
  return sweepUnclosed(sys, errno, () => fdShortage.onFdClosed());
}

/** The operations of this thread that wait for an fd. Fds belong to the process, not to a runtime. */
export class FdShortage {
  readonly waiters: WaitQueue = new WaitQueue();

  /** Must be called after an fd of this library was closed. */
  onFdClosed(): void {
    this.waiters.wakeAll();
  }
}

export const fdShortage: FdShortage = new FdShortage();

/** The pauses of one operation while it waits for an fd. Each ends early when this library closes an fd. */
export class FdPause {
  private pauseMs = FIRST_PAUSE_MS;
  private readonly freed = new WaiterNode();
  private readonly timer = new TimerNode();
  private timers: Timers | null = null;

  /** Begins a pause, twice as long as the previous one. Its end wakes the target of this poll. */
  begin(cx: Context): void {
    const { timers, clock } = reactorOf(cx);
    const nowMs = clock.now();
    this.timers = timers;
    this.timer.deadlineMs = nowMs + this.pauseMs;
    this.timer.target = cx.target;
    this.pauseMs = Math.min(this.pauseMs * 2, LONGEST_PAUSE_MS);
    timers.insert(this.timer, nowMs);
    fdShortage.waiters.wait(this.freed, cx.target);
  }

  /** True after `begin`, until `end`. */
  get hasBegun(): boolean {
    return this.timers !== null;
  }

  /** Returns true while the pause lasts, after storing the target of this poll. */
  isWaiting(cx: Context): boolean {
    const isWaiting = this.freed.list !== null && this.timer.list !== null;
    if (!isWaiting || this.timers !== reactorOf(cx).timers) return false;
    this.timer.target = cx.target;
    fdShortage.waiters.wait(this.freed, cx.target);
    return true;
  }

  /** Ends the pause. Idempotent. */
  end(): void {
    this.timers?.remove(this.timer);
    this.timers = null;
    fdShortage.waiters.leave(this.freed);
  }

  /** Ends the shortage for this operation: its next pause is short again. */
  reset(): void {
    this.pauseMs = FIRST_PAUSE_MS;
  }
}
