// The text of the console's Worker, with the page in it.
//
// scripts/build.ts replaces this file: in the package, the text is a string, which costs an import less than code, and
// which no bundler of a user changes.

import { cyclesOf } from "../../runtime/cycles.ts";
import { isUnnamed } from "../../runtime/task-info.ts";
import { pollLayout, pollReader } from "../../sys/poll-watch.ts";
import { consoleContent } from "./content.ts";
import { consolePage, html, style } from "./page.ts";
import { CONTROL, FLAGS } from "./protocol.ts";
import { consoleRequests } from "./requests.ts";
import { consoleServer } from "./server.ts";
import { consoleTables } from "./tables.ts";
import { consoleWarnings } from "./warnings.ts";
import { consoleWorker, type WorkerParts } from "./worker.ts";

/** Returns the program of the Worker. The build passes what shortens code. */
export function consoleProgram(shorten: (code: string) => string = (code) => code): string {
  const script = shorten(`(${consolePage})();`);
  const parts: WorkerParts = {
    ...{ consoleTables, consoleWarnings, consoleContent, consoleRequests, consoleServer },
    ...{ pollReader, cyclesOf, isUnnamed },
    ...{ layout: pollLayout, control: CONTROL, flags: FLAGS },
    // Functions as replacements: `$&` in a string would mean something.
    page: html.replace("STYLE", () => style).replace("SCRIPT", () => script),
  };
  const texts = Object.entries(parts).map(
    ([name, part]) => `${name}: ${typeof part === "function" ? part : JSON.stringify(part)}`,
  );
  return shorten(
    `onmessage = ({ data }) => (${consoleWorker})({ ${texts.join(", ")} }, data.setup);`,
  );
}
