// Warnings and console output that a test provokes. Bind the result by `using`: it restores the original when
// the block ends, also when the test fails. Its `mock.calls` has what would have been shown.

import { type Mock, spyOn } from "bun:test";

/** Shows no warning until it is disposed. */
export function silenceWarnings(): Mock<typeof process.emitWarning> {
  return spyOn(process, "emitWarning").mockImplementation(() => {});
}

/** Prints no `console.error` until it is disposed: that is how the runtime reports failures. */
export function captureConsoleError(): Mock<typeof console.error> {
  return spyOn(console, "error").mockImplementation(() => {});
}

/** Prints no `console.log` until it is disposed. */
export function captureConsoleLog(): Mock<typeof console.log> {
  return spyOn(console, "log").mockImplementation(() => {});
}
