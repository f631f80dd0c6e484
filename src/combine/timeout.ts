// timeout, deadline and orUndefined: work with a time limit.

import { checkMilliseconds } from "../base/check.ts";
import { type Context, describeWaits } from "../core/context.ts";
import type { Future } from "../core/future.ts";
import { host } from "../core/host.ts";
import { type IntoFuture, takeCancellable } from "../core/into-future.ts";
import { checkTime, clockOf, fromWallTime } from "../time/deadline.ts";
import { Sleep } from "../time/sleep.ts";
import { Combinator } from "./combinator.ts";

/** Thrown by `timeout` and `deadline`. The message says what the work was waiting for. */
export class TimeoutError extends Error {
  override readonly name = "TimeoutError";
  readonly code = "ERR_TIMEOUT";
}

const WORK = 0;
const CLOCK = 1;

/** True while a TimeoutError describes what its work waits for: not for the timers of the timeouts inside the work. */
let hidesTimers = false;

class Timeout<T> extends Combinator<number, T> {
  /** A number of milliseconds for a relative limit; else the deadline, a Date or a time on the runtime's clock. */
  private readonly limit: number | Date;
  private readonly isRelative: boolean;
  private readonly timer: Sleep;
  /** True once the clock has completed: the deadline has passed. */
  private isLate = false;

  constructor(limit: number | Date, isRelative: boolean, work: Future<T>) {
    super();
    this.limit = limit;
    this.isRelative = isRelative;
    // A Date is converted at the first poll. A relative sleep begins when it is polled, which is after the first poll
    // of the work: `timeout(2, sleep(2))` is in time.
    const deadlineMs = typeof limit === "number" ? limit : Number.POSITIVE_INFINITY;
    this.timer = new Sleep(isRelative ? -deadlineMs : deadlineMs);
    this.children.timer = this.timer;
    this.children.isOrderedByKey = true; // if work and clock are ready at once, the work wins
    this.children.add(WORK, work);
    this.children.add(CLOCK, this.timer);
  }

  protected override onValue(key: number, value: unknown): void {
    if (key === WORK) this.outcome = { value: value as T };
    else this.isLate = true;
  }

  /** Called when the deadline has passed. Sets the outcome. */
  protected onLate(error: TimeoutError): void {
    this.outcome = { error };
  }

  protected override pollChildren(cx: Context): void {
    const { limit, timer } = this;
    if (typeof limit !== "number" && timer.deadlineMs === Number.POSITIVE_INFINITY) {
      timer.deadlineMs = Math.max(0, fromWallTime(clockOf(cx), limit.getTime()));
    }
    super.pollChildren(cx);
    if (!this.isLate || this.isDecided || this.isEnded) return;
    // An async function resumes in a microtask after its await has ended. Run that microtask before deciding: work
    // that is ready at the deadline is in time.
    if (!host.runMicrotasks(cx)) return;
    super.pollChildren(cx);
    if (this.isDecided || this.isEnded) return;
    this.onLate(
      new TimeoutError(
        `not done ${this.describeLimit()}; the work was waiting on ${this.describeWork()}`,
      ),
    );
  }

  private describeWork(): string {
    hidesTimers = true;
    try {
      return this.children.describe(); // the work is the only child left
    } finally {
      hidesTimers = false;
    }
  }

  override describe(): string {
    const work = describeWaits([...this.children].filter(({ key }) => key === WORK));
    return hidesTimers || this.isLate ? work : `${work} (timeout${this.timer.left})`;
  }

  private describeLimit(): string {
    const { limit } = this;
    if (typeof limit !== "number") return `by ${limit.toISOString()}`;
    return this.isRelative ? `within ${limit} ms` : `by ${limit} on the clock of the runtime`;
  }
}

/** A Timeout that returns undefined when it is late. */
class OrUndefined<T> extends Timeout<T | undefined> {
  private lateness: TimeoutError | null = null;

  protected override onLate(error: TimeoutError): void {
    this.lateness = error;
    this.outcome = { value: undefined };
  }

  protected override get cancelReason(): unknown {
    return this.lateness ?? super.cancelReason;
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
  checkMilliseconds(ms, "timeout: ms"); // before `takeCancellable`, so that a bad `ms` does not touch the work
  return new Timeout(ms, true, takeCancellable(work, "timeout"));
}

/**
 * Like `timeout`, with a point in time as the limit: `at` is a time in milliseconds on the clock of the runtime, which
 * `now()` reads, or a Date. A Date is converted once, at the first poll, so a later change of the wall clock has no
 * effect. If the deadline has passed already, the work is polled once, and its outcome counts if it is ready. Of
 * nested deadlines and timeouts, the earliest ends the work. Throws RangeError when `at` is negative, NaN, an invalid
 * Date, or a number of `Date.now()`, which belongs to another clock; TypeError when it is neither a number nor a Date, or
 * `work` is not work.
 *
 * Dropping the deadline drops the work, so it is cancel safe if `work` is.
 *
 * @example
 * const deadlineMs = now() + 1000; // for all steps together
 * const page = yield* deadline(deadlineMs, loadPage);
 * const user = yield* deadline(deadlineMs, loadUser);
 */
export function deadline<T>(at: number | Date, work: IntoFuture<T>): Future<T> {
  checkTime(at, "deadline: at");
  return new Timeout(at, false, takeCancellable(work, "deadline"));
}

/**
 * Returns the value of `work`, or `undefined` if it does not end within `timeoutMs` milliseconds of the first poll.
 * Then it cancels `work` and waits for its cleanup, as `timeout` does. Throws what the work throws, also a
 * TimeoutError of a `timeout` inside the work. Throws RangeError when `timeoutMs` is negative or NaN (Infinity sets no
 * limit), TypeError when `work` is not work.
 *
 * Dropping the future drops the work, so it is cancel safe if `work` is.
 *
 * @example
 * const line = yield* orUndefined(1000, readLine(stream));
 * if (line === undefined) console.log("nothing came within a second");
 */
export function orUndefined<T>(timeoutMs: number, work: IntoFuture<T>): Future<T | undefined> {
  checkMilliseconds(timeoutMs, "orUndefined: timeoutMs");
  return new OrUndefined<T>(timeoutMs, true, takeCancellable(work, "orUndefined"));
}
