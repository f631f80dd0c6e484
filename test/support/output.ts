// Capture the warnings and the console output that a test provokes. Bind the result with `using`: it restores the
// original when the block ends, even if the test fails. Its `mock.calls` has the captured calls.

import { type Mock, spyOn } from "bun:test";

/** Captures process warnings until disposed. */
export function silenceWarnings(): Mock<typeof process.emitWarning> {
  return spyOn(process, "emitWarning").mockImplementation(() => {});
}

/** Captures `console.error`, with which the runtime reports failures, until disposed. */
export function captureConsoleError(): Mock<typeof console.error> {
  return spyOn(console, "error").mockImplementation(() => {});
}

/** Captures `console.log` until disposed. */
export function captureConsoleLog(): Mock<typeof console.log> {
  return spyOn(console, "log").mockImplementation(() => {});
}
