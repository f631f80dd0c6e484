// Where the library cannot run, importing it still works, and the first call throws an error that names the requirement.

import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { root, run } from "../support/program.ts";

setDefaultTimeout(60_000); // a slow machine must not fail the test

const report = `
  const codeOf = (use) => { try { use(); return "nothing was thrown"; } catch (e) { return e; } };
  const runtime = codeOf(() => new guillotine.Runtime());
  const listener = codeOf(() => guillotine.TcpListener.bind("127.0.0.1:0"));
  console.log(JSON.stringify({
    isSupported: guillotine.isSupported,
    codes: [runtime.code, listener.code],
    names: [runtime.name, runtime instanceof guillotine.UnsupportedPlatformError],
    message: String(runtime.message),
  }));
`;

interface Report {
  isSupported: boolean;
  codes: string[];
  names: unknown[];
  message: string;
}

async function reportOf(command: string[], env?: Record<string, string>): Promise<Report> {
  const { code, output } = await run(command, env === undefined ? {} : { env });
  expect({ code, output }).toEqual({ code: 0, output: expect.stringMatching(/^\{.*\}\n$/) });
  return JSON.parse(output) as Report;
}

const inBun = (before: string): string[] => [
  process.execPath,
  "-e",
  `${before}; const guillotine = await import(${JSON.stringify(join(root, "src/index.ts"))}); ${report}`,
];

function expectUnsupported(result: Report, reason: string): void {
  expect(result).toMatchObject({
    isSupported: false,
    codes: ["ERR_UNSUPPORTED_PLATFORM", "ERR_UNSUPPORTED_PLATFORM"],
    names: ["UnsupportedPlatformError", true],
  });
  expect(result.message).toContain("needs Bun 1.4.5 or newer on Linux");
  expect(result.message).toContain(reason);
}

test("isSupported is true on this machine", async () => {
  const result = await reportOf(inBun(""));
  expect(result).toMatchObject({ isSupported: true });
});

test("without the JIT, the first call throws an error that names the JIT", async () => {
  expectUnsupported(await reportOf(inBun(""), { BUN_JSC_useJIT: "0" }), "BUN_JSC_useJIT");
});

test.each([
  ["platform", "darwin", "this is darwin"],
  ["platform", "win32", "this is win32"],
  ["arch", "riscv64", "this is riscv64"],
])(
  "on another %s (%s), the first call throws an error that names it",
  async (property, value, reason) => {
    const change = `Object.defineProperty(process, "${property}", { value: "${value}" })`;
    expectUnsupported(await reportOf(inBun(change)), reason);
  },
);

test("on an older Bun, the first call throws an error that names its version; a newer Bun is supported", async () => {
  const versioned = (bun: string): string[] =>
    inBun(
      `Object.defineProperty(process, "versions", { value: { ...process.versions, bun: "${bun}" } })`,
    );
  for (const older of ["1.4.4", "1.3.99", "0.9.9"]) {
    expectUnsupported(await reportOf(versioned(older)), `this is Bun ${older}`);
  }
  for (const newer of ["1.4.5", "1.4.10", "1.5.0", "2.0.0-canary.1"]) {
    expect((await reportOf(versioned(newer))).isSupported).toBe(true);
  }
});

test("without libc, the first call throws an error that names the cause", async () => {
  const hide = `
    const real = process.getBuiltinModule.bind(process);
    process.getBuiltinModule = (id) => id === "bun:ffi"
      ? { ...real(id), dlopen() { throw new Error("no such library"); } } : real(id)`;
  const result = await reportOf(inBun(hide));
  // isSupported does not try to open libc.
  expect({ ...result, isSupported: false }).toMatchObject({
    codes: ["ERR_UNSUPPORTED_PLATFORM", "ERR_UNSUPPORTED_PLATFORM"],
  });
  expect(result.message).toContain("no such library");
});

const node = Bun.which("node");

test.skipIf(node === null)(
  "in Node, importing works, and the first call throws an error that says this is not Bun",
  async () => {
    const built = join(folder, "index.mjs");
    const result = await reportOf([
      node!,
      "--input-type=module",
      "-e",
      `const guillotine = await import(${JSON.stringify(built)}); ${report}`,
    ]);
    expectUnsupported(result, "this is not Bun");
  },
);

test.skipIf(node === null)("in Node before 20.16, importing works", async () => {
  const built = JSON.stringify(join(folder, "index.mjs"));
  const code = `delete process.getBuiltinModule; const guillotine = await import(${built}); ${report}`;
  const result = await reportOf([node!, "--input-type=module", "-e", code]);
  expect(result).toMatchObject({ isSupported: false, names: ["UnsupportedPlatformError", true] });
});

let folder = "";

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "guillotine-"));
  const { outputs, success } = await Bun.build({
    entrypoints: [join(root, "src/index.ts")],
    target: "node",
    format: "esm",
  });
  expect(success).toBe(true);
  await Bun.write(join(folder, "index.mjs"), await outputs[0]!.text());
});

afterAll(() => rmSync(folder, { recursive: true }));
