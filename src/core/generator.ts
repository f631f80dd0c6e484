// Generator objects: how to recognize one, and what a coroutine may yield.

import { withCode } from "../base/coded-error.ts";
import { describe } from "../base/describe.ts";
import { type Coroutine, Future } from "./future.ts";
import { Pending } from "./poll.ts";

/** %GeneratorPrototype%, from which every generator object inherits. */
export const GeneratorPrototype: {
  next: (this: unknown) => IteratorResult<unknown>;
  return: (this: unknown, value?: unknown) => IteratorResult<unknown>;
  throw: (this: unknown, error: unknown) => IteratorResult<unknown>;
} = Object.getPrototypeOf(function* () {}.prototype);

/**
 * The intrinsic methods, looked up once. `generator.next` would look in `prototype` of the generator's `function*`
 * first, which user code may replace.
 */
export const realNext: typeof GeneratorPrototype.next = GeneratorPrototype.next;
export const realReturn: typeof GeneratorPrototype.return = GeneratorPrototype.return;
export const realThrow: typeof GeneratorPrototype.throw = GeneratorPrototype.throw;

/**
 * Returns true for the language's own generator objects only. Other objects with the same methods
 * do not qualify: a plain iterator cannot be unwound, and an async generator returns promises.
 */
export function isGenerator(value: unknown): value is Coroutine<unknown> {
  return Object.prototype.isPrototypeOf.call(GeneratorPrototype, value as object);
}

/**
 * Returns `answer` if `generator` returned or yielded Pending. After any other yield, throws a TypeError into the
 * generator, so that the stack names the line to correct, and returns what the generator answers to that.
 */
export function rejectStrayYields<T>(
  generator: Coroutine<T>,
  answer: IteratorResult<unknown, T>,
): IteratorResult<symbol, T> {
  let result: IteratorResult<unknown, unknown> = answer;
  while (result.done !== true && result.value !== Pending) {
    result = realThrow.call(
      generator,
      withCode(new TypeError(misuse(result.value)), "ERR_INVALID_YIELD"),
    );
  }
  return result as IteratorResult<symbol, T>;
}

function misuse(value: unknown): string {
  if (value instanceof Future) return "yield of a future: write `yield* future`, with the star";
  if (isGenerator(value)) return "yield of a coroutine: write `yield* coroutine()`, with the star";
  return `a coroutine may yield nothing but Pending; it yielded ${describe(value)}. To wait for a future write \`yield* future\``;
}
