// Generators: what counts as one, and what it may yield.

import { describe } from "./describe.ts";
import { type Coroutine, Future } from "./future.ts";

export function isGenerator(value: unknown): value is Coroutine<unknown> {
  if (typeof value !== "object" || value === null) return false;
  const { next, return: end, throw: fail } = value as Record<string, unknown>;
  return typeof next === "function" && typeof end === "function" && typeof fail === "function";
}

/** What is wrong with a `yield` of `value`. */
export function misuse(value: unknown): string {
  if (value instanceof Future) return "yield of a future: write `yield* future`, with the star";
  if (isGenerator(value)) return "yield of a coroutine: write `yield* coroutine()`, with the star";
  return `a coroutine may yield nothing but Pending; it yielded ${describe(value)}. To wait for a future write \`yield* future\``;
}
