// timeout, deadline and orUndefined: work with a time limit.

import { checkMilliseconds, invalidType, outOfRange } from "../base/check.ts";
import { describe } from "../base/describe.ts";
import type { Context } from "../core/context.ts";
import type { Future } from "../core/future.ts";
import { host } from "../core/host.ts";
import { type IntoFuture, intoFuture } from "../core/into-future.ts";
import type { Clock } from "../sys/clock.ts";
import { clockOf, fromWallTime } from "../time/deadline.ts";
import { sleep, sleepUntil } from "../time/sleep.ts";
import { Combinator } from "./combinator.ts";

/** Thrown by `timeout` and `deadline`. The message says what the work was waiting for. */
export class TimeoutError extends Error {
  override readonly name = "TimeoutError";
  readonly code = "ERR_TIMEOUT";
}

const WORK = 0;
const CLOCK = 1;

/** When the time of some work is over. */
interface Limit {
  /** For the message: `within 5 ms`. */
  readonly text: string;
  /** Returns the deadline on `clock`. Called once, at the first poll. */
  deadlineOn(clock: Clock): number;
  /** Returns the future that waits for the deadline. */
  wait(deadlineMs: number): Future<void>;
}

class Timeout<T> extends Combinator<number, T> {
  private readonly limit: Limit;
  private isStarted = false;
  /** True once the clock has completed: the deadline has passed. */
  private isLate = false;

  constructor(limit: Limit, work: Future<T>) {
    super();
    this.limit = limit;
    this.children.isOrderedByKey = true; // if work and clock are ready at once, the work wins
    this.children.add(WORK, work);
  }

  protected override onValue(key: number, value: unknown): void {
    if (key === WORK) this.outcome = { value: value as T };
    else this.isLate = true;
  }

  /** Called when the deadline has passed. Sets the outcome. */
  protected onLate(error: TimeoutError): void {
    this.outcome = { error };
  }

  private start(cx: Context): void {
    this.isStarted = true;
    const deadlineMs = this.limit.deadlineOn(clockOf(cx));
    this.children.deadlineMs = deadlineMs;
    if (deadlineMs < Number.POSITIVE_INFINITY) {
      this.children.add(CLOCK, this.limit.wait(deadlineMs));
    }
  }

  protected override pollChildren(cx: Context): void {
    if (!this.isStarted) this.start(cx);
    super.pollChildren(cx);
    if (!this.isLate || this.isDecided || this.isEnded) return;
    // An async function resumes in a microtask after its await has ended. Run that microtask before deciding: work
    // that is ready at the deadline is in time.
    host.runMicrotasks();
    super.pollChildren(cx);
    if (this.isDecided || this.isEnded) return;
    const blockedOn = this.children.describe(); // the work is the only child left
    this.onLate(
      new TimeoutError(`not done ${this.limit.text}; the work was waiting on ${blockedOn}`),
    );
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

function after(ms: number): Limit {
  return {
    text: `within ${ms} ms`,
    deadlineOn: (clock) => clock.now() + ms,
    wait: () => sleep(ms), // from the end of the first poll of the work: `timeout(2, sleep(2))` is in time
  };
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
  return new Timeout(after(ms), intoFuture(work));
}

/**
 * Like `timeout`, with a point in time as the limit: `at` is a time in milliseconds on the clock of the runtime, which
 * `now()` reads, or a Date. A Date is converted once, at the first poll, so a later change of the wall clock has no
 * effect. If the deadline has passed already, the work is polled once, and its outcome counts if it is ready. Of
 * nested deadlines and timeouts, the earliest ends the work. Throws RangeError when `at` is negative, NaN or an
 * invalid Date, TypeError when it is neither a number nor a Date, or `work` is not work.
 *
 * Dropping the deadline drops the work, so it is cancel safe if `work` is.
 *
 * @example
 * const deadlineMs = now() + 1000; // for all steps together
 * const page = yield* deadline(deadlineMs, loadPage);
 * const user = yield* deadline(deadlineMs, loadUser);
 */
export function deadline<T>(at: number | Date, work: IntoFuture<T>): Future<T> {
  return new Timeout(until(at), intoFuture(work));
}

function until(at: number | Date): Limit {
  if (at instanceof Date) {
    const wallMs = at.getTime();
    if (Number.isNaN(wallMs)) throw outOfRange("deadline: at must be a valid Date");
    return {
      text: `by ${at.toISOString()}`,
      deadlineOn: (clock) => Math.max(0, fromWallTime(clock, wallMs)),
      wait: sleepUntil,
    };
  }
  if (typeof at !== "number") {
    throw invalidType(`deadline: at must be a number or a Date; got ${describe(at)}`);
  }
  checkMilliseconds(at, "deadline: at");
  return { text: `by ${at} on the clock of the runtime`, deadlineOn: () => at, wait: sleepUntil };
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
  return new OrUndefined<T>(after(timeoutMs), intoFuture(work));
}
