// docs/errors.md lists the code of every error that the library throws, and of every warning, and no other. Every such
// error has a code.

import { expect, test } from "bun:test";
import { Glob } from "bun";
import * as guillotine from "../src/index.ts";
import * as sim from "../src/sim/index.ts";
import { root } from "./support/program.ts";

const page = await Bun.file(`${root}docs/errors.md`).text();
/** The codes of the page, with the class of each. */
const rows: ReadonlyMap<string, string> = new Map(
  [...page.matchAll(/^\| `(\w+)` \| `(\w+)`/gm)].map(([, code = "", name = ""]) => [code, name]),
);

/** The first column of all tables. */
const listed = [...page.matchAll(/^\| `(\w+)` \|/gm)].map(([, code = ""]) => code);
const isWarning = (code: string): boolean => code.startsWith("GUILLOTINE_");

const paths = [...new Glob("**/*.ts").scanSync(`${root}src`)].sort();
const sources: ReadonlyMap<string, string> = new Map(
  await Promise.all(
    paths.map(async (path): Promise<[string, string]> => {
      const text = await Bun.file(`${root}src/${path}`).text();
      return [path, text.replaceAll(/^\s*(?:\/\/|\/?\*).*$/gm, "")];
    }),
  ),
);

test("docs/errors.md lists each code of the source once, and no other, in order", () => {
  const codes = new Set<string>();
  for (const text of sources.values()) {
    for (const [, code = ""] of text.matchAll(/"(ERR_\w+|ABORT_ERR)"/g)) codes.add(code);
  }
  expect(listed.filter((code) => !isWarning(code))).toEqual([...codes].sort());
});

test("docs/errors.md lists each code of a warning once, and no other, in order", () => {
  const codes = new Set<string>();
  for (const text of sources.values()) {
    for (const [, code = ""] of text.matchAll(/code: "(GUILLOTINE_\w+)"/g)) codes.add(code);
  }
  expect(listed.filter(isWarning)).toEqual([...codes].sort());
});

test("docs/errors.md names the class of each exported error", () => {
  for (const [path, text] of sources) {
    const classes = /class (\w+) extends Error \{(?:(?!^\}).)*? code = "(\w+)"/gms;
    for (const [, name = "", code = ""] of text.matchAll(classes)) {
      expect(rows.get(code), path).toBe(name);
      expect(Object.keys({ ...guillotine, ...sim })).toContain(name);
    }
  }
});

/** Text that a worker runs, and the errors of users that are revived. */
const MAY_CONSTRUCT: ReadonlySet<string> = new Set([
  "runtime/blocking/plain-error.ts",
  "runtime/blocking/worker.ts",
  "sys/threads.ts",
]);

test.each(paths)("%s throws no error without a code", (path) => {
  if (MAY_CONSTRUCT.has(path)) return;
  // `new Error()` without a message only reads the stack.
  const plain = /(?<!withCode\(\s*)new (?:Type|Range|Syntax|Aggregate)?Error\((?!\))/g;
  expect((sources.get(path) ?? "").match(plain)).toBeNull();
});
