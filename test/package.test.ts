// The packed tarball, as a stranger installs it: in a strict project that checks our declarations, too.

import { afterAll, expect, setDefaultTimeout, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { root, run } from "./support/program.ts";

setDefaultTimeout(60_000); // a slow machine is no failure

const directory = mkdtempSync(join(tmpdir(), "guillotine-package-"));
afterAll(() => rmSync(directory, { recursive: true }));

async function inDirectory(path: string, ...command: string[]): Promise<string> {
  const { code, output } = await run(["sh", "-c", `cd "$0" && exec "$@"`, path, ...command]);
  expect(output + code).toEndWith("0");
  return output;
}

/** Packs a copy of the working tree (prepack builds it there), and unpacks that into a project. */
const installed: Promise<{ project: string; files: string[] }> = (async () => {
  const copy = join(directory, "copy");
  mkdirSync(copy);
  const kept = ["src", "docs", "bench", "package.json", "README.md", "CHANGELOG.md", "LICENSE"];
  for (const name of [...kept, "CONTRIBUTING.md", "tsconfig.json", "tsconfig.build.json"]) {
    await inDirectory(root, "cp", "-r", name, copy);
  }
  symlinkSync(join(root, "node_modules"), join(copy, "node_modules"));
  await inDirectory(copy, "bun", "pm", "pack", "--filename", join(directory, "packed.tgz"));
  const project = join(directory, "project");
  const target = join(project, "node_modules", "bun-guillotine");
  mkdirSync(target, { recursive: true });
  await inDirectory(target, "tar", "xzf", join(directory, "packed.tgz"), "--strip-components=1");
  for (const name of ["bun-types", "@types", "undici-types"]) {
    symlinkSync(join(root, "node_modules", name), join(project, "node_modules", name));
  }
  const files = (await inDirectory(target, "find", ".", "-type", "f")).trim().split("\n").sort();
  return { project, files };
})();

test("it holds what is needed, and nothing else", async () => {
  const { files } = await installed;
  const rooms = new Set(files.map((file) => file.split("/")[1]));
  expect([...rooms].sort()).toEqual([
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "LICENSE",
    "README.md",
    "bench",
    "dist",
    "docs",
    "package.json",
    "src",
  ]);
  expect(files.filter((file) => file.startsWith("./bench/"))).toEqual(["./bench/RESULTS.md"]);
  expect(files).toContain("./dist/index.js");
  expect(files).toContain("./dist/index.d.ts");
  const manifest = await Bun.file(`${root}package.json`).json();
  expect(manifest.dependencies).toBeUndefined();
  expect(manifest.peerDependencies).toBeUndefined();
});

test("a strict project that checks libraries compiles against it, and runs", async () => {
  const { project } = await installed;
  const options = {
    target: "ESNext",
    lib: ["ESNext"],
    module: "NodeNext",
    moduleResolution: "NodeNext",
    types: ["bun-types"],
    strict: true,
    noUncheckedIndexedAccess: true,
    exactOptionalPropertyTypes: true,
    noPropertyAccessFromIndexSignature: true,
    skipLibCheck: false,
    noEmit: true,
  };
  await Bun.write(join(project, "package.json"), JSON.stringify({ type: "module" }));
  await Bun.write(
    join(project, "tsconfig.json"),
    JSON.stringify({ compilerOptions: options, files: ["main.ts"] }),
  );
  await Bun.write(
    join(project, "main.ts"),
    `import { isSupported, join, Runtime, sleep, spawn, spawnBlocking, TcpListener, TcpStream } from "bun-guillotine";

function* greet(listener: TcpListener) {
  using stream = yield* listener.accept();
  yield* stream.writeAll("hello");
}

using runtime = new Runtime();
const text: string = runtime.blockOn(function* () {
  using listener = TcpListener.bind("127.0.0.1:0");
  const server = spawn(() => greet(listener));
  using client = yield* TcpStream.connect(listener.localAddress);
  const buffer = new Uint8Array(16);
  const count: number = yield* client.read(buffer);
  const [, answer]: [void, number] = yield* join(server, async () => { await sleep(1); return 42; });
  const doubled: number = yield* spawnBlocking((value: number) => value * 2, answer);
  return new TextDecoder().decode(buffer.subarray(0, count)) + doubled;
});
console.log(isSupported, text);
// @ts-expect-error: what is marked @internal is not declared
void runtime.budget;
`,
  );
  await inDirectory(project, join(root, "node_modules/.bin/tsc"), "-p", ".");
  expect(await inDirectory(project, "bun", "main.ts")).toBe("true hello84\n");
});

const isNode = async (): Promise<boolean> =>
  (await run(["sh", "-c", "command -v node >/dev/null && node -p process.versions.bun"])).output ===
  "undefined\n";

test.skipIf(!(await isNode()))(
  "importing it elsewhere never throws; using it says why",
  async () => {
    const { project } = await installed;
    await Bun.write(
      join(project, "elsewhere.mjs"),
      `import { isSupported, Runtime, TcpListener } from "bun-guillotine";
console.log(isSupported);
for (const use of [() => new Runtime(), () => TcpListener.bind("127.0.0.1:0")]) {
  try { use(); } catch (error) { console.log(error.code, error.message); }
}`,
    );
    const output = await inDirectory(project, "node", "elsewhere.mjs");
    const [supported, ...errors] = output.trim().split("\n");
    expect(supported).toBe("false");
    expect(errors).toHaveLength(2);
    for (const error of errors) {
      expect(error).toStartWith(
        "ERR_UNSUPPORTED_PLATFORM bun-guillotine needs Bun 1.4.5 or newer on Linux",
      );
      expect(error).toContain("this is not Bun");
    }
  },
);
