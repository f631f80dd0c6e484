// The types that TypeScript infers. `tsc --noEmit` checks them. At run time the test checks only some of the values.

import { expect, test } from "bun:test";
import {
  allSettled,
  type Coroutine,
  type Future,
  hedge,
  intoFuture,
  type JoinHandle,
  JoinSet,
  join,
  joinAll,
  map,
  type Next,
  orUndefined,
  Runtime,
  race,
  retry,
  scope,
  select,
  shield,
  sleep,
  spawn,
  spawnBlocking,
  type TcpStream,
  timeout,
  withSignal,
} from "../src/index.ts";

type Equal<A, B> =
  (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
/** Fails to compile unless its type argument is `true`. */
function is<_ extends true>(): void {}

declare const stream: TcpStream;
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
    const awaited = spawn(() => unannotated("x"));
    is<Equal<typeof awaited, JoinHandle<number>>>();
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
