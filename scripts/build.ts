// Bundles the entry points of the package into dist/. Run by `bun run build`, after tsc has written the
// declarations.
//
// All code goes into one file, dist/index.js. The other entry points re-export from it, so that a class they share
// (SysError, EpollEvents) exists once. `bun build --splitting` would do that, too. But then the main entry loads
// two files, which adds 0.6 ms to every import (5 %), and shared classes get other names (SysError2).

import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));

/** The entry points besides the main one. */
const ENTRIES: readonly string[] = ["sys/index"];

interface Entry {
  readonly path: string;
  readonly names: string;
  /** An export of dist/index.js that no declaration mentions: a function, so that an import does not pay for it. */
  readonly hidden: string;
}

const entries: readonly Entry[] = await Promise.all(
  ENTRIES.map(async (path) => {
    const names = Object.keys(await import(`${root}src/${path}.ts`)).join(", ");
    return { path, names, hidden: `_${path.split("/")[0]}` };
  }),
);

const { outputs } = await Bun.build({
  entrypoints: [`${root}src/index.ts`],
  target: "bun",
  sourcemap: "linked",
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
          return { contents: (await Bun.file(file).text()) + exports.join(""), loader: "ts" };
        });
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
