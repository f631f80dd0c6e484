// Writes docs/api.d.ts: every export of every package entry, with its signature and without docstrings.
// The report is committed, so a change to the public API shows in the diff of a pull request.
//
//     bun scripts/api-report.ts            writes the report
//     bun scripts/api-report.ts --check    fails with a diff when the committed report is stale
//
// The compiler emits the declarations; this file only rolls them up. It splits them by lines, because
// tsc starts each top-level statement in column 0 and indents or closes everything inside one. We use no
// tool for this: api-extractor brings its own TypeScript 5, which cannot read what TypeScript 7 accepts.

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, posix } from "node:path";

const root = join(import.meta.dir, "..");
const REPORT = "docs/api.d.ts";

/** A package entry: the name users import, and the declaration file behind it. */
export interface Entry {
  readonly name: string;
  readonly file: string;
}

/** A top-level name of one declaration file. Overloads and merged declarations count as one. */
interface Declaration {
  readonly name: string;
  readonly file: string;
  readonly texts: string[];
}

/** What a name in a file stands for: a declaration, an import from a file, or one from a package. */
type Meaning =
  | Declaration
  | { readonly from: string; readonly original: string }
  | { readonly importLine: string };

type LookUp = (file: string, name: string) => Declaration | { readonly importLine: string } | null;

interface Module {
  readonly scope: Map<string, Meaning>;
  readonly exports: Map<string, Declaration>;
}

const DECLARATION =
  /^(export )?(?:declare )?((?:abstract )?class|function|interface|type|const|let|namespace|enum) ([\w$]+)/;
/** Identifiers that can refer to a declaration. A member's own name does not: `a:`, `a?:`, `a(`, `.a`. */
const REFERENCE = /(?<![\w$.#"'])[A-Za-z_$][\w$]*(?![\w$]|\??:|\??\(|["'])/g;

/** Rolls up declaration files. `read` returns the text of one, by its path from the output folder. */
export function rollUp(entries: readonly Entry[], read: (file: string) => string): string {
  const modules = new Map<string, Module>();

  const load = (file: string): Module => {
    const known = modules.get(file);
    if (known !== undefined) return known;
    const module: Module = { scope: new Map(), exports: new Map() };
    modules.set(file, module);
    for (const statement of statementsOf(read(file))) addStatement(module, file, statement);
    return module;
  };

  const exportOf = (file: string, name: string): Declaration => {
    const found = load(file).exports.get(name);
    if (found === undefined) throw new Error(`api-report: ${file} does not export ${name}`);
    return found;
  };

  const lookUp: LookUp = (file, name) => {
    const meaning = load(file).scope.get(name);
    if (meaning === undefined) return null;
    return "from" in meaning ? exportOf(meaning.from, meaning.original) : meaning;
  };

  const addStatement = (module: Module, file: string, statement: string): void => {
    if (statement === "export {};") return;
    const [, isExported, , name] = DECLARATION.exec(statement) ?? [];
    if (name !== undefined) {
      let found = module.scope.get(name) as Declaration | undefined;
      if (found === undefined) {
        found = { name, file, texts: [] };
        module.scope.set(name, found);
      }
      found.texts.push(statement);
      if (isExported !== undefined) module.exports.set(name, found);
      return;
    }
    const clause = /^(import|export) (?:type )?\{([^}]*)\}(?: from "([^"]+)")?;$/.exec(statement);
    if (clause === null) {
      throw new Error(`api-report: cannot read this statement of ${file}:\n${statement}`);
    }
    const [, verb, names = "", from] = clause;
    const target = from?.startsWith(".")
      ? posix.join(posix.dirname(file), from).replace(/\.ts$/, ".d.ts")
      : null;
    for (const item of names.split(",")) {
      const [original, local = original] = item
        .trim()
        .replace(/^type /, "")
        .split(" as ");
      if (original === undefined || local === undefined || original === "") continue;
      if (verb === "import") {
        // Not followed yet: declaration files may import each other in circles.
        const meaning = target === null ? { importLine: statement } : { from: target, original };
        module.scope.set(local, meaning);
      } else {
        const found = target === null ? lookUp(file, original) : exportOf(target, original);
        if (found === null || "importLine" in found) {
          throw new Error(`api-report: ${file} exports ${original}, which no file declares`);
        }
        module.exports.set(local, found);
      }
    }
  };

  /** The first entry that exports a declaration prints it; the other entries refer to the first. */
  const owners = new Map<Declaration, { entry: Entry; name: string }>();
  for (const entry of entries) {
    for (const [name, declaration] of load(entry.file).exports) {
      if (!owners.has(declaration)) owners.set(declaration, { entry, name });
    }
  }
  return entries
    .map((entry) => section(entry, load(entry.file).exports, lookUp, owners))
    .join("\n");
}

function section(
  entry: Entry,
  exported: ReadonlyMap<string, Declaration>,
  lookUp: LookUp,
  owners: ReadonlyMap<Declaration, { entry: Entry; name: string }>,
): string {
  const head = new Set<string>();
  const printed = new Map<Declaration, string>();
  const used = new Set<string>();

  const nameIn = (declaration: Declaration): string => {
    const known = printed.get(declaration);
    if (known !== undefined) return known;
    const owner = owners.get(declaration);
    let name = owner?.name ?? declaration.name;
    for (let count = 2; used.has(name); count++) name = `${declaration.name}_${count}`;
    used.add(name);
    printed.set(declaration, name);
    if (owner !== undefined && owner.entry !== entry) {
      head.add(`import { ${renamed(owner.name, name)} } from "${owner.entry.name}";`);
    }
    return name;
  };

  const bases = new Set<Declaration>();
  const textsOf = (declaration: Declaration): string[] =>
    declaration.texts.map((text) => {
      if (kindOf(text) === "class") {
        const [, base] = /^ extends ([\w$]+)/.exec(bare(text).slice(classHead(text).length)) ?? [];
        const meaning = base === undefined ? null : lookUp(declaration.file, base);
        if (meaning !== null && !("importLine" in meaning)) bases.add(meaning);
      }
      return bare(text).replace(REFERENCE, (word) => {
        const meaning = lookUp(declaration.file, word);
        if (meaning === null) return word;
        if (!("importLine" in meaning)) return nameIn(meaning);
        head.add(meaning.importLine);
        return word;
      });
    });

  const exports = [...exported].sort(byName);
  for (const [name, declaration] of exports) {
    const owner = owners.get(declaration);
    if (owner?.entry === entry && owner.name === name) nameIn(declaration);
  }
  const lines: string[] = [];
  for (const [name, declaration] of exports) {
    const owner = owners.get(declaration);
    if (owner === undefined) continue;
    if (owner.entry !== entry) {
      head.add(`export { ${renamed(owner.name, name)} } from "${owner.entry.name}";`);
    } else if (owner.name !== name) {
      lines.push(`export { ${owner.name} as ${name} };`);
    } else {
      for (const text of textsOf(declaration)) lines.push(`export ${text}`);
    }
  }

  // Types that signatures refer to and no entry exports. Printing one may reach more of them. The members of
  // a class that is not exported are not part of the API, unless an exported class inherits them.
  const hidden = new Map<Declaration, string>();
  for (let isComplete = false; !isComplete; ) {
    isComplete = true;
    for (const declaration of [...printed.keys()]) {
      if (owners.has(declaration) || hidden.has(declaration)) continue;
      const [text = ""] = declaration.texts;
      const isOpaque = kindOf(text) === "class" && !bases.has(declaration);
      hidden.set(
        declaration,
        isOpaque
          ? `${classHead(text).replace(declaration.name, nameIn(declaration))} { /* internal */ }`
          : textsOf(declaration).join("\n"),
      );
      isComplete = false;
    }
  }
  if (hidden.size > 0) {
    lines.push("// Not exported, but part of the signatures above.");
    const texts = [...hidden].map(([declaration, text]): [string, string] => [
      nameIn(declaration),
      text,
    ]);
    for (const [, text] of texts.sort(byName)) lines.push(text);
    lines.push("export {};");
  }

  const body = [...[...head].sort(), ...lines].join("\n");
  const indented = body.replace(/^( *)(?=\S)/gm, (_, spaces: string) => {
    return " ".repeat(2 + spaces.length / 2);
  });
  return `declare module "${entry.name}" {\n${indented}\n}\n`;
}

/** A statement without `export` and `declare`. */
function bare(statement: string): string {
  return statement.replace(/^export /, "").replace(/^declare /, "");
}

function kindOf(statement: string): string | undefined {
  return DECLARATION.exec(statement)?.[2]?.replace("abstract ", "");
}

/** `abstract class Name<T extends Base<T>>`, without what the class extends and its body. */
function classHead(statement: string): string {
  const text = bare(statement);
  const name = /^(?:abstract )?class [\w$]+/.exec(text)?.[0] ?? "";
  if (text[name.length] !== "<") return name;
  let depth = 0;
  for (let at = name.length; at < text.length; at++) {
    if (text[at] === "<") depth++;
    if (text[at] === ">" && text[at - 1] !== "=" && --depth === 0) return text.slice(0, at + 1);
  }
  return name;
}

function renamed(original: string, local: string): string {
  return original === local ? original : `${original} as ${local}`;
}

function byName([a]: readonly [string, unknown], [b]: readonly [string, unknown]): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function statementsOf(text: string): string[] {
  return text
    .trim()
    .split(/\n(?=[^\s})])/)
    .filter((statement) => statement !== "");
}

/** The entries of package.json that declare types. */
export function entriesOf(manifest: { name: string; exports: Record<string, unknown> }): Entry[] {
  return Object.entries(manifest.exports).flatMap(([path, target]) => {
    const types = typesOf(target);
    if (types === null) return [];
    return [{ name: posix.join(manifest.name, path), file: types.replace(/^\.\/dist\//, "") }];
  });
}

function typesOf(target: unknown): string | null {
  if (typeof target !== "object" || target === null) return null;
  if ("types" in target && typeof target.types === "string") return target.types;
  for (const condition of Object.values(target)) {
    const found = typesOf(condition);
    if (found !== null) return found;
  }
  return null;
}

/** Compiles the declarations of `src/` and returns the report. */
async function report(): Promise<string> {
  const out = await mkdtemp(join(tmpdir(), "guillotine-api-"));
  try {
    const flags = ["--outDir", out, "--declarationMap", "false", "--removeComments"];
    const tsc = Bun.spawnSync(["bun", "x", "tsc", "-p", "tsconfig.build.json", ...flags], {
      cwd: root,
    });
    if (tsc.exitCode !== 0) throw new Error(`api-report: tsc failed:\n${tsc.stdout}${tsc.stderr}`);
    const texts = new Map<string, string>();
    for (const file of new Bun.Glob("**/*.d.ts").scanSync(out)) {
      texts.set(file, await Bun.file(join(out, file)).text());
    }
    const entries = entriesOf(await Bun.file(join(root, "package.json")).json());
    const rolledUp = rollUp(entries, (file) => {
      const text = texts.get(file);
      if (text === undefined) throw new Error(`api-report: tsc emitted no ${file}`);
      return text;
    });
    const head = "// The public API, generated by `bun run api`. Do not edit.\n\n";
    return head + rolledUp;
  } finally {
    await rm(out, { recursive: true, force: true });
  }
}

if (import.meta.main) {
  const text = await report();
  if (!process.argv.includes("--check")) {
    await Bun.write(join(root, REPORT), text);
  } else {
    const diff = Bun.spawnSync(["diff", "-u", "--label", REPORT, "--label", "src", REPORT, "-"], {
      cwd: root,
      stdin: Buffer.from(text),
    });
    if (diff.exitCode !== 0) {
      console.error(`${REPORT} is stale: run \`bun run api\`, and commit the result.`);
      console.error(`${diff.stdout}${diff.stderr}`);
      process.exit(1);
    }
  }
}
