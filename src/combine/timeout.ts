// timeout: work that has only so long.

import { checkMilliseconds } from "../base/check.ts";
import type { Future } from "../core/future.ts";
import { type IntoFuture, intoFuture } from "../core/into-future.ts";
import { sleep } from "../time/sleep.ts";
import { Combinator } from "./combinator.ts";

/** What `timeout` throws. Its message says what the work waited on. */
export class TimeoutError extends Error {
  override readonly name = "TimeoutError";
  readonly code = "ERR_TIMEOUT";
}

const WORK = 0;
const CLOCK = 1;

class Timeout<T> extends Combinator<number, T> {
  readonly #milliseconds: number;

  constructor(milliseconds: number, work: Future<T>) {
    super();
    this.#milliseconds = milliseconds;
    this.children.isInOrder = true; // work that is ready when the clock is wins
    this.children.add(WORK, work);
    this.children.add(CLOCK, sleep(milliseconds));
  }

  protected override onValue(key: number, value: unknown): void {
    if (key === WORK) this.outcome = { value: value as T };
    else {
      const waitedOn = this.children.describe(); // the work is what is left of them
      const text = `not done within ${this.#milliseconds} ms: it waited on ${waitedOn}`;
      this.outcome = { error: new TimeoutError(text) };
    }
  }
}

/**
 * The value, or the error, of `work`, if it ends within `milliseconds` of the first poll; else drops
 * it, waits for its cleanup, and throws TimeoutError. Dropped, it drops the work. (The task of a
 * JoinHandle goes on then: `handle.abortOnDrop()` is the one that ends.) Throws RangeError as `sleep` does.
 *
 * @example
 * const stream = yield* timeout(1000, TcpStream.connect("127.0.0.1:7000"));
 */
export function timeout<T>(milliseconds: number, work: IntoFuture<T>): Future<T> {
  checkMilliseconds(milliseconds, "timeout: milliseconds"); // before anything is taken
  return new Timeout(milliseconds, intoFuture(work));
}
