// Warnings that a test provokes.

import { type Mock, spyOn } from "bun:test";

/** Until it is disposed no warning is shown; its `mock.calls` has those that there would have been. */
export function silenceWarnings(): Mock<typeof process.emitWarning> {
  return spyOn(process, "emitWarning").mockImplementation(() => {});
}
