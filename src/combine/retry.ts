// retry: work that runs again when it fails, after pauses that grow.

import {
  checkLimit,
  checkMilliseconds,
  checkObject,
  checkSignal,
  invalidType,
  outOfRange,
} from "../base/check.ts";
import { describe } from "../base/describe.ts";
import { isThenable } from "../base/thenable.ts";
import { currentContext } from "../core/current.ts";
import { AbortError, type Coroutine, type Future } from "../core/future.ts";
import { intoFuture } from "../core/into-future.ts";
import { randomOf } from "../time/deadline.ts";
import { sleep } from "../time/sleep.ts";
import { checkRepeatable, type Repeatable, repeat } from "./repeatable.ts";
import { withSignal } from "./with-signal.ts";

/** The options of {@link retry}. */
export interface RetryOptions {
  /** How many attempts to make in total: an integer >= 1, or Infinity. Default 3. */
  readonly times?: number;
  /** The pause after the first failed attempt, in milliseconds. Default 100. */
  readonly backoffMs?: number;
  /** By how much each pause is longer than the one before: a number >= 1. Default 2. */
  readonly factor?: number;
  /** The longest pause, in milliseconds. Default 30,000. */
  readonly maxMs?: number;
  /**
   * The random part of each pause, from 0 (none, the default) to 1 (all of it): a pause of 100 ms with jitter 0.5
   * takes 50 to 100 ms. It spreads clients that failed together. The random numbers are those of the runtime's clock.
   */
  readonly jitter?: number;
  /**
   * Returns whether to try again after `error`, the failure of the attempt with this number (from 1). Default: after
   * each error except an AbortError. An error that it throws is thrown instead.
   */
  readonly when?: (error: unknown, attempt: number) => boolean;
  /** Cancels the attempt or the pause. `retry` then throws `signal.reason`. */
  readonly signal?: AbortSignal;
}

type Checked = Required<Omit<RetryOptions, "signal">>;

/** A promise would count as true, whatever its value is. */
function checkAnswer(answer: boolean): boolean {
  if (!isThenable(answer)) return answer;
  throw invalidType("retry: options.when must return a boolean, not a promise");
}

function* attempts<T>(work: Repeatable<[attempt: number], T>, options: Checked): Coroutine<T> {
  const { times, factor, maxMs, jitter, when } = options;
  let pauseMs = options.backoffMs;
  for (let attempt = 1; ; attempt++) {
    try {
      return yield* repeat(work, attempt);
    } catch (error) {
      if (attempt >= times || !checkAnswer(when(error, attempt))) throw error;
    }
    pauseMs = Math.min(pauseMs, maxMs);
    yield* sleep(jitter === 0 ? pauseMs : pauseMs * (1 - jitter * randomOf(currentContext())));
    if (pauseMs > 0) pauseMs *= factor; // 0 * Infinity is NaN
  }
}

/**
 * Calls `work` until one attempt succeeds, and returns its value. After a failure it waits: `backoffMs`, and each
 * time `factor` times longer, up to `maxMs`. Throws the error of the last attempt. `work` receives the number of the
 * attempt, from 1. To limit all attempts together, put `timeout` around `retry`; to limit each, put it inside.
 *
 * Throws TypeError at once when `work` is not a function or an option is bad, and RangeError for a bad number.
 *
 * Dropping the future drops the attempt or ends the pause, so it is cancel safe if `work` is.
 *
 * @example
 * const page = yield* retry(loadPage, { times: 5, backoffMs: 50, jitter: 0.5 });
 */
export function retry<T>(
  work: Repeatable<[attempt: number], T>,
  options: RetryOptions = {},
): Future<T> {
  checkRepeatable(work, "retry: work");
  checkObject(options, "retry: options");
  const {
    times = 3,
    backoffMs = 100,
    factor = 2,
    maxMs = 30_000,
    jitter = 0,
    when = (error) => !(error instanceof AbortError),
    signal,
  } = options;
  checkLimit(times, "retry: options.times");
  checkMilliseconds(backoffMs, "retry: options.backoffMs");
  checkMilliseconds(maxMs, "retry: options.maxMs");
  if (typeof factor !== "number" || !(factor >= 1)) {
    throw outOfRange(`retry: options.factor must be a number >= 1; got ${describe(factor)}`);
  }
  if (typeof jitter !== "number" || !(jitter >= 0 && jitter <= 1)) {
    throw outOfRange(`retry: options.jitter must be a number from 0 to 1; got ${describe(jitter)}`);
  }
  if (typeof when !== "function") {
    throw invalidType(`retry: options.when must be a function; got ${describe(when)}`);
  }
  if (signal !== undefined) checkSignal(signal, "retry: options.signal");
  const checked = { times, backoffMs, factor, maxMs, jitter, when };
  const all = intoFuture(attempts(work, checked));
  return signal === undefined ? all : withSignal(signal, all);
}
