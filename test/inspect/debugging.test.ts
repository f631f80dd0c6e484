// The walkthroughs of docs/debugging.md: each planted bug is found by the command that the page names, and the page
// shows the line that names the culprit.

import { expect, setDefaultTimeout, test } from "bun:test";
import { buggy, bugs, client } from "../support/buggy-chat.ts";
import { root } from "../support/program.ts";

setDefaultTimeout(60_000); // the machine may be slow

const page = await Bun.file(`${root}docs/debugging.md`).text();

/** Numbers and places differ from run to run. */
const stable = (text: string): string =>
  text.replace(/\(\S*?([\w-]+\.ts)/g, "($1").replace(/\d+/g, "N");
const stablePage = stable(page).split("\n");

function expectOnPage(line: string): void {
  expect(stablePage).toContain(stable(line));
}

test("the dump finds the lock that is never released: its holder has ended", async () => {
  const { program, port } = await buggy("lock", { GUILLOTINE_DUMP: "SIGUSR2" });
  await using _ = program;
  const close = await client(port, "\nhello\n");
  let match: RegExpExecArray | null = null;
  // The server may not have read the line yet.
  const culprit = /^.*waits on lock "room", held by.*\n.*\n/m;
  for (; match === null; await Bun.sleep(20)) {
    process.kill(program.pid, "SIGUSR2");
    await program.until(/runtime 1:/);
    match = culprit.exec(program.output());
  }
  for (const line of match[0].trimEnd().split("\n")) expectOnPage(line);
  close();
});

test("the watchdog finds the loop that never ends", async () => {
  const { program, port } = await buggy("loop", { GUILLOTINE_WATCHDOG_MS: "200" });
  await using _ = program;
  await Bun.sleep(200); // the helper thread starts
  const close = await client(port, "darn\n");
  const [line] = await program.until(/^.*has held the thread.*$/m);
  expectOnPage(line);
  close();
});

test("the dump finds the task that is leaked per connection: its spawner has ended, and its name only grows", async () => {
  const { program, port } = await buggy("leak", { GUILLOTINE_DUMP: "SIGUSR2" });
  await using _ = program;
  for (let connection = 0; connection < 30; connection++) {
    const close = await client(port, "hello\n");
    close();
  }
  // The latest dump: while the server still ends connections, a dump also shows those.
  let text = "";
  for (let names = ""; !/^by name: heartbeat 30, \w+ 1$/.test(names); await Bun.sleep(20)) {
    process.kill(program.pid, "SIGUSR2");
    await program.until(/runtime 1:/);
    const output = program.output();
    text = output.slice(output.lastIndexOf("runtime 1:"));
    names = /^by name:.*$/m.exec(text)?.[0] ?? "";
  }
  expectOnPage(/^by name:.*$/m.exec(text)?.[0] ?? "none");
  expectOnPage(/^.*and \d+ more named heartbeat$/m.exec(text)?.[0] ?? "none");
  expectOnPage(/^.*spawned by #\d+, which has ended$/m.exec(text)?.[0] ?? "none");
});

test.each(["lock", "loop", "leak"] as const)(
  "the page shows the line by which the console names the planted %s",
  (bug) => {
    expect(page).toMatch(bugs[bug].culprit); // browser.test.ts finds it in a browser
  },
);
