// Which values count as promises. Unlike `await`, this ignores functions with a `then` method: a function is work
// to call.

/** Returns true for an object with a `then` method. */
export function isThenable(value: unknown): value is PromiseLike<unknown> {
  return (
    typeof value === "object" &&
    value !== null &&
    typeof (value as { then?: unknown }).then === "function"
  );
}
