// The examples in docstrings, README.md and docs/ compile. Those in docstrings also run, if they need nothing but
// a loopback address.

import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { mkdir, rm } from "node:fs/promises";
import { Glob } from "bun";
import * as guillotine from "../src/index.ts";
import * as fixtures from "./support/docs-fixtures.ts";
import { captureConsoleLog } from "./support/output.ts";
import { root, run } from "./support/program.ts";

setDefaultTimeout(60_000); // the machine may be slow

/** In node_modules, which git and the linter ignore, and from where the compiler finds bun-types. */
const generated = `${root}node_modules/.docs-test-${process.pid}/`;

interface Example {
  /** File and line. */
  readonly name: string;
  readonly file: string;
  readonly code: string;
}

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
/** Constants such as EPOLLIN need no docstring: the man pages have them. */
const exportedBySys = (await exportsOf("src/sys/index.ts")).filter(
  (name) => !/^[A-Z\d_]+$/.test(name),
);

function exampleAt(path: string, text: string, offset: number, code: string): Example {
  const name = `${path}:${text.slice(0, offset).split("\n").length}`;
  return { name, file: `${generated}${name.replace(/[/:]/g, "_")}.ts`, code };
}

async function findExamples(): Promise<Example[]> {
  const found: Example[] = [];
  for (const path of [...new Glob("src/**/*.ts").scanSync(root)].sort()) {
    const text = await Bun.file(root + path).text();
    for (const match of text.matchAll(/@example\n((?:\s*\*(?!\/)(?! @).*\n)+)/g)) {
      const code = (match[1] ?? "").replace(/^\s*\* ?/gm, "");
      found.push(exampleAt(path, text, match.index, code));
    }
  }
  for (const path of ["README.md", ...new Glob("docs/*.md").scanSync(root)].sort()) {
    const text = await Bun.file(root + path).text();
    for (const match of text.matchAll(/```ts\n(.*?)```/gs)) {
      found.push(exampleAt(path, text, match.index, match[1] ?? ""));
    }
  }
  return found;
}

/** Wraps the example in a function, in a module that imports every name the example uses and does not declare. */
function moduleOf({ code }: Example): string {
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
  return `import { ${imported ?? missing(exported)} } from "../../src/index.ts";
import { ${importedFromSys} } from "../../src/sys/index.ts";
import { ${missing([...Object.keys(fixtures), "Page"])} } from "../../test/support/docs-fixtures.ts";
export ${kind} example() {
${body}}
`;
}

const examples = await findExamples();

beforeAll(async () => {
  await rm(generated, { recursive: true, force: true });
  await mkdir(generated, { recursive: true });
  const options = {
    extends: "../../tsconfig.json",
    compilerOptions: {
      isolatedDeclarations: false,
      declaration: false,
      verbatimModuleSyntax: false,
    },
    include: [],
    files: examples.map(({ file }) => file),
  };
  await Bun.write(`${generated}tsconfig.json`, JSON.stringify(options));
  await Bun.write(`${generated}jobs.ts`, `export * from "../../test/support/jobs.ts";\n`);
  for (const example of examples) await Bun.write(example.file, moduleOf(example));
});

afterAll(async () => {
  fixtures.stream.close();
  fixtures.listener.close();
  fixtures.runtime[Symbol.dispose]();
  await rm(generated, { recursive: true, force: true });
});

test("the docs have examples of every channel and lock", () => {
  expect(examples.length).toBeGreaterThan(30);
  for (const name of ["mpsc", "broadcast", "watch", "Mutex", "Barrier", "TcpListener", "Runtime"]) {
    expect(
      examples.some(({ code }) => code.includes(name)),
      name,
    ).toBe(true);
  }
});

test("every public name has a docstring, and every public function has an example", async () => {
  const without: string[] = [];
  for (const path of new Glob("src/**/*.ts").scanSync(root)) {
    const text = await Bun.file(root + path).text();
    const declarations =
      /(\/\*\*(?:(?!\*\/).)*\*\/\n)?export (?:abstract )?(class|function|const|interface|type) (\w+)/gs;
    for (const [, docstring = "", kind, name = ""] of text.matchAll(declarations)) {
      if (!exported.includes(name) && !exportedBySys.includes(name)) continue;
      const isEnough = kind === "function" ? docstring.includes("@example") : docstring !== "";
      if (!isEnough) without.push(`${path}: ${name}`);
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

/** Excludes those that start servers, and those in the docs, which are parts of programs. */
const isRunnable = ({ name, code }: Example): boolean =>
  name.startsWith("src/") && !code.includes("fetch(");
/** These wait for a peer or loop indefinitely, so the test aborts them once they wait. */
const isEndless = ({ code }: Example): boolean =>
  /for \(;;\)|for await \(.*interval|recvFrom/.test(code);

test.each(examples.filter(isRunnable))("$name runs", async (example) => {
  using _log = captureConsoleLog();
  // Replaces addresses with those of the fixtures, and short timeouts with one for a slow machine.
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

test("the examples had the effects that they show", () => {
  expect(fixtures.shown).toEqual([{ text: "a" }, { text: "b" }, { text: "c" }]);
});
