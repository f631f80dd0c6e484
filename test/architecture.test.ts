// The rooms of src/ and the imports that each may have. docs/design.md says why.

import { expect, test } from "bun:test";
import { Glob } from "bun";

const src = new URL("../src/", import.meta.url);
const files = [...new Glob("**/*.ts").scanSync(src.pathname)].sort();

/** What each room may import besides itself. A room is a folder of `src/`; `runtime/` has rooms of its own. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  base: [],
  core: ["base"],
  sys: ["base"],
  reactor: ["base", "core", "sys"],
  io: ["base", "core", "sys", "reactor", "combine"],
  time: ["base", "core", "sys", "reactor"],
  net: ["base", "core", "sys", "reactor", "io", "time", "combine"],
  sync: ["base", "core"],
  process: ["base", "core", "sys", "reactor"],
  combine: ["base", "core", "sys", "time"],
  "runtime/threads": ["base", "core", "sys", "reactor", "runtime"],
  "runtime/blocking": ["base", "core", "sys", "runtime", "runtime/threads"],
  "runtime/promises": ["base", "core", "combine", "time", "runtime"],
  "runtime/guest": ["base", "core", "sys", "reactor", "runtime", "runtime/threads"],
  runtime: [
    ...["base", "core", "sys", "reactor", "combine", "inspect", "inspect/console"],
    ...["runtime/threads", "runtime/blocking", "runtime/promises", "runtime/guest"],
  ],
  inspect: ["base", "core", "sys", "reactor", "runtime"],
  "inspect/console": ["base", "core", "sys", "reactor", "runtime"],
  // io: `serve` knows which errors mean that a peer went away. Not net: it serves any listener.
  // time: the age of a `lazy` value.
  task: ["base", "core", "combine", "io", "sync", "time", "runtime", "runtime/blocking"],
  // The simulated world. No other room imports it.
  "sim/kernel": ["base", "sys"],
  sim: [
    ...["base", "core", "sys", "time", "process", "task", "runtime"],
    ...["runtime/promises", "runtime/blocking"],
    "sim/kernel",
  ],
};
/** The entry points of the package import from every room, and no room imports them. */
const ENTRIES: ReadonlySet<string> = new Set([
  "index.ts",
  "inspect/index.ts",
  "sim/index.ts",
  "sys/index.ts",
]);

function roomOf(path: string): string {
  const folders = path.split("/").slice(0, -1);
  return folders.join("/");
}

/** The text of a source file, without comments that have lines of their own. */
async function codeOf(path: string): Promise<string> {
  const text = await Bun.file(new URL(path, src)).text();
  return text.replaceAll(/^\s*(?:\/\/|\/?\*).*$/gm, "");
}

async function importsOf(path: string): Promise<string[]> {
  return [...(await codeOf(path)).matchAll(/(?:from|import) "([^"]+)"/g)].map(
    (match) => match[1] ?? "",
  );
}

function resolve(from: string, specifier: string): string {
  return new URL(specifier, new URL(from, src)).pathname.slice(src.pathname.length);
}

const graph: ReadonlyMap<string, readonly string[]> = new Map(
  await Promise.all(
    files.map(async (path): Promise<[string, string[]]> => {
      const specifiers = (await importsOf(path)).filter((specifier) => specifier.startsWith("."));
      return [path, specifiers.map((specifier) => resolve(path, specifier))];
    }),
  ),
);

test.each(files)("%s imports only from the rooms its own room may import", (path) => {
  const room = roomOf(path);
  for (const target of graph.get(path) ?? []) {
    expect(files, `${path} imports ${target}`).toContain(target);
    if (ENTRIES.has(path)) continue;
    expect(ENTRIES.has(target), `${path} imports the entry point ${target}`).toBe(false);
    const allowed = [room, ...(MAY_IMPORT[room] ?? [])];
    expect(allowed, `${path} imports ${target}`).toContain(roomOf(target));
  }
});

test("every room is in the allow-list", () => {
  const rooms = new Set(files.filter((path) => !ENTRIES.has(path)).map(roomOf));
  expect([...rooms].sort()).toEqual(Object.keys(MAY_IMPORT).sort());
});

test("no file imports itself through others, type-only imports included", () => {
  const done = new Set<string>();
  const findCycle = (path: string, trail: readonly string[]): string | null => {
    if (trail.includes(path)) return [...trail.slice(trail.indexOf(path)), path].join(" -> ");
    if (done.has(path)) return null;
    for (const target of graph.get(path) ?? []) {
      const cycle = findCycle(target, [...trail, path]);
      if (cycle !== null) return cycle;
    }
    done.add(path);
    return null;
  };
  for (const path of files) expect(findCycle(path, [])).toBeNull();
});

test("no file imports a package: only files of src/, and modules of Bun and Node", async () => {
  for (const path of files) {
    for (const specifier of await importsOf(path)) {
      expect(specifier, path).toMatch(/^(\.{1,2}\/|node:|bun:)/);
    }
  }
});

test("importing the library loads no module of Node, because some load slower than the library", async () => {
  const loaded = new Set<string>();
  for (const path of files) {
    const text = await Bun.file(new URL(path, src)).text();
    const program = text.replaceAll(/`[^`]*`/g, ""); // leaves out the source of Workers, which is a string
    for (const [, name = ""] of program.matchAll(/^import (?!type ).* from "(node:.+)";$/gm)) {
      loaded.add(name);
    }
  }
  expect([...loaded]).toEqual([]);
});

/**
 * Code that reaches the kernel, the clock or randomness. Only `sys/` and the listed files may contain it. (A simulation
 * replaces the clock and the randomness of JavaScript. The console's Worker is a program of its own.)
 */
const AROUND_THE_SEAM: readonly (readonly [pattern: RegExp, exceptions: readonly string[]])[] = [
  [/\bdlopen\b/, []],
  [/bun:ffi/, []],
  [/\/proc\//, []],
  [/\blinux\(/, []],
  [
    /\bperformance\.now\(|\bhrtime\b|\bBun\.nanoseconds\b|\bDate\.now\b|\bnew Date\b/,
    ["inspect/console/requests.ts", "inspect/console/worker.ts", "sim/globals.ts"],
  ],
  [/\bMath\.random\b|\bcrypto\b|\brandomUUID\b/, ["inspect/console/server.ts", "sim/globals.ts"]],
  [/\bsleepSync\b|\bAtomics\.wait\(/, []],
  // The trace goes to a file or to stderr; the program of the pool's workers rings the doorbell.
  [
    /["']node:fs["']/,
    ["inspect/console/requests.ts", "inspect/trace-file.ts", "runtime/blocking/worker.ts"],
  ],
];

test.each(AROUND_THE_SEAM)("only sys/ contains %p, except in %p", async (pattern, exceptions) => {
  const found: string[] = [];
  for (const path of files) {
    if (!path.startsWith("sys/") && pattern.test(await codeOf(path))) found.push(path);
  }
  expect(found).toEqual([...exceptions]);
});

test("inside sys/, only libc.ts opens libc; helper threads open their own, and signals need a compiler", async () => {
  const found: string[] = [];
  for (const path of files) {
    const text = await Bun.file(new URL(path, src)).text();
    if (/["']bun:ffi["']/.test(text)) found.push(path);
  }
  const [helpers, signals] = [["sys/epoll-watcher.ts", "sys/resolver.ts"], "sys/signal-handler.ts"];
  expect(found).toEqual([...helpers, "sys/libc.ts", signals].sort());
});

test.each(files)("%s begins with a comment", async (path) => {
  const text = await Bun.file(new URL(path, src)).text();
  expect(text).toStartWith("// ");
});

test.each([...ENTRIES])(
  "%s exports each name explicitly, and only those in the snapshot",
  async (entry) => {
    const text = await Bun.file(new URL(entry, src)).text();
    expect(text).not.toMatch(/export \*|export default/);
    const values = Object.keys(await import(`../src/${entry}`)).sort();
    const types = [...text.matchAll(/export (type )?\{([^}]+)\}/g)].flatMap(([, allTypes, names]) =>
      (names ?? "")
        .split(",")
        .map((name) => name.trim())
        .filter((name) => name !== "" && (allTypes !== undefined || name.startsWith("type ")))
        .map((name) => name.replace(/^type /, "")),
    );
    expect({ values, types: types.sort() }).toMatchSnapshot();
  },
);
