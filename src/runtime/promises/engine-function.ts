// Which functions are the engine's: those that resolve and reject a promise, which it passes to `then` when it awaits.

import { cold } from "../../base/cold.ts";
import type { Handler } from "./await-result.ts";

const textOf = Function.prototype.toString;
/**
 * The source text of the engine's functions; empty until the first one was compared. It is the very string that the
 * engine returned for the latest one, because comparing a string with itself is fast.
 */
const engine: { text: string } = { text: "" };

/**
 * Returns true for the functions that the engine passes to `then` when it awaits. They only queue a microtask, so
 * our loop may call them at any time. (An anonymous bound function has the same source text. Our loop calls it
 * directly as well, which is correct: the loop is platform code in the sense of Promises/A+ 2.2.4, and AwaitResult
 * keeps the value that the function returns.)
 */
export const isEngineFunction = (handler: unknown): handler is Handler => {
  if (typeof handler !== "function") return false;
  const text = textOf.call(handler);
  return text === engine.text || isEngineText(text);
};

/** Compares `text` with the text of a function that is the engine's, and keeps it if they are equal. */
const isEngineText = cold((text: string): boolean => {
  let isEqual = false;
  new Promise((resolve) => {
    isEqual = text === textOf.call(resolve);
  });
  if (isEqual) engine.text = text;
  return isEqual;
});

/** Returns true for a function that resolves or rejects a promise. Slower than `isEngineFunction`. */
export function isResolver(handler: unknown): handler is Handler {
  return isEngineFunction(handler) && handler.name === ""; // a bound function has the name "bound "
}
