// The rooms, and who may know whom. docs/design.md says why.

import { expect, test } from "bun:test";
import { Glob } from "bun";

const src = new URL("../src/", import.meta.url);
const files = [...new Glob("**/*.ts").scanSync(src.pathname)].sort();

/** Each layer may import itself, and those before it. */
const LAYERS = ["core", "sys", "reactor", "runtime", "top", "index"] as const;

function layerOf(path: string): number {
  if (path === "index.ts") return LAYERS.indexOf("index");
  const room = path.split("/")[0] ?? "";
  const layer = LAYERS.indexOf(room as (typeof LAYERS)[number]);
  return layer < 0 ? LAYERS.indexOf("top") : layer;
}

async function importsOf(path: string): Promise<string[]> {
  const text = await Bun.file(new URL(path, src)).text();
  return [...text.matchAll(/(?:from|import) "([^"]+)"/g)].map((match) => match[1] ?? "");
}

function resolve(from: string, specifier: string): string {
  return new URL(specifier, new URL(from, src)).pathname.slice(src.pathname.length);
}

test.each(files)("%s imports only its own layer and those before it", async (path) => {
  for (const specifier of await importsOf(path)) {
    if (!specifier.startsWith(".")) continue;
    const target = resolve(path, specifier);
    expect(files, `${path} imports ${target}`).toContain(target);
    expect(layerOf(target), `${path} imports ${target}`).toBeLessThanOrEqual(layerOf(path));
  }
});

test("core imports nothing outside itself", async () => {
  for (const path of files.filter((file) => file.startsWith("core/"))) {
    for (const specifier of await importsOf(path)) {
      expect(specifier.startsWith("./"), `${path} imports ${specifier}`).toBe(true);
    }
  }
});

test("there is no dependency but Bun's and Node's own modules", async () => {
  for (const path of files) {
    for (const specifier of await importsOf(path)) {
      expect(specifier, path).toMatch(/^(\.{1,2}\/|node:|bun:)/);
    }
  }
});

test("an import loads no other module: some take longer to load than this library", async () => {
  const loaded = new Set<string>();
  for (const path of files) {
    const text = await Bun.file(new URL(path, src)).text();
    const program = text.replaceAll(/`[^`]*`/g, ""); // without the text of Workers
    for (const [, name = ""] of program.matchAll(/^import (?!type ).* from "(node:.+)";$/gm)) {
      loaded.add(name);
    }
  }
  expect([...loaded]).toEqual([]);
});

test("only libc.ts knows bun:ffi; a helper thread's program has its own", async () => {
  const knowing: string[] = [];
  for (const path of files) {
    const text = await Bun.file(new URL(path, src)).text();
    if (/["']bun:ffi["']/.test(text)) knowing.push(path);
  }
  expect(knowing).toEqual(["runtime/parking.ts", "sys/libc.ts"]);
});

test("leaf futures reach the runtime through the context only", async () => {
  const leaves = files.filter((path) =>
    /^(net|io|sync)\/|^(time|interval|signals|promise)\.ts$/.test(path),
  );
  expect(leaves.length).toBeGreaterThan(5);
  for (const path of leaves) {
    for (const specifier of await importsOf(path))
      expect(specifier, path).not.toContain("/runtime/");
  }
});

test.each(files)("%s says what it owns, in no more than 400 lines", async (path) => {
  const text = await Bun.file(new URL(path, src)).text();
  expect(text).toStartWith("// ");
  expect(text.split("\n").length).toBeLessThanOrEqual(400);
});

test("index.ts has explicit named exports, and these", async () => {
  const text = await Bun.file(new URL("index.ts", src)).text();
  expect(text).not.toMatch(/export \*|export default/);
  const values = Object.keys(await import("../src/index.ts")).sort();
  const types = [...text.matchAll(/export (type )?\{([^}]+)\}/g)].flatMap(([, allTypes, names]) =>
    (names ?? "")
      .split(",")
      .map((name) => name.trim())
      .filter((name) => name !== "" && (allTypes !== undefined || name.startsWith("type ")))
      .map((name) => name.replace(/^type /, "")),
  );
  expect({ values, types: types.sort() }).toMatchSnapshot();
});
