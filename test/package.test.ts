// The packed tarball, installed into a strict project that also checks our declarations.

import { afterAll, expect, setDefaultTimeout, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Glob } from "bun";
import { root, run } from "./support/program.ts";

setDefaultTimeout(60_000); // the machine may be slow

const directory = mkdtempSync(join(tmpdir(), "guillotine-package-"));
afterAll(() => rmSync(directory, { recursive: true }));

async function inDirectory(path: string, ...command: string[]): Promise<string> {
  const { code, output } = await run(["sh", "-c", `cd "$0" && exec "$@"`, path, ...command]);
  expect(output + code).toEndWith("0");
  return output;
}

/** Packs a copy of the working tree, which prepack builds, and unpacks the tarball into a new project. */
const installed: Promise<{ project: string; files: string[] }> = (async () => {
  const copy = join(directory, "copy");
  mkdirSync(copy);
  const kept = ["src", "scripts", "docs", "bench", "package.json", "LICENSE"];
  const pages = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md"];
  for (const name of [...kept, ...pages, "tsconfig.json", "tsconfig.build.json"]) {
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

test("the package contains the build, the source and the docs, and nothing else", async () => {
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
  expect(files).toContain("./dist/sys/index.js");
  expect(files).toContain("./dist/sys/index.d.ts");
  expect(files).toContain("./dist/inspect/index.js");
  expect(files).toContain("./dist/inspect/index.d.ts");
  expect(files).toContain("./dist/sim/index.js");
  expect(files).toContain("./dist/sim/index.d.ts");
  const manifest = await Bun.file(`${root}package.json`).json();
  expect(manifest.dependencies).toBeUndefined();
  expect(manifest.peerDependencies).toBeUndefined();
});

/** Compiles `code` in a strict project that also checks our declarations, and runs it. Returns its output. */
async function runStrict(name: string, code: string): Promise<string> {
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
    JSON.stringify({ compilerOptions: options, files: [name] }),
  );
  await Bun.write(join(project, name), code);
  await inDirectory(project, join(root, "node_modules/.bin/tsc"), "-p", ".");
  return await inDirectory(project, "bun", name);
}

test("the simulation is a file of its own that shares the classes of the library", async () => {
  const code = `
import { sleep, SysError, TcpStream } from "bun-guillotine";
import { explore, simulate } from "bun-guillotine/sim";
const seen: unknown = simulate({ seed: 1 }, function* (world) {
  world.host("server", () => sleep(1e6));
  try {
    yield* TcpStream.connect("server:7000");
  } catch (error) {
    return error instanceof SysError && error.code;
  }
});
console.log(seen, explore({ runs: 2 }, () => sleep(1)).runs);
`;
  expect(await runStrict("sim.ts", code)).toBe("ECONNREFUSED 2\n");
});

test("a strict project that checks libraries compiles against the package, and runs", async () => {
  const code = `import { isSupported, join, Runtime, sleep, spawn, spawnBlocking, TcpListener, TcpStream } from "bun-guillotine";

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
// @ts-expect-error: the declarations leave out @internal members
void runtime.budget;
`;
  expect(await runStrict("main.ts", code)).toBe("true hello84\n");
});

const PLACES = `import { Runtime, sleep } from "bun-guillotine";
const runtime = new Runtime({ debug: true });
function* nap() {
  yield* sleep(1e6); // the stack
}
runtime.spawn(nap); // the spawn
runtime.blockOn(sleep(1));
const { spawnedAt, stack } = runtime.dumpJson().tasks[0]!;
console.log(spawnedAt, stack.length, stack[0]);
process.exit(0);
`;

test.each([
  ["the file itself", null, "places.ts:6:", "places.ts:4:"],
  ["a bundle", ["--sourcemap=none"], "places.js:", "places.js:"],
  ["a minified bundle", ["--sourcemap=none", "--minify"], "places.js:", "places.js:"],
  ["a bundle with a source map", ["--sourcemap=linked"], "places.ts:6:", "places.ts:4:"],
  [
    "a minified bundle with a source map",
    ["--sourcemap=inline", "--minify"],
    "places.ts:6:",
    "places.ts:4:",
  ],
])("debug mode and the dump show the user's places in %s", async (_, options, spawn, stack) => {
  const { project } = await installed;
  await Bun.write(join(project, "places.ts"), PLACES);
  let path = "places.ts";
  if (options !== null) {
    await inDirectory(
      project,
      ...["bun", "build", path, "--target", "bun", "--outdir", "bundled", ...options],
    );
    path = "bundled/places.js";
  }
  const output = await inDirectory(project, "bun", path);
  const bundle = await Bun.file(join(project, path)).text();
  const [spawnedAt = "", frames, where = ""] = output.split(/ (1) /);
  expect(frames).toBe("1");
  expect(spawnedAt).toContain(spawn);
  expect(where).toContain(stack);
  if (spawn !== "places.js:") return;
  /** What is at a place of the bundle. */
  const textAt = (place: string): string | undefined => {
    const [, line, column] = /:(\d+):(\d+)/.exec(place) ?? [];
    return bundle.split("\n")[Number(line) - 1]?.slice(Number(column) - 1, Number(column) + 20);
  };
  expect(textAt(spawnedAt)).toMatch(/^\([\w$]+\);/); // the arguments of `spawn`
  expect(textAt(where)).toContain("1e6");
});

const INSPECTED = `import { sleep, spawn } from "bun-guillotine";
import { inspect } from "bun-guillotine/inspect";
function* nap() {
  yield* sleep(1e6);
}
spawn(nap, { name: "napper" });
console.error = () => {};
const page = inspect();
const html = await (await fetch(page.url)).text();
const data = page.url.replace("/?", "/data?") + "&view=task&task=1";
for (;;) {
  const { content } = await (await fetch(data)).json();
  if (!content?.stack?.length) continue;
  console.log(content.task.name, content.stack.length, html.includes("<title>guillotine</title>"));
  break;
}
page.close();
process.exit(0);
`;

test.each([
  ["the file itself", null],
  ["a minified bundle", ["--target", "bun", "--minify"]],
  ["a minified executable", ["--compile", "--minify"]],
])("the console works in %s", async (_, options) => {
  const { project } = await installed;
  await Bun.write(join(project, "inspected.ts"), INSPECTED);
  let command = ["bun", "inspected.ts"];
  if (options !== null) {
    const isExecutable = options.includes("--compile");
    const target = isExecutable ? "./inspected" : "inspected.js";
    await inDirectory(project, "bun", "build", "inspected.ts", ...options, "--outfile", target);
    command = isExecutable ? [target] : ["bun", target];
  }
  expect(await inDirectory(project, ...command)).toBe("#1 napper 1 true\n");
});

test("a Sys that wraps libc injects faults into a runtime of the installed package", async () => {
  const code = `import { Runtime, spawn, SysError, TcpListener, TcpStream } from "bun-guillotine";
import { ECONNRESET, linux, type Sys, SysError as SameSysError } from "bun-guillotine/sys";

const flaky: Sys = { ...linux(), recv: () => -ECONNRESET };
using runtime = new Runtime({ sys: flaky });
runtime.blockOn(function* () {
  using listener = TcpListener.bind("127.0.0.1:0");
  const accepting = spawn(listener.accept());
  using stream = yield* TcpStream.connect(listener.localAddress);
  using _peer = yield* accepting;
  try {
    yield* stream.read(new Uint8Array(64));
  } catch (error) {
    if (error instanceof SameSysError) console.log(error.code, error.syscall, error instanceof SysError);
  }
});
`;
  expect(await runStrict("flaky.ts", code)).toBe("ECONNRESET recv true\n");
});

test("a Sys without a kernel fills events, addresses and datagrams of the installed package", async () => {
  const code = `import { Runtime, UdpSocket, type Sys } from "bun-guillotine";
import {
  type Datagrams, EAGAIN, EPOLLIN, type EpollEvents, type EpollWatcher, setDefaultSys, type SockaddrBuffer,
} from "bun-guillotine/sys";

/** A host with a UDP socket. Twelve datagrams arrive after the first wait: the first eight one by one, then a batch. */
class Toy {
  #events: (readonly [slot: number, generation: number])[] = [];
  #datagrams: string[] = [];
  epollCreate() { return 3; }
  epollAdd(_epoll: number, _fd: number, _events: number, slot: number, generation: number) {
    this.#events.push([slot, generation]);
    return 0;
  }
  epollModify() { return 0; }
  epollWait(_epoll: number, events: EpollEvents) {
    const [first] = this.#events.splice(0, 1);
    if (first === undefined) return 0;
    this.#datagrams = Array.from({ length: 12 }, (_, index) => "datagram " + index);
    events.set(0, EPOLLIN, first[0], first[1]);
    return 1;
  }
  getsockname(_fd: number, address: SockaddrBuffer) {
    address.encode({ hostname: "10.0.0.1", port: 53 });
    return 0;
  }
  recvmmsg(_fd: number, batch: Datagrams) {
    const texts = this.#datagrams.splice(0, batch.capacity);
    for (const [index, text] of texts.entries()) {
      batch.write(index, new TextEncoder().encode(text), { hostname: "10.0.0.2", port: 1000 + index });
    }
    return texts.length || -EAGAIN;
  }
  recvfrom(_fd: number, buffer: Uint8Array, _flags: number, from: SockaddrBuffer) {
    const text = this.#datagrams.shift();
    if (text === undefined) return -EAGAIN;
    from.encode({ hostname: "10.0.0.2", port: 1000 });
    return new TextEncoder().encodeInto(text, buffer).written;
  }
  watchEpoll(): EpollWatcher { throw new Error("guest mode is not simulated"); }
}

const toy = new Toy();
const names = ["epollCreate", "epollAdd", "epollModify", "epollWait", "getsockname", "recvmmsg", "recvfrom", "watchEpoll"] as const;
const calls = new Map<PropertyKey, unknown>(names.map((name) => [name, toy[name].bind(toy)]));
const sys = new Proxy({} as Sys, { get: (_, name) => calls.get(name) ?? (() => 0) });
setDefaultSys(sys);
using runtime = new Runtime();
runtime.blockOn(function* () {
  using socket = UdpSocket.bind("10.0.0.1:53");
  const buffer = new Uint8Array(64);
  for (let count = 0; count < 12; count++) {
    const { bytes, address } = yield* socket.recvFrom(buffer);
    const text = new TextDecoder().decode(buffer.subarray(0, bytes));
    if (count % 6 === 5) console.log(text, address.hostname, address.port);
  }
});
try { runtime.run(function* () {}); } catch (error) { console.log((error as Error).message); }
`;
  expect(await runStrict("toy.ts", code)).toBe(
    "datagram 5 10.0.0.2 1000\ndatagram 11 10.0.0.2 1003\nguest mode is not simulated\n",
  );
});

test("the lint recipe of the guide finds a forgotten `yield*` and `await`, and accepts spawn and every program of the docs", async () => {
  const { project } = await installed;
  const guide = await Bun.file(join(root, "docs/guide.md")).text();
  const recipe = /```json\n(\{[^`]*no-floating-promises[^`]*)```/.exec(guide)?.[1] ?? "";
  const folder = join(project, "lint");
  mkdirSync(folder);
  await Bun.write(join(folder, ".oxlintrc.json"), recipe);
  const types = ["bun-types"];
  const compilerOptions = { module: "NodeNext", target: "ESNext", types, strict: true };
  await Bun.write(join(folder, "tsconfig.json"), JSON.stringify({ compilerOptions }));
  await Bun.write(
    join(folder, "main.ts"),
    `import { type Coroutine, joinAll, Runtime, scope, sleep, spawn, type TcpStream } from "bun-guillotine";
export function* work(stream: TcpStream) {
  stream.writeAll("the star is missing");
  yield* sleep(1);
  spawn(() => sleep(1));
  using runtime = new Runtime();
  runtime.spawn(() => sleep(1));
  yield* scope(function* (s) {
    s.spawn(sleep(1));
  });
  spawn(sleep(1)).unref();
  spawn(sleep(1)).abortOnDrop();
}
export async function page() {
  joinAll([sleep(1), sleep(2)]);
  await sleep(1);
  await other();
}
function* other() {
  yield* sleep(1);
}
function* annotated(): Coroutine<void> {
  yield* sleep(1);
}
export function* callers() {
  annotated();
  yield* annotated();
  spawn(annotated());
}
`,
  );
  for (const page of ["README.md", ...new Glob("docs/*.md").scanSync(root)]) {
    const text = await Bun.file(join(root, page)).text();
    for (const { 1: code = "", index } of text.matchAll(/```ts\n(.*?)```/gs)) {
      if (!code.includes('from "bun-guillotine')) continue;
      const line = text.slice(0, index).split("\n").length;
      await Bun.write(join(folder, `${page}-${line}.ts`), code);
    }
  }
  const oxlint = join(root, "node_modules/.bin/oxlint");
  const command = [oxlint, "--type-aware", "--format=unix"];
  const { output } = await run(["sh", "-c", 'cd "$0" && exec "$@"', folder, ...command], {
    env: { OXLINT_TSGOLINT_PATH: join(root, "node_modules/.bin/tsgolint") },
  });
  const found = output
    .matchAll(/^(.*:\d+):\d+: .*(?:no-floating-promises|await-thenable|require-yield)/gm)
    .map(([, place = ""]) => place);
  const expected = ["main.ts:12", "main.ts:15", "main.ts:17", "main.ts:26", "main.ts:3"];
  expect([output, [...found].sort()]).toEqual([output, expected]);
});

const isNode = async (): Promise<boolean> =>
  (await run(["sh", "-c", "command -v node >/dev/null && node -p process.versions.bun"])).output ===
  "undefined\n";

test.skipIf(!(await isNode()))(
  "outside Bun, importing the package works, and using it throws an error that says why",
  async () => {
    const { project } = await installed;
    await Bun.write(
      join(project, "elsewhere.mjs"),
      `import { intoFuture, isSupported, Runtime, sleep, TcpListener } from "bun-guillotine";
console.log(isSupported);
const uses = [
  () => new Runtime(),
  () => TcpListener.bind("127.0.0.1:0"),
  () => sleep(1),
  () => intoFuture(Promise.resolve()),
];
for (const use of uses) {
  try { await use(); } catch (error) { console.log(error.code, error.message); }
}`,
    );
    const output = await inDirectory(project, "node", "elsewhere.mjs");
    const [supported, ...errors] = output.trim().split("\n");
    expect(supported).toBe("false");
    expect(errors).toHaveLength(4);
    for (const error of errors) {
      expect(error).toStartWith(
        "ERR_UNSUPPORTED_PLATFORM bun-guillotine needs Bun 1.4.5 or newer on Linux",
      );
      expect(error).toContain("this is not Bun");
    }
  },
);
