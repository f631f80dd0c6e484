// The types that TypeScript infers. `tsc --noEmit` checks them. At run time the test checks only some of the values.
// Programs that must not compile are in test/types/wrong.ts.

import { expect, setDefaultTimeout, test } from "bun:test";
import { rmSync } from "node:fs";
import {
  allSettled,
  BufReader,
  type Coroutine,
  deadline,
  type Future,
  forEach,
  frames,
  fromPromise,
  hedge,
  intoFuture,
  type JoinHandle,
  JoinSet,
  join,
  joinAll,
  type Lazy,
  lazy,
  lengthDelimited,
  map,
  type Next,
  orUndefined,
  Runtime,
  race,
  retry,
  scope,
  select,
  serve,
  shared,
  shield,
  singleFlight,
  sleep,
  spawn,
  spawnBlocking,
  type TcpListener,
  type TcpStream,
  timeout,
  withSignal,
} from "../src/index.ts";
import { root, run } from "./support/program.ts";

setDefaultTimeout(60_000); // the machine may be slow

type Equal<A, B> =
  (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
/** Fails to compile unless its type argument is `true`. */
function is<_ extends true>(): void {}

declare const stream: TcpStream;
declare const listener: TcpListener;
declare function await_<T>(promise: Promise<T>): T;

function* unannotated(text: string) {
  yield* sleep(0);
  return text.length;
}

test("the inferred types match the values at run time", () => {
  using runtime = new Runtime();
  // Never runs: it only compiles.
  const typeChecks = function* () {
    const tuple = yield* join(sleep(1), unannotated("x"), async () => true, Promise.resolve("s"));
    // biome-ignore lint/suspicious/noConfusingVoidType: a sleep returns void
    is<Equal<typeof tuple, [void, number, boolean, string]>>();
    const all = yield* joinAll([unannotated("a"), unannotated("b")]);
    is<Equal<typeof all, number[]>>();
    const first = yield* race(unannotated("x"), async () => "s");
    is<Equal<typeof first, number | string>>();
    const selected = yield* select({ count: unannotated("x"), stop: async () => true });
    if (selected.key === "count") is<Equal<typeof selected.value, number>>();
    else is<Equal<typeof selected.value, boolean>>();
    const joined = yield* join([unannotated("x"), async () => "s"]);
    is<Equal<typeof joined, [number, string]>>();
    const joinedSet = yield* join(new Set([unannotated("x")]));
    is<Equal<typeof joinedSet, number[]>>();
    const raced = yield* race([unannotated("x"), async () => "s"]);
    is<Equal<typeof raced, number | string>>();
    const fromMap = yield* select(new Map([[1, unannotated("x")]]));
    is<Equal<typeof fromMap, { readonly key: number; readonly value: number }>>();
    const caughtValue = await_(intoFuture(unannotated("x")).catch(() => null));
    is<Equal<typeof caughtValue, number | null>>();
    const mapped = yield* map([1, 2], (n, index) => unannotated(`${n + index}`));
    is<Equal<typeof mapped, number[]>>();
    const mappedAsync = yield* map(new Set(["a"]), async (text) => text === "a");
    is<Equal<typeof mappedAsync, boolean[]>>();
    const retried = yield* retry(async (attempt) => attempt);
    is<Equal<typeof retried, number>>();
    const hedged = yield* hedge(() => unannotated("x"), { afterMs: 1 });
    is<Equal<typeof hedged, number>>();
    const hedgedGenerator = yield* hedge(
      function* (attempt) {
        yield* sleep(0);
        return attempt;
      },
      { afterMs: 1 },
    );
    is<Equal<typeof hedgedGenerator, number>>();
    const settled = yield* allSettled(unannotated("x"), async () => true);
    is<Equal<typeof settled, [PromiseSettledResult<number>, PromiseSettledResult<boolean>]>>();
    const perhaps = yield* orUndefined(1, unannotated("x"));
    is<Equal<typeof perhaps, number | undefined>>();
    // @ts-expect-error: a coroutine runs once
    yield* retry(unannotated("x"));
    // @ts-expect-error: no item is a string
    yield* map([1], (text: string) => unannotated(text));
    const timed = yield* timeout(1, () => unannotated("x"));
    is<Equal<typeof timed, number>>();
    const scoped = yield* scope(function* (s) {
      const handle = s.spawn(unannotated("x"));
      is<Equal<typeof handle, JoinHandle<number>>>();
      return yield* handle;
    });
    is<Equal<typeof scoped, number>>();
    const guarded = yield* withSignal(AbortSignal.abort(), shield(unannotated("x")));
    is<Equal<typeof guarded, number>>();
    const next = yield* new JoinSet<string>().joinNext();
    is<Equal<typeof next, Next<string>>>();
    const read = yield* stream.read(new Uint8Array(1));
    is<Equal<typeof read, number>>();
    const job = spawnBlocking((a: number, b: string) => [a, b] as const, 1, "b");
    is<Equal<typeof job, JoinHandle<readonly [number, string]>>>();
    const byModule = spawnBlocking<number>("./jobs.ts", "sum", [1, 2]);
    is<Equal<typeof byModule, JoinHandle<number>>>();
    const awaited = spawn(() => unannotated("x"));
    is<Equal<typeof awaited, JoinHandle<number>>>();
    const limited = yield* deadline(new Date(), unannotated("x"));
    is<Equal<typeof limited, number>>();
    const connect = lazy(async () => stream, { ttlMs: 1 });
    is<Equal<typeof connect, Lazy<TcpStream>>>();
    const one = yield* shared(unannotated("x"));
    is<Equal<typeof one, number>>();
    const flight = singleFlight<string, number>();
    const flown = yield* flight("key", () => unannotated("x"));
    is<Equal<typeof flown, number>>();
    const response = yield* fromPromise((signal) => fetch("", { signal }));
    is<Equal<typeof response, Response>>();
    const settledPromise = yield* fromPromise(Promise.resolve("x"), { waitForSettled: true });
    is<Equal<typeof settledPromise, string>>();
    const reader = new BufReader(stream);
    const line = yield* reader.readLine();
    is<Equal<typeof line, string | null>>();
    const exactly = yield* reader.readExact(4);
    is<Equal<typeof exactly, Uint8Array>>();
    const frame = yield* frames(reader, (bytes) => ({ value: bytes.length, consumed: 1 })).next();
    is<Equal<typeof frame, number | null>>();
    const item = yield* lengthDelimited(reader).next();
    is<Equal<typeof item, Uint8Array | null>>();
    const served = yield* serve(listener, (connection) => {
      is<Equal<typeof connection, TcpStream>>();
      return connection.writeAll("hello");
    });
    is<Equal<typeof served, void>>();
    yield* serve(listener, async (connection) => connection.close(), {
      onError: (_, connection) => is<Equal<typeof connection, TcpStream>>(),
    });
    const wide = yield* map([1, "a"], async (value: string | number | boolean) => `${value}`);
    is<Equal<typeof wide, string[]>>();
    const none = yield* map([], async (text: string) => text);
    is<Equal<typeof none, string[]>>();
    yield* forEach(
      (async function* () {
        yield 1;
      })(),
      async (n) => is<Equal<typeof n, number>>(),
    );
  };
  is<Equal<ReturnType<typeof intoFuture<number>>, Future<number>>>();
  const values = [
    runtime.blockOn(unannotated("four")),
    runtime.blockOn(() => unannotated("four")),
    runtime.blockOn(intoFuture(unannotated("four"))),
    runtime.blockOn(async () => 4),
    runtime.blockOn(() => intoFuture(unannotated("four"))),
    runtime.blockOn(() => Promise.resolve(4)),
    runtime.blockOn(Promise.resolve(4)),
    runtime.blockOn(runtime.spawn(async () => 4)),
  ];
  is<Equal<typeof values, number[]>>();
  expect(values).toEqual(values.map(() => 4));
  expect(typeChecks).toBeFunction();

  const misused = function* () {
    yield sleep(1);
  };
  // @ts-expect-error: `yield` instead of `yield*`
  expect(() => runtime.blockOn(misused)).toThrow("yield* future");
  const coroutine: Coroutine<number> = unannotated("x");
  expect(runtime.blockOn(coroutine)).toBe(1);
});

/** The directives of test/types/wrong.ts: the line of the wrong code, and a part of the message that it must cause. */
function directivesOf(text: string): [line: number, message: string][] {
  return text.split("\n").flatMap((code, index): [number, string][] => {
    const [, message] = /^ *\/\/ @ts-expect-error (.*)$/.exec(code) ?? [];
    return message === undefined ? [] : [[index + 2, message]];
  });
}

test("the compiler rejects each wrong program with the message that its comment quotes", async () => {
  const text = await Bun.file(`${root}test/types/wrong.ts`).text();
  const directives = directivesOf(text);
  expect(directives.length).toBeGreaterThan(60);
  const folder = `${root}node_modules/.types-test-${process.pid}/`; // as deep as test/types/, and ignored by git
  try {
    await Bun.write(`${folder}wrong.ts`, text.replaceAll("@ts-expect-error", ""));
    const options = { extends: `${root}tsconfig.json`, include: [], files: ["wrong.ts"] };
    await Bun.write(`${folder}tsconfig.json`, JSON.stringify(options));
    const { output } = await run([
      "bun",
      "x",
      "tsc",
      "--noEmit",
      "--pretty",
      "false",
      "-p",
      folder,
    ]);
    const errors = output
      .split(/^(?=\S*wrong\.ts\(\d+,\d+\): error)/m)
      .map((error): [number, string] => [Number(/\((\d+),/.exec(error)?.[1]), error]);
    for (const [line, message] of directives) {
      const error = errors.find(([at]) => at === line);
      expect(error?.[1], `line ${line} of wrong.ts`).toContain(message);
    }
    expect(errors.map(([line]) => line)).toEqual(directives.map(([line]) => line));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
