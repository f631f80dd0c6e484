// hedge: work that runs a second time when it is slow. The first value counts.

import { checkCount, checkMilliseconds, checkObject } from "../base/check.ts";
import { withCode } from "../base/coded-error.ts";
import type { Future } from "../core/future.ts";
import { sleep } from "../time/sleep.ts";
import { Combinator } from "./combinator.ts";
import { checkRepeatable, type Repeatable, repeat } from "./repeatable.ts";

/** The options of {@link hedge}. */
export interface HedgeOptions {
  /** How long to wait for an attempt before another one starts alongside it, in milliseconds. */
  readonly afterMs: number;
  /** How many attempts to make at most: an integer >= 1. Default 2. */
  readonly max?: number;
}

/** The keys of attempt n (from 0) and of the pause after its start. An attempt counts before its pause. */
const attemptKey = (n: number): number => 2 * n;
const pauseKey = (n: number): number => 2 * n + 1;

class Hedge<T> extends Combinator<number, T> {
  private readonly work: Repeatable<[attempt: number], T>;
  private readonly afterMs: number;
  private readonly max: number;
  private started = 0;
  private failed = 0;
  /** By attempt. */
  private readonly errors: unknown[] = [];

  constructor(work: Repeatable<[attempt: number], T>, afterMs: number, max: number) {
    super();
    this.work = work;
    this.afterMs = afterMs;
    this.max = max;
    this.children.isOrderedByKey = true;
    this.start();
  }

  private start(): void {
    const n = this.started++;
    this.children.add(attemptKey(n), repeat(this.work, n + 1));
    if (this.started < this.max) this.children.add(pauseKey(n), sleep(this.afterMs));
  }

  protected override onValue(key: number, value: unknown): void {
    if (key % 2 === 0) this.outcome ??= { value: value as T };
    // After a failure the next attempt has started already, and the pause of the earlier one has no effect.
    else if (key === pauseKey(this.started - 1)) this.start();
  }

  override onChildError(key: number, error: unknown): void {
    this.errors[key / 2] = error; // a pause does not fail
    this.failed++;
    if (this.started < this.max) this.start();
    else if (this.failed === this.max) {
      this.outcome ??= { error: this.max === 1 ? error : allFailed(this.errors) };
    }
  }
}

function allFailed(errors: readonly unknown[]): AggregateError {
  return withCode(
    new AggregateError(errors, `all ${errors.length} attempts failed`),
    "ERR_ALL_ATTEMPTS_FAILED",
  );
}

/**
 * Starts `work`, and starts it again alongside each time `afterMs` milliseconds pass without a value, up to `max`
 * attempts. Returns the first value, after cancelling the other attempts and waiting for their cleanup. This cuts the
 * long tail of latency: use it for work that may run twice, such as a read from a replica. `work` receives the number
 * of the attempt, from 1.
 *
 * When an attempt fails, the next one starts at once. If all fail, throws an AggregateError of their errors in the
 * order of their starts; with `max: 1` throws the error itself. Throws TypeError at once when `work` is not a function
 * or an option is bad, RangeError for a bad number.
 *
 * Dropping the future drops all attempts, so it is cancel safe if `work` is.
 *
 * @example
 * const page = yield* hedge(loadPage, { afterMs: 50 });
 */
export function hedge<T>(work: Repeatable<[attempt: number], T>, options: HedgeOptions): Future<T> {
  checkRepeatable(work, "hedge: work");
  checkObject(options, "hedge: options");
  const { afterMs, max = 2 } = options;
  checkMilliseconds(afterMs, "hedge: options.afterMs");
  checkCount(max, "hedge: options.max");
  return new Hedge(work, afterMs, max);
}
