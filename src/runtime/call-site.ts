// The place in the user's code that called the library: an Error that was created in the library, and whose stack is
// formatted only when somebody wants to read it.
//
// Facts about bundles, and what they mean for this code:
// - The published module and a user's bundle put many files into one. A source map, if there is one, brings back either
//   our files or the published module. So we compare with the place of this very function, as stacks show it.
// - A bundler keeps the code of one module together and in order. So the published module begins and ends with a
//   function of the build script (scripts/build.ts): what is between them is the library, also in a minified bundle.

interface Position {
  readonly file: string;
  readonly line: number;
  readonly column: number;
}

/** Returns where a line of a stack is; null for code of the engine, of Bun, and for an implicit constructor. */
function positionOf(line: string): Position | null {
  const match = /(?:\(|at )((?!unknown|node:|native|bun:)[^()]*):(\d+):(\d+)\)?$/.exec(line);
  if (match === null) return null;
  const [, file = "", row, column] = match;
  return { file, line: Number(row), column: Number(column) };
}

function linesOf(error: Error): string[] {
  return error.stack?.split("\n").slice(1) ?? [];
}

/** The functions with which the published module begins and ends: each returns an Error of its own. */
let ends: readonly (() => readonly [Error])[] = [];

/** Called at the end of the published module. */
export function setLibraryEnds(first: () => readonly [Error], last: () => readonly [Error]): void {
  ends = [first, last];
}

/** Tells whether a place is in the library. Created on first use. */
let isLibrary: ((position: Position) => boolean) | null = null;

const OWN_NAME = "/runtime/call-site.ts";

function createIsLibrary(): (position: Position) => boolean {
  const here = positionOf(linesOf(new Error())[0] ?? "");
  if (here === null) return () => false;
  if (here.file.endsWith(OWN_NAME)) {
    const folder = here.file.slice(0, -OWN_NAME.length + 1);
    return ({ file }) => file.startsWith(folder);
  }
  const [first, last] = ends.map((end) => positionOf(linesOf(end()[0])[0] ?? ""));
  if (!first || !last) return ({ file }) => file === here.file;
  return (position) =>
    position.file === here.file && !isBefore(position, first) && !isBefore(last, position);
}

function isBefore(a: Position, b: Position): boolean {
  return a.line < b.line || (a.line === b.line && a.column < b.column);
}

/**
 * Returns the lines of the stack of `place` outside this library, the innermost first. Those of the callers of the
 * library's method `until` are left out.
 */
export function userFrames(place: Error, until?: string): string[] {
  isLibrary ??= createIsLibrary();
  const frames: string[] = [];
  for (const line of linesOf(place)) {
    if (until !== undefined && line.trim().startsWith(`at ${until} `)) break;
    const position = positionOf(line);
    if (position !== null && !isLibrary(position)) frames.push(line.trim().replace(/^at /, ""));
  }
  return frames;
}

/** Returns the innermost of them: where the user's code called the library. */
export function callSite(place: Error): string {
  return userFrames(place)[0] ?? "an unknown place";
}
