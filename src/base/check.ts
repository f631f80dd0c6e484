// Argument checks. Each error names the argument, the rule and the given value.

import { calledFrom, withCode } from "./coded-error.ts";
import { describe } from "./describe.ts";

/** Returns the error for an argument of the wrong kind. Its code is Node's. */
export function invalidType(message: string, options?: ErrorOptions): TypeError {
  const error = withCode(new TypeError(message, options), "ERR_INVALID_ARG_TYPE");
  return calledFrom(invalidType, error);
}

/** Returns the error for an argument outside its range. Its code is Node's. */
export function outOfRange(message: string): RangeError {
  return calledFrom(outOfRange, withCode(new RangeError(message), "ERR_OUT_OF_RANGE"));
}

/** Throws RangeError unless `count` is a safe integer >= `min`. `what` names the argument. */
export function checkCount(count: unknown, what: string, min = 1): asserts count is number {
  if (typeof count !== "number" || !Number.isSafeInteger(count) || count < min) {
    const rule = min === 1 ? "a positive integer" : `an integer >= ${min}`;
    throw outOfRange(`${what} must be ${rule}; got ${describe(count)}`);
  }
}

/** Throws RangeError unless `limit` is a positive safe integer or Infinity. `what` names the argument. */
export function checkLimit(limit: unknown, what: string): asserts limit is number {
  if (limit !== Number.POSITIVE_INFINITY) checkCount(limit, what);
}

/** Throws TypeError unless `signal` is an AbortSignal. `what` names the argument. */
export function checkSignal(signal: unknown, what: string): asserts signal is AbortSignal {
  if (!(signal instanceof AbortSignal)) {
    throw invalidType(`${what} must be an AbortSignal; got ${describe(signal)}`);
  }
}

/** Throws TypeError unless `resource` can be disposed. `what` names the argument. */
export function checkDisposable(
  resource: unknown,
  what: string,
): asserts resource is Disposable | AsyncDisposable {
  const { [Symbol.dispose]: dispose, [Symbol.asyncDispose]: asyncDispose } = Object(resource);
  if (typeof dispose !== "function" && typeof asyncDispose !== "function") {
    throw invalidType(
      `${what} must have a method [Symbol.dispose] or [Symbol.asyncDispose]; got ${describe(resource)}`,
    );
  }
}

/** Throws TypeError unless `options` is an object. `what` names the argument. */
export function checkObject(options: unknown, what = "options"): asserts options is object {
  if (typeof options !== "object" || options === null) {
    throw invalidType(`${what} must be an object; got ${describe(options)}`);
  }
}

/** Throws RangeError unless `ms` is a number of milliseconds >= 0; Infinity is allowed. `what` names the argument. */
export function checkMilliseconds(ms: unknown, what: string): asserts ms is number {
  if (typeof ms !== "number" || !(ms >= 0)) {
    throw outOfRange(`${what} must be a number >= 0; got ${describe(ms)}`);
  }
}

/** Throws TypeError unless `value` is a string. `what` names the argument. */
export function checkString(value: unknown, what: string): asserts value is string {
  if (typeof value !== "string")
    throw invalidType(`${what} must be a string; got ${describe(value)}`);
}

/** Throws TypeError unless `value` is a boolean. `what` names the argument. */
export function checkBoolean(value: unknown, what: string): asserts value is boolean {
  if (typeof value !== "boolean") {
    throw invalidType(`${what} must be a boolean; got ${describe(value)}`);
  }
}

/** Throws TypeError unless `fn` is a function. `what` names the argument. */
export function checkFunction(
  fn: unknown,
  what: string,
): asserts fn is (...args: never[]) => unknown {
  if (typeof fn !== "function") {
    throw invalidType(`${what} must be a function; got ${describe(fn)}`);
  }
}

/**
 * Throws TypeError unless `state`, an argument of a constructor that is not for users, is an instance of the internal
 * class `of`. `name` is the class of the constructor, and `instead` is what users call.
 */
export function checkConstructor(
  state: unknown,
  of: { [Symbol.hasInstance](value: unknown): boolean },
  name: string,
  instead: string,
): void {
  if (state instanceof of) return;
  const message = `${name}: this constructor is not for users; call ${instead}`;
  throw withCode(new TypeError(message), "ERR_ILLEGAL_CONSTRUCTOR");
}
