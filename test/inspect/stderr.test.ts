// Diagnostics go to stderr, which may not work: the program that they are about continues.

import { expect, setDefaultTimeout, test } from "bun:test";
import { root, run } from "../support/program.ts";

setDefaultTimeout(60_000); // the machine may be slow

const programs = `${root}test/support/programs/`;
/** Redirections of stderr: a full disk, a reader that has ended, no fd. */
const BROKEN = ["2>/dev/full", "2> >(exec true)", "2>&-"];

/** Runs a program with a redirection. Returns what it printed, and its exit code. */
const runWith = (redirection: string, program: string, env: Record<string, string>) =>
  run(["bash", "-c", `exec bun ${programs}${program} ${redirection}`], { env });

for (const redirection of BROKEN) {
  test.each(["blockOn", "guest"])(
    `a program in %s survives its dumps and its trace with ${redirection}`,
    async (mode) => {
      const env = { GUILLOTINE_DUMP: "SIGUSR2", GUILLOTINE_TRACE: "1" };
      const { code, output } = await runWith(redirection, `without-stderr.ts ${mode}`, env);
      expect([code, output]).toEqual([0, "alive\n"]);
    },
  );

  test(`a program survives the lines of the watchdog with ${redirection}`, async () => {
    const env = { GUILLOTINE_WATCHDOG_MS: "50" };
    const { code, output } = await runWith(redirection, "stuck.ts coroutine", env);
    expect([code, output]).toEqual([0, "done\n"]);
  });
}
