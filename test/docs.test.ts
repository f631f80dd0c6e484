// The code in docstrings, the pages of the root and docs/*.md: all of it compiles and runs. (A docstring's example
// that calls fetch needs the Internet, so it only compiles.)
//
// A snippet in a page that imports "bun-guillotine" is a program: it runs in a process of its own, must exit
// with code 0, and must print exactly the `text` block that follows it, if there is one. A program that waits
// for Ctrl-C or SIGTERM receives it. All other code runs in a function, with the names it uses imported.

import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { existsSync } from "node:fs";
import { mkdir, rm } from "node:fs/promises";
import { Glob } from "bun";
import * as guillotine from "../src/index.ts";
import * as fixtures from "./support/docs-fixtures.ts";
import { captureConsoleLog } from "./support/output.ts";
import { type Program, root, run, start } from "./support/program.ts";

setDefaultTimeout(60_000); // a slow machine must not fail the test

/** In node_modules: ignored by git and by the linter, and near enough to find bun-types. */
const generated = `${root}node_modules/.docs-test-${process.pid}/`;

interface Example {
  /** File and line. */
  readonly name: string;
  readonly file: string;
  readonly code: string;
  /** What a program must print; undefined when the page does not show it. */
  readonly output?: string;
}

const manifest = await Bun.file(`${root}package.json`).json();

async function exportsOf(path: string): Promise<string[]> {
  const text = await Bun.file(root + path).text();
  return [...text.matchAll(/export (?:type )?\{([^}]+)\}/g)].flatMap(([, names = ""]) =>
    names
      .split(",")
      .map((name) => name.trim().replace(/^type /, ""))
      .filter((name) => name !== ""),
  );
}

const exported = await exportsOf("src/index.ts");
const exportedByInspect = await exportsOf("src/inspect/index.ts");
/** Constants such as EPOLLIN need no docstring: the man pages have them. */
const exportedBySys = (await exportsOf("src/sys/index.ts")).filter(
  (name) => !/^[A-Z\d_]+$/.test(name),
);
const exportedBySim = await exportsOf("src/sim/index.ts");

function exampleAt(path: string, text: string, offset: number, code: string): Example {
  const name = `${path}:${text.slice(0, offset).split("\n").length}`;
  return { name, file: `${generated}${name.replace(/[/:]/g, "_")}.ts`, code };
}

const pages = ["*.md", "docs/*.md"].flatMap((glob) => [...new Glob(glob).scanSync(root)].sort());

async function findExamples(): Promise<Example[]> {
  const found: Example[] = [];
  for (const path of [...new Glob("src/**/*.ts").scanSync(root)].sort()) {
    const text = await Bun.file(root + path).text();
    for (const match of text.matchAll(/@example\n((?:\s*\*(?!\/)(?! @).*\n)+)/g)) {
      const code = (match[1] ?? "").replace(/^\s*\* ?/gm, "");
      found.push(exampleAt(path, text, match.index, code));
    }
  }
  for (const path of pages) {
    const text = await Bun.file(root + path).text();
    for (const match of text.matchAll(/```ts\n(.*?)```(?:\n\n```text\n(.*?)```)?/gs)) {
      const [, code = "", output] = match;
      const example = exampleAt(path, text, match.index, code);
      found.push(output === undefined ? example : { ...example, output });
    }
  }
  return found;
}

/** The source of an entry point of the package: `.`, `./sys`. */
function sourceOf(entry: string): string {
  const target: string | undefined = manifest.exports[entry]?.default;
  if (target === undefined) throw new Error(`package.json has no entry point ${entry}`);
  return target.replace("./dist/", `${root}src/`).replace(/\.js$/, ".ts");
}

/** A snippet of a page that is a whole program, rather than a part of one. */
const isProgram = ({ name, code }: Example): boolean =>
  !name.startsWith("src/") && code.includes('from "bun-guillotine');

/** A program as it is; else a module with the example in a function, and the imports that it needs. */
function moduleOf(example: Example): string {
  const { code } = example;
  if (isProgram(example)) {
    return code
      .replaceAll(/"bun-guillotine(\/\w+)?"/g, (_, entry = "") => `"${sourceOf(`.${entry}`)}"`)
      .replaceAll("port: 3000", "port: 0") // other tests run at the same time
      .replaceAll('bind("127.0.0.1:7000")', 'bind("127.0.0.1:0")');
  }
  const body = code.replace(/^import .*\n/gm, "");
  const missing = (names: readonly string[]): string =>
    names
      .filter((name) => {
        const declares = new RegExp(`\\b(?:class|const|let|function\\*?) ${name}\\b|[(]${name}:`);
        return new RegExp(`(?<![.\\w])${name}\\b`).test(body) && !declares.test(body);
      })
      .join(", ");
  const imported = code.match(/import \{([^}]+)\} from "bun-guillotine"/)?.[1];
  const importedFromSys = code.match(/import \{([^}]+)\} from "bun-guillotine\/sys"/)?.[1] ?? "";
  const kind =
    /\bawait\b/.test(body) && !/^class|^function/m.test(body) ? "async function" : "function*";
  return `import { ${imported ?? missing(exported)} } from "${root}src/index.ts";
import { ${importedFromSys} } from "${root}src/sys/index.ts";
import { ${missing(exportedByInspect)} } from "${root}src/inspect/index.ts";
import { ${missing(exportedBySim)} } from "${root}src/sim/index.ts";
import { ${missing([...Object.keys(fixtures), "Page"])} } from "${root}test/support/docs-fixtures.ts";
export ${kind} example() {
${body}}
`;
}

const examples = await findExamples();

beforeAll(async () => {
  await rm(generated, { recursive: true, force: true });
  await mkdir(generated, { recursive: true });
  const options = {
    extends: `${root}tsconfig.json`,
    compilerOptions: {
      isolatedDeclarations: false,
      declaration: false,
      verbatimModuleSyntax: false,
      rewriteRelativeImportExtensions: false,
    },
    include: [],
    files: examples.map(({ file }) => file),
  };
  await Bun.write(`${generated}tsconfig.json`, JSON.stringify(options));
  await Bun.write(`${generated}jobs.ts`, `export * from "${root}test/support/jobs.ts";\n`);
  for (const example of examples) await Bun.write(example.file, moduleOf(example));
});

afterAll(async () => {
  fixtures.stream.close();
  fixtures.listener.close();
  fixtures.runtime[Symbol.dispose]();
  await rm(generated, { recursive: true, force: true });
});

test("the documentation has examples, also of channels, locks and sockets", () => {
  expect(examples.length).toBeGreaterThan(70);
  for (const name of ["mpsc", "broadcast", "watch", "Mutex", "Barrier", "TcpListener", "Runtime"]) {
    expect(
      examples.some(({ code }) => code.includes(name)),
      name,
    ).toBe(true);
  }
});

test("every public name has a docstring, and every public function an example", async () => {
  const without: string[] = [];
  const publicNames = new Set([
    ...exported,
    ...exportedBySys,
    ...exportedByInspect,
    ...exportedBySim,
  ]);
  for (const path of new Glob("src/**/*.ts").scanSync(root)) {
    const text = await Bun.file(root + path).text();
    const documented = new Set<string>();
    const declarations =
      /(\/\*\*(?:(?!\*\/).)*\*\/\n)?export (?:abstract )?(class|function|const|interface|type) (\w+)/gs;
    for (const [, docstring = "", kind, name = ""] of text.matchAll(declarations)) {
      if (!publicNames.has(name)) continue;
      if (kind === "function" && documented.has(name)) continue; // an overload
      const isEnough = kind === "function" ? docstring.includes("@example") : docstring !== "";
      if (isEnough) documented.add(name);
      else without.push(`${path}: ${name}`);
    }
  }
  expect(without).toEqual([]);
});

test("every example compiles", async () => {
  expect(await run(["bun", "x", "tsc", "--noEmit", "-p", generated])).toEqual({
    code: 0,
    output: "",
  });
});

/** Parts of a program that need no Internet. A page's `fetch(` is in a function that no test calls. */
const isRunnable = (example: Example): boolean =>
  !isProgram(example) && (!example.name.startsWith("src/") || !example.code.includes("fetch("));
/** Examples that wait for a peer, or never end. The test aborts them once they wait. */
const isEndless = ({ code }: Example): boolean =>
  /for \(;;\)|for await \(.*(?:interval|listener|socket|of stream\b)|recvFrom/.test(code);

test.each(examples.filter(isRunnable))("$name runs", async (example) => {
  using _log = captureConsoleLog();
  // Use the addresses of the fixtures, and allow more time on a slow machine.
  const text = moduleOf(example)
    .replaceAll('bind("127.0.0.1:7000")', 'bind("127.0.0.1:0")')
    .replaceAll("127.0.0.1:7000", `127.0.0.1:${fixtures.port}`)
    .replaceAll("timeout(1000,", "timeout(60_000,");
  const file = example.file.replace(/\.ts$/, ".run.ts");
  await Bun.write(file, text);
  const { example: work } = await import(file);
  await using runtime = new guillotine.Runtime();
  await runtime.run(function* () {
    const task = guillotine.spawn(work);
    if (isEndless(example)) {
      for (let turn = 0; turn < 100; turn++) yield* guillotine.yieldNow();
      expect(task.isFinished).toBe(false);
      task.abort();
    }
    try {
      yield* task;
    } catch (error) {
      if (!isEndless(example) || !(error instanceof guillotine.AbortError)) throw error;
    }
  });
});

/** The signal that ends the program, and its number. */
function signalOf({ code }: Example): ["SIGINT" | "SIGTERM", number] | null {
  if (/signal\("SIGTERM"\)/.test(code)) return ["SIGTERM", 15];
  return /ctrlC\(\)/.test(code) ? ["SIGINT", 2] : null;
}

/** Sends the signal once the process has a handler for it: SigCgt in proc_pid_status(5). */
async function sendWhenHandled(program: Program, name: NodeJS.Signals, number: number) {
  let isOver = false;
  void program.exited.then(() => {
    isOver = true;
  });
  for (; !isOver; await Bun.sleep(10)) {
    const status = await Bun.file(`/proc/${program.pid}/status`).text();
    const mask = BigInt(`0x${/SigCgt:\s*(\w+)/.exec(status)?.[1] ?? "0"}`);
    if ((mask >> BigInt(number - 1)) % 2n === 0n) continue;
    process.kill(program.pid, name);
    return;
  }
}

test.each(examples.filter(isProgram))("$name runs to its end as a program", async (example) => {
  await using program = start(["bun", example.file]);
  const ending = signalOf(example);
  // If the program fails before it handles the signal, it has ended and has no status file.
  if (ending !== null) await sendWhenHandled(program, ...ending).catch(() => {});
  const code = await program.exited;
  expect({ code, output: program.output() }).toEqual({
    code: 0,
    output: example.output ?? expect.any(String),
  });
});

/** The anchors of a page's headings, as GitHub makes them. */
function anchorsOf(markdown: string): string[] {
  return [...markdown.matchAll(/^#+ (.+)$/gm)].map(([, heading = ""]) =>
    heading
      .toLowerCase()
      .replace(/[^\w\s-]/g, "")
      .replaceAll(" ", "-"),
  );
}

const shipped: readonly string[] = [...manifest.files, "README.md", "LICENSE", "package.json"];
const isShipped = (path: string): boolean =>
  shipped.some((file) => path === file || path.startsWith(`${file}/`));

test.each(pages)("%s links only to files and headings that its readers have", async (page) => {
  const text = await Bun.file(root + page).text();
  for (const [, link = ""] of text.matchAll(/\]\((?!https?:)([^)]+)\)/g)) {
    const { pathname, hash } = new URL(link, `file:///${page}`);
    const path = pathname.slice(1);
    expect(existsSync(root + path), `${page} links to ${link}`).toBe(true);
    expect(isShipped(path) || !isShipped(page), `${page} links to ${link}`).toBe(true);
    if (hash === "") continue;
    const anchors = anchorsOf(await Bun.file(root + path).text());
    expect(anchors, `${page} links to ${link}`).toContain(hash.slice(1));
  }
});

test("docs/design.md lists every file of every room, and no other", async () => {
  const text = await Bun.file(`${root}docs/design.md`).text();
  const listed: string[] = [];
  let room = "";
  for (const line of /```\nsrc\/\n(.*?)```/s.exec(text)?.[1]?.split("\n") ?? []) {
    const [, name] = /^ {2}([\w/]+)\/ /.exec(line) ?? [];
    if (name !== undefined) room = `${name}/`;
    else if (/^ {2}index\.ts/.test(line)) room = "";
    const [names = ""] = line.trim().split(/ {3}/);
    for (const [file] of names.matchAll(/[\w-]+\.ts/g)) listed.push(`${room}${file}`);
  }
  const all = [...new Glob("**/*.ts").scanSync(`${root}src`)].sort();
  expect(listed.sort()).toEqual(all);
});

test("the examples of JoinSet show every page", () => {
  expect(fixtures.shown).toEqual([{ text: "a" }, { text: "b" }, { text: "c" }]);
});
