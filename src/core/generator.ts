// Generator objects: how to recognize one, and what a coroutine may yield.

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
 * The intrinsic methods, looked up once. `generator.next` goes through a prototype of the generator's own
 * `function*`, which user code may replace.
 */
export const realNext: typeof GeneratorPrototype.next = GeneratorPrototype.next;
export const realReturn: typeof GeneratorPrototype.return = GeneratorPrototype.return;
export const realThrow: typeof GeneratorPrototype.throw = GeneratorPrototype.throw;

/**
 * Returns true for the language's own generator objects only. An object that merely has their methods cannot
 * be unwound, and an async generator, which has them too, would answer with promises.
 */
export function isGenerator(value: unknown): value is Coroutine<unknown> {
  return Object.prototype.isPrototypeOf.call(GeneratorPrototype, value as object);
}

/**
 * Returns what `generator` answered. If it yielded anything but Pending, throws a TypeError at that `yield`
 * instead, so that the stack names the line to correct.
 */
export function rejectStrayYields<T>(
  generator: Coroutine<T>,
  answer: IteratorResult<unknown, T>,
): IteratorResult<symbol, T> {
  let result: IteratorResult<unknown, unknown> = answer;
  while (result.done !== true && result.value !== Pending) {
    result = realThrow.call(generator, new TypeError(misuse(result.value)));
  }
  return result as IteratorResult<symbol, T>;
}

function misuse(value: unknown): string {
  if (value instanceof Future) return "yield of a future: write `yield* future`, with the star";
  if (isGenerator(value)) return "yield of a coroutine: write `yield* coroutine()`, with the star";
  return `a coroutine may yield nothing but Pending; it yielded ${describe(value)}. To wait for a future write \`yield* future\``;
}
