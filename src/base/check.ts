// Argument checks. Each error names the argument, the rule and the given value.

import { describe } from "./describe.ts";

/** Throws RangeError unless `count` is a positive safe integer. `what` names the argument. */
export function checkCount(count: unknown, what: string): asserts count is number {
  if (typeof count !== "number" || !Number.isSafeInteger(count) || count < 1) {
    throw new RangeError(`${what} must be a positive integer; got ${describe(count)}`);
  }
}

/** Throws RangeError unless `limit` is a positive safe integer or Infinity. `what` names the argument. */
export function checkLimit(limit: unknown, what: string): asserts limit is number {
  if (limit !== Number.POSITIVE_INFINITY) checkCount(limit, what);
}

/** Throws TypeError unless `signal` is an AbortSignal. `what` names the argument. */
export function checkSignal(signal: unknown, what: string): asserts signal is AbortSignal {
  if (!(signal instanceof AbortSignal)) {
    throw new TypeError(`${what} must be an AbortSignal; got ${describe(signal)}`);
  }
}

/** Throws TypeError unless `resource` can be disposed. `what` names the argument. */
export function checkDisposable(
  resource: unknown,
  what: string,
): asserts resource is Disposable | AsyncDisposable {
  const { [Symbol.dispose]: dispose, [Symbol.asyncDispose]: asyncDispose } = Object(resource);
  if (typeof dispose !== "function" && typeof asyncDispose !== "function") {
    throw new TypeError(
      `${what} must have a method [Symbol.dispose] or [Symbol.asyncDispose]; got ${describe(resource)}`,
    );
  }
}

/** Throws TypeError unless `options` is an object. `what` names the argument. */
export function checkObject(options: unknown, what = "options"): asserts options is object {
  if (typeof options !== "object" || options === null) {
    throw new TypeError(`${what} must be an object; got ${describe(options)}`);
  }
}

/** Throws RangeError unless `ms` is a number of milliseconds >= 0; Infinity is allowed. `what` names the argument. */
export function checkMilliseconds(ms: unknown, what: string): asserts ms is number {
  if (typeof ms !== "number" || !(ms >= 0)) {
    throw new RangeError(`${what} must be a number >= 0; got ${describe(ms)}`);
  }
}
