// Bundles the entry points of the package into dist/. Run by `bun run build`, after tsc has written the
// declarations.
//
// All code goes into one file, dist/index.js. The other entry points re-export from it, so that a class they share
// (SysError, EpollEvents) exists once. We do not use `bun build --splitting`: the main entry would
// then load two files, which adds 0.6 ms to every import (5 %), and shared classes would be renamed (SysError2).
//
// Parsing is most of an import: without white space the file is a quarter smaller, and an import takes 2 ms less of
// 14. Names stay, and Bun shows the lines of src/ in stacks through the source map.
//
// The code of the simulation is a file of its own, so that it does not make every import slower. What it uses of the
// rest of the library it gets from dist/index.js.

import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));

/** The entry points other than the main one: paths in src/ without `.ts`. */
const ENTRIES: readonly string[] = ["sys/index", "inspect/index"];

/** The entry point whose own room is bundled separately, and that room. */
const SEPARATE = { path: "sim/index", room: "sim/", hidden: "_internals" } as const;

interface Entry {
  readonly path: string;
  /** What it exports, separated by commas. */
  readonly names: string;
  /**
   * The export of dist/index.js that returns these names. The declarations omit it. It is a function, so that
   * importing the main entry does not create the object.
   */
  readonly hidden: string;
}

const entries: readonly Entry[] = await Promise.all(
  ENTRIES.map(async (path) => {
    const names = Object.keys(await import(`${root}src/${path}.ts`)).join(", ");
    return { path, names, hidden: `_${path.split("/")[0]}` };
  }),
);

// The module begins with `_first` and ends with `_last`, also inside a user's bundle: call-site.ts tells the library's
// code from the user's by them. They are constants, because a minifier may move
// functions, and return arrays, because JSC removes the frame of a tail call.
const FIRST_IMPORT = 'import { _first } from "guillotine:first";\n';
const LAST = `
import { setLibraryEnds } from "./runtime/call-site.ts";
const _last = () => [new Error()];
setLibraryEnds(_first, _last);
`;
/** By file outside the separate room: the names that the room imports from it, types not included. */
async function importsOfSeparate(): Promise<Map<string, Set<string>>> {
  const used = new Map<string, Set<string>>();
  for (const path of new Bun.Glob(`${SEPARATE.room}**/*.ts`).scanSync(`${root}src`)) {
    const text = await Bun.file(`${root}src/${path}`).text();
    for (const [, names = "", from = ""] of text.matchAll(/import \{([^}]+)\} from "(\.[^"]+)"/g)) {
      const file = new URL(from, `file:///${path}`).pathname.slice(1);
      if (file.startsWith(SEPARATE.room)) continue;
      const values = names
        .split(",")
        .map((name) => name.trim())
        .filter((name) => name !== "" && !name.startsWith("type "));
      if (values.length > 0) used.set(file, (used.get(file) ?? new Set()).union(new Set(values)));
    }
  }
  return used;
}

const internals = await importsOfSeparate();

// The console's Worker gets its program as text. As a string, compressed, it costs an import less than as functions, and
// a user's bundler leaves it alone.
const { consoleProgram } = await import(`${root}src/inspect/console/programs.ts`);
const transpiler = new Bun.Transpiler({ loader: "js", target: "bun", minifyWhitespace: true });
const program: string = consoleProgram((code: string) => transpiler.transformSync(code));
const packed = Buffer.from(Bun.gzipSync(program, { level: 9 })).toString("base64");

const { outputs } = await Bun.build({
  entrypoints: [`${root}src/index.ts`],
  target: "bun",
  sourcemap: "linked",
  minify: { whitespace: true, syntax: true },
  outdir: `${root}dist`,
  plugins: [
    {
      name: "other entry points",
      setup(build) {
        build.onLoad({ filter: /\/src\/index\.ts$/ }, async ({ path: file }) => {
          const exports = entries.map(
            ({ path, names, hidden }) =>
              `import { ${names} } from "./${path}.ts";\nexport const ${hidden} = () => ({ ${names} });\n`,
          );
          const imports = [...internals].map(
            ([from, names]) => `import { ${[...names].join(", ")} } from "./${from}";\n`,
          );
          const all = [...internals.values()].flatMap((names) => [...names]).join(", ");
          const hidden = `export const ${SEPARATE.hidden} = () => ({ ${all} });\n`;
          const contents = [FIRST_IMPORT, await Bun.file(file).text(), ...exports, ...imports];
          return { contents: [...contents, hidden, LAST].join(""), loader: "ts" };
        });
        build.onLoad({ filter: /\/src\/inspect\/console\/programs\.ts$/ }, () => ({
          contents: `export const consoleProgram = (): string => new TextDecoder().decode(Bun.gunzipSync(Buffer.from("${packed}", "base64")));\n`,
          loader: "ts",
        }));
        build.onResolve({ filter: /^guillotine:first$/ }, ({ path }) => ({
          path,
          namespace: "guillotine",
        }));
        build.onLoad({ filter: /./, namespace: "guillotine" }, () => ({
          contents: "export const _first = () => [new Error()];\n",
          loader: "ts",
        }));
      },
    },
  ],
});

for (const { path, names, hidden } of entries) {
  const main = `${"../".repeat(path.split("/").length - 1)}index.js`;
  const code = `// @bun\nimport { ${hidden} } from "${main}";\nexport const { ${names} } = ${hidden}();\n`;
  await Bun.write(`${root}dist/${path}.js`, code);
}

const separate = await Bun.build({
  entrypoints: [`${root}src/${SEPARATE.path}.ts`],
  target: "bun",
  sourcemap: "linked",
  outdir: `${root}dist/${SEPARATE.room}`,
  minify: { whitespace: true, syntax: true },
  plugins: [
    {
      name: "the rest of the library",
      setup(build) {
        build.onResolve({ filter: /^guillotine:main$/ }, () => ({
          path: "../index.js",
          external: true,
        }));
        build.onLoad({ filter: /\/src\/(?!sim\/).*\.ts$/ }, ({ path: file }) => {
          const names = [...(internals.get(file.slice(`${root}src/`.length)) ?? [])].join(", ");
          const contents = `import { ${SEPARATE.hidden} } from "guillotine:main";\nexport const { ${names} } = ${SEPARATE.hidden}();\n`;
          return { contents, loader: "ts" };
        });
      },
    },
  ],
});

for (const { path, size } of [...outputs, ...separate.outputs])
  console.log(path.slice(root.length), size);
