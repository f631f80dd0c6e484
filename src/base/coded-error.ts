// The codes of errors that have no class of their own. docs/errors.md lists the codes of all errors, and
// test/errors.test.ts holds the list against the source.

/** Makes the stack of `error` begin at the caller of `helper`, which created it: Bun prints the first line's source. */
export function calledFrom<E extends Error>(helper: (...args: never[]) => unknown, error: E): E {
  Error.captureStackTrace(error, helper);
  return error;
}

/** Adds `code` to `error`, by which a program recognizes it. Returns the error. */
export function withCode<E extends Error>(error: E, code: string): E & { readonly code: string } {
  return Object.assign(error, { code });
}

/** Returns an Error with a `code`. Its stack begins at the caller. */
export function codedError(
  code: string,
  message: string,
  options?: ErrorOptions,
): Error & { readonly code: string } {
  return calledFrom(codedError, withCode(new Error(message, options), code));
}
