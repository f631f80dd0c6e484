// The text of the console's Worker, with the page in it.
//
// scripts/build.ts replaces this file: in the package, the text is a string, which costs an import less than code, and
// which no bundler of a user changes.

import { cyclesOf } from "../../runtime/cycles.ts";
import { isUnnamed } from "../../runtime/task-info.ts";
import { pollLayout, pollReader } from "../../sys/poll-watch.ts";
import { consolePage, html, style } from "./page.ts";
import { CONTROL, FLAGS } from "./protocol.ts";
import { consoleServer } from "./server.ts";

/** Returns the program of the Worker. The build passes what shortens code. */
export function consoleProgram(shorten: (code: string) => string = (code) => code): string {
  const script = shorten(`(${consolePage})();`);
  // Functions as replacements: `$&` in a string would mean something.
  const page = html.replace("STYLE", () => style).replace("SCRIPT", () => script);
  const values = { layout: pollLayout, control: CONTROL, flags: FLAGS, page };
  const functions = `pollReader: ${pollReader}, cyclesOf: ${cyclesOf}, isUnnamed: ${isUnnamed}`;
  const parts = `{ ${functions}, ...${JSON.stringify(values)} }`;
  return shorten(`(${consoleServer})(${parts});`);
}
