// Work for tests.

import { type Coroutine, type Future, intoFuture, sleep, yieldNow } from "../../src/index.ts";

/** Waits until it is cancelled. Its cleanup suspends, and then logs `name`. */
export function* careful(name: string, log: string[]): Coroutine<void> {
  try {
    yield* sleep(1e6);
  } finally {
    yield* yieldNow();
    log.push(`${name} is clean`);
  }
}

/** Throws `error` after `turns` yields. */
export function* failAfter(turns: number, error: Error): Coroutine<never> {
  for (let turn = 0; turn < turns; turn++) yield* yieldNow();
  throw error;
}

/** Returns `value` after a sleep. */
export function sleepThen<T>(ms: number, value: T): Future<T> {
  return intoFuture(function* () {
    yield* sleep(ms);
    return value;
  });
}
