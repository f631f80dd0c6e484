// The logical stack of a coroutine: the functions that it is suspended in, with the user's files and lines.
//
// Facts about JSC, and what they mean for this code:
// - When a suspended generator is resumed, all generators that it delegates to by `yield*` are on the stack again. So
//   an Error that is created while the innermost future is polled shows the whole chain.
// - A frame has the name of its method also in a minified bundle: bundlers rename variables, not members.

import { userFrames } from "./call-site.ts";

/** More than any chain of `yield*` that one would read, with the library's frames in between. */
const MAX_FRAMES = 100;

/** Returns the user's frames of the coroutine that a method `logicalStack` polls, the innermost first. */
export function framesAround(): readonly string[] {
  const limit = Error.stackTraceLimit;
  Error.stackTraceLimit = MAX_FRAMES;
  const error = new Error();
  Error.stackTraceLimit = limit;
  return userFrames(error, "logicalStack");
}
