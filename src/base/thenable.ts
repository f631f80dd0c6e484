// Which values count as promises. `await` also accepts a function with a `then` method. `isThenable` does not,
// because here a function is work to call.

/** Returns true for an object with a `then` method. */
export const isThenable = (value: unknown): value is PromiseLike<unknown> =>
  typeof value === "object" &&
  value !== null &&
  typeof (value as { then?: unknown }).then === "function";
