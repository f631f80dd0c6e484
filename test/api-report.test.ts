// The report of the public API, from declarations as tsc emits them.

import { expect, test } from "bun:test";
import { entriesOf, rollUp } from "../scripts/api-report.ts";

const main = { name: "pkg", file: "index.d.ts" };
const report = (files: Record<string, string>, entries = [main]): string =>
  rollUp(entries, (file) => files[file] ?? "");

test("an entry is a section that lists its exports by name, with their signatures", () => {
  const files = {
    "index.d.ts": `export { b } from "./room/b.ts";\nexport { type A } from "./room/a.ts";\n`,
    "room/a.d.ts": "export interface A {\n    readonly size: number;\n}\nexport type Unused = 1;\n",
    "room/b.d.ts": `import { type A } from "./a.ts";
export declare function b(a: A): void;
export declare function b(): A;
`,
  };
  expect(report(files)).toBe(`declare module "pkg" {
  export interface A {
    readonly size: number;
  }
  export function b(a: A): void;
  export function b(): A;
}
`);
});

test("a type that is not exported is printed when a signature needs it, an internal class by its name only", () => {
  const files = {
    "index.d.ts": `export { Public } from "./public.ts";\n`,
    "public.d.ts": `import type { Options } from "./options.ts";
import { Base } from "./base.ts";
import { Hidden } from "./hidden.ts";
export declare class Public<T extends Map<T, T>> extends Base<T> {
    constructor(hidden: Hidden<T>, options?: Options);
}
`,
    "base.d.ts": "export declare abstract class Base<T> {\n    inherited: T;\n}\n",
    // The two files import each other, as declarations may.
    "options.d.ts": `import type { Public } from "./public.ts";
export interface Options {
    readonly of?: Public<never>;
}
`,
    "hidden.d.ts": "export declare class Hidden<T> implements Disposable {\n    secret: T;\n}\n",
  };
  expect(report(files)).toBe(`declare module "pkg" {
  export class Public<T extends Map<T, T>> extends Base<T> {
    constructor(hidden: Hidden<T>, options?: Options);
  }
  // Not exported, but part of the signatures above.
  abstract class Base<T> {
    inherited: T;
  }
  class Hidden<T> { /* internal */ }
  interface Options {
    readonly of?: Public<never>;
  }
  export {};
}
`);
});

test("two internal types with one name get two names", () => {
  const channel = "declare class Channel {\n}\n";
  const files = {
    "index.d.ts": `export { a } from "./a.ts";\nexport { b } from "./b.ts";\n`,
    "a.d.ts": `${channel}export declare function a(): Channel;\nexport {};\n`,
    "b.d.ts": `${channel}export declare function b(): Channel;\nexport {};\n`,
  };
  expect(report(files)).toBe(`declare module "pkg" {
  export function a(): Channel;
  export function b(): Channel_2;
  // Not exported, but part of the signatures above.
  class Channel { /* internal */ }
  class Channel_2 { /* internal */ }
  export {};
}
`);
});

test("a second entry refers to what the first one exports", () => {
  const files = {
    "index.d.ts": `export type { Sys } from "./sys.ts";\n`,
    "sys.d.ts": `import type { constants } from "node:os";
export interface Sys {
    close(fd: number): number;
}
export declare function linux(of: typeof constants): Sys;
`,
    "entry.d.ts": `export { linux, type Sys } from "./sys.ts";\n`,
  };
  const second = { name: "pkg/sys", file: "entry.d.ts" };
  expect(report(files, [main, second])).toBe(`declare module "pkg" {
  export interface Sys {
    close(fd: number): number;
  }
}

declare module "pkg/sys" {
  export { Sys } from "pkg";
  import type { constants } from "node:os";
  import { Sys } from "pkg";
  export function linux(of: typeof constants): Sys;
}
`);
});

test("a statement that the report cannot read is an error that shows it", () => {
  expect(() => report({ "index.d.ts": `export * from "./a.ts";\n` })).toThrow(
    'api-report: cannot read this statement of index.d.ts:\nexport * from "./a.ts";',
  );
});

test("the entries are those of package.json that have types", () => {
  const exports = {
    ".": { types: "./dist/index.d.ts", default: "./dist/index.js" },
    "./sys": { bun: { types: "./dist/sys/index.d.ts", default: "./dist/sys/index.js" } },
    "./package.json": "./package.json",
  };
  expect(entriesOf({ name: "pkg", exports })).toEqual([
    { name: "pkg", file: "index.d.ts" },
    { name: "pkg/sys", file: "sys/index.d.ts" },
  ]);
});

test("no exported type mentions a type that is not exported", async () => {
  const text = await Bun.file(new URL("../docs/api.d.ts", import.meta.url)).text();
  expect(/ *\/\/ Not exported.*?export \{\};/s.exec(text)?.[0]).toBeUndefined();
});
