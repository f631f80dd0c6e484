// Returns the error of a call or a future, for tests that check the error itself. Both functions throw if there is no
// error.

import type { Coroutine } from "../../src/index.ts";

/** Returns the error that `call` throws. */
export function caught(call: () => unknown): unknown {
  try {
    call();
  } catch (error) {
    return error;
  }
  throw new Error("nothing was thrown");
}

/** Awaits `work` and returns the error that it throws: `yield* failureOf(handle)`. The caller names the error's type. */
export function* failureOf<E = unknown>(work: {
  [Symbol.iterator](): Iterator<symbol, unknown, void>;
}): Coroutine<E> {
  try {
    yield* work;
  } catch (error) {
    return error as E;
  }
  throw new Error("nothing was thrown");
}
