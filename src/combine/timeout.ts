// timeout: work with a time limit.

import { checkMilliseconds } from "../base/check.ts";
import type { Context } from "../core/context.ts";
import type { Future } from "../core/future.ts";
import { host } from "../core/host.ts";
import { type IntoFuture, intoFuture } from "../core/into-future.ts";
import { sleep } from "../time/sleep.ts";
import { Combinator } from "./combinator.ts";

/** Thrown by `timeout`. The message says what the work was waiting for. */
export class TimeoutError extends Error {
  override readonly name = "TimeoutError";
  readonly code = "ERR_TIMEOUT";
}

const WORK = 0;
const CLOCK = 1;

class Timeout<T> extends Combinator<number, T> {
  private readonly ms: number;
  /** True once the clock has completed: the deadline has passed. */
  private isLate = false;

  constructor(ms: number, work: Future<T>) {
    super();
    this.ms = ms;
    this.children.isOrderedByKey = true; // if work and clock are ready at once, the work wins
    this.children.add(WORK, work);
    this.children.add(CLOCK, sleep(ms));
  }

  protected override onValue(key: number, value: unknown): void {
    if (key === WORK) this.outcome = { value: value as T };
    else this.isLate = true;
  }

  protected override pollChildren(cx: Context): void {
    super.pollChildren(cx);
    if (!this.isLate || this.isDecided || this.isEnded) return;
    // An async function resumes in a microtask after its await has ended. Run that microtask before deciding: work
    // that is ready at the deadline is in time.
    host.runMicrotasks();
    super.pollChildren(cx);
    if (this.isDecided || this.isEnded) return;
    const blockedOn = this.children.describe(); // the work is the only child left
    const text = `not done within ${this.ms} ms; the work was waiting on ${blockedOn}`;
    this.outcome = { error: new TimeoutError(text) };
  }
}

/**
 * Returns the value of `work`, or throws its error, if it ends within `ms` milliseconds of the first poll.
 * Otherwise cancels `work`, waits for its cleanup, and throws TimeoutError. Slow cleanup delays that error. If
 * the work is ready when the deadline passes, its outcome counts. Throws RangeError when `ms` is negative or
 * NaN (Infinity sets no limit), TypeError when `work` is not work.
 *
 * If `work` is a JoinHandle, a timeout only stops waiting; the task continues. To abort the task as well, pass
 * `handle.abortOnDrop()`. Dropping the timeout drops the work, so it is cancel safe if `work` is.
 *
 * @example
 * const stream = yield* timeout(1000, TcpStream.connect("127.0.0.1:7000"));
 */
export function timeout<T>(ms: number, work: IntoFuture<T>): Future<T> {
  checkMilliseconds(ms, "timeout: ms"); // before `intoFuture`, so that a bad `ms` does not touch the work
  return new Timeout(ms, intoFuture(work));
}
