// Bundles the entry points of the package into dist/. Run by `bun run build`, after tsc has written the
// declarations.
//
// All code goes into one file, dist/index.js. The other entry points re-export from it, so that a class they share
// (SysError, EpollEvents) exists once. We do not use `bun build --splitting`: the main entry would
// then load two files, which adds 0.6 ms to every import (5 %), and shared classes would be renamed (SysError2).
//
// Parsing is most of an import: without white space the file is a quarter smaller, and an import takes 2 ms less of
// 14. Names stay, and Bun shows the lines of src/ in stacks through the source map.

import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));

/** The entry points other than the main one: paths in src/ without `.ts`. */
const ENTRIES: readonly string[] = ["sys/index", "inspect/index"];

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
          const text = await Bun.file(file).text();
          return { contents: FIRST_IMPORT + text + exports.join("") + LAST, loader: "ts" };
        });
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

for (const { path, size } of outputs) console.log(path.slice(root.length), size);
