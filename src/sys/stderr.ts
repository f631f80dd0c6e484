// Writes diagnostics to stderr: dumps, the trace as text, the lines of the watchdog.
//
// Invariant: a diagnostic does not end the program that it is about. stderr may be closed, be a full disk, or be a pipe
// whose reader has ended or does not keep up: what cannot be written is lost.

/** How long a write waits for a non-blocking pipe that is full, in milliseconds. */
const MAX_WAIT_MS = 100;

/** Writes text to stderr, synchronously. Throws nothing. */
export function writeToStderr(text: string): void {
  const { writeSync } = process.getBuiltinModule("node:fs");
  const bytes = Buffer.from(text);
  for (let written = 0, waitedMs = 0; written < bytes.length; ) {
    try {
      written += writeSync(2, bytes, written);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EAGAIN" || waitedMs === MAX_WAIT_MS) return;
      Bun.sleepSync(1);
      waitedMs++;
    }
  }
}
