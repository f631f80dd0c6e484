// What a call or a future throws, for a test that looks at the error itself. Both fail when nothing is thrown.

import type { Coroutine } from "../../src/index.ts";

/** Returns what `call` throws. */
export function caught(call: () => unknown): unknown {
  try {
    call();
  } catch (error) {
    return error;
  }
  throw new Error("nothing was thrown");
}

/** Returns what awaiting `work` in a coroutine throws: `yield* failureOf(handle)`. The caller may know its type. */
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
