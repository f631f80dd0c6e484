// The logical stack of a coroutine: the functions that it is suspended in, with the user's files and lines.
//
// Facts about JSC, and what they mean for this code:
// - When a suspended generator is resumed, all generators that it delegates to by `yield*` are on the stack again. So
//   an Error that is created while the innermost future is polled shows the whole chain.
// - A frame has the name of its method also in a bundle, minified or not: bundlers rename variables, not members. So the
//   library's frames are cut by name, and not by folder.

/** More than any chain of `yield*` that one would read. */
const MAX_FRAMES = 64;

/**
 * Returns the frames of the coroutines on the stack, the innermost first. The caller runs in `next` of the future that
 * is awaited, which was called by them, in a poll of a task.
 */
export function framesAround(): readonly string[] {
  const limit = Error.stackTraceLimit;
  Error.stackTraceLimit = MAX_FRAMES;
  const { stack = "" } = new Error();
  Error.stackTraceLimit = limit;
  const frames = stack.split("\n").map((line) => line.trim().replace(/^at /, ""));
  const first = frames.findIndex((frame) => frame.startsWith("next "));
  const last = frames.findIndex((frame) => frame.startsWith("runInAsyncScope "));
  if (first < 0 || last < 0) return [];
  const bottom = frames.slice(0, last).findLastIndex((frame) => frame.startsWith("poll ")); // of the coroutine
  return frames.slice(first + 1, bottom).filter((frame) => !frame.includes("(native:"));
}
