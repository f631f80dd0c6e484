// Programs that must not compile. Each directive quotes a part of the compiler's message, which says what is wrong and
// what is right: test/types.test.ts compares the two. Nothing runs this file.

import {
  BufReader,
  type Coroutine,
  type Decode,
  deadline,
  forEach,
  frames,
  frameWriter,
  fromPromise,
  hedge,
  join,
  joinAll,
  lazy,
  Mutex,
  map,
  mpsc,
  orUndefined,
  type Runtime,
  race,
  retry,
  scope,
  select,
  serve,
  shared,
  sleep,
  spawn,
  spawnBlocking,
  type TcpListener,
  type TcpStream,
  timeout,
  withSignal,
} from "../../src/index.ts";

declare const runtime: Runtime;
declare const listener: TcpListener;
declare const stream: TcpStream;
declare const reader: BufReader;
declare const controller: AbortController;

function* count(): Coroutine<number> {
  yield* sleep(1);
  return 1;
}
const ask = async (): Promise<string> => "answer";

/** What is not work. */
export function notWork(): void {
  // @ts-expect-error 'number' is not assignable to parameter of type 'IntoFuture<unknown>'
  spawn(5);
  // @ts-expect-error Type 'number' is not assignable to type 'Coroutine<unknown> | Future<unknown> | PromiseLike<unknown>'
  spawn(() => 5);
  // @ts-expect-error 'undefined' is not assignable to parameter of type 'IntoFuture<unknown>'
  runtime.blockOn(undefined);
  // @ts-expect-error 'number' is not assignable to parameter of type 'IntoFuture<unknown>'
  join(count(), 2);
  // @ts-expect-error 'number' is not assignable to type 'IntoFuture<unknown>'
  race([1, 2]);
  // @ts-expect-error 'string' is not assignable to type 'IntoFuture<unknown>'
  select({ answer: ask, text: "text" });
  // @ts-expect-error 'AsyncGenerator<number, void, unknown>' is not assignable to type 'Coroutine<unknown> | Future<unknown> | PromiseLike<unknown>'
  spawn(async function* () {
    yield 1;
  });
  const withoutStar = function* () {
    yield sleep(1);
  };
  // @ts-expect-error Type 'Future<void>' is not assignable to type 'symbol'
  spawn(withoutStar);
}

/** A wait that is forgotten: the value is not there yet. */
export async function forgotten(): Promise<void> {
  // @ts-expect-error 'Coroutine<number>' is not assignable to type 'number'
  const number: number = count();
  // @ts-expect-error Type of 'await' operand must either be a valid promise or must not contain a callable 'then' member.
  const awaited: number = await count();
  // @ts-expect-error 'Future<string | null>' is not assignable to type 'string'
  const line: string | null = reader.readLine();
  // @ts-expect-error Property 'length' does not exist on type 'Future<Uint8Array<ArrayBufferLike>>'
  const { length } = reader.readExact(5);
  // @ts-expect-error 'JoinHandle<number>' is not assignable to type 'number'
  const task: number = spawn(count);
  void [number, awaited, line, length, task];
}

/** Arguments in the wrong order, or of the wrong kind. */
export function arguments_(): void {
  // @ts-expect-error '() => Promise<string>' is not assignable to parameter of type 'number'
  timeout(ask, 1000);
  // @ts-expect-error 'string' is not assignable to parameter of type 'number'
  timeout("1 s", ask);
  // @ts-expect-error '() => Promise<string>' is not assignable to parameter of type 'number'
  orUndefined(ask, 1000);
  // @ts-expect-error 'string' is not assignable to parameter of type 'number | Date'
  deadline("tomorrow", ask);
  // @ts-expect-error 'AbortController' is missing the following properties from type 'AbortSignal'
  withSignal(controller, ask);
  // @ts-expect-error 'nam' does not exist in type 'SpawnOptions'. Did you mean to write 'name'?
  spawn(count, { nam: "counter" });
  // @ts-expect-error Expected 1-2 arguments, but got 0
  new Mutex();
  // @ts-expect-error 'string' is not assignable to parameter of type 'number'
  mpsc<number>(1).sender.send("text");
  // @ts-expect-error 'string' is not assignable to parameter of type 'number'
  spawnBlocking((n: number) => n + 1, "1");
  // @ts-expect-error Property 'readline' does not exist on type 'BufReader'. Did you mean 'readLine'?
  reader.readline();
}

/** Work that must run more than once is a function. */
export function repeated(): void {
  // @ts-expect-error Type 'Promise<string>' provides no match for the signature '(attempt: number)
  retry(ask());
  // @ts-expect-error Type 'Coroutine<number>' provides no match for the signature '(attempt: number)
  retry(count());
  // @ts-expect-error Type 'Future<void>' provides no match for the signature '(attempt: number)
  hedge(sleep(1), { afterMs: 10 });
  // @ts-expect-error Property 'afterMs' is missing in type '{}' but required in type 'HedgeOptions'
  hedge(ask, {});
  // @ts-expect-error Type 'Promise<string>' provides no match for the signature '(): Coroutine<unknown>
  lazy(ask());
  // @ts-expect-error Target signature provides too few arguments. Expected 1 or more, but got 0
  lazy(async (url: string) => url);
  // @ts-expect-error 'backoff' does not exist in type 'RetryOptions'. Did you mean to write 'backoffMs'?
  retry(ask, { backoff: 100 });
}

/** A `map` with the wrong items, or the wrong work. */
export function maps(): void {
  // @ts-expect-error Type 'number' is not assignable to type 'string'
  map([1, 2], async (text: string) => text);
  // @ts-expect-error Type 'number' is not assignable to type 'Coroutine<unknown> | Future<unknown> | PromiseLike<unknown>'
  map([1, 2], (n) => n * 2);
  // @ts-expect-error 'number' is not assignable to parameter of type 'AsyncIterable<unknown> | Iterable<unknown>'
  map(5, ask);
  // @ts-expect-error 'unordered' does not exist in type 'ForEachOptions'
  forEach([1], ask, { unordered: true });
}

/** Results that are of another type. */
export function* results(): Coroutine<void> {
  // @ts-expect-error Type 'string' is not assignable to type 'number'
  const [first]: [number, number] = yield* join(ask, count);
  // @ts-expect-error 'string | number' is not assignable to type 'string'
  const winner: string = yield* race(ask, count);
  // @ts-expect-error 'number' is not assignable to type 'string'
  const all: string[] = yield* joinAll([count()]);
  // @ts-expect-error 'string | undefined' is not assignable to type 'string'
  const answer: string = yield* orUndefined(10, ask);
  // @ts-expect-error 'string | null' is not assignable to type 'string'
  const line: string = yield* reader.readLine();
  // @ts-expect-error 'number' is not assignable to type 'string'
  const made: string = yield* lazy(count)();
  // @ts-expect-error 'number' is not assignable to type 'string'
  const once: string = yield* shared(count());
  // @ts-expect-error 'number' is not assignable to type 'string'
  const blocked: string = runtime.blockOn(count);
  const selected = yield* select({ answer: ask, count });
  // @ts-expect-error types '"answer" | "count"' and '"third"' have no overlap
  if (selected.key === "third") return;
  if (selected.key === "answer") {
    // @ts-expect-error 'string' is not assignable to type 'number'
    const value: number = selected.value;
    void value;
  }
  // @ts-expect-error Type 'Promise<string>' must have a '[Symbol.iterator]()' method that returns an iterator
  const text = yield* ask();
  void [first, winner, all, answer, line, made, once, blocked, text];
}

/** Promises. */
export function promises(): void {
  // @ts-expect-error 'string' is not assignable to parameter of type 'PromiseLike<unknown> | ((signal: AbortSignal)
  fromPromise("text");
  // @ts-expect-error Type 'number' is not assignable to type 'PromiseLike<unknown>'
  fromPromise(() => 5);
  // @ts-expect-error Type 'AbortSignal' is not assignable to type 'string'
  fromPromise(async (signal: string) => signal);
  // @ts-expect-error 'waitForSettle' does not exist in type 'FromPromiseOptions'. Did you mean to write 'waitForSettled'?
  fromPromise(ask(), { waitForSettle: true });
}

/** Scopes and servers. */
export function tasks(): void {
  // @ts-expect-error Type 'number' is not assignable to type 'IntoFuture<unknown>'
  scope(() => 5);
  // @ts-expect-error Type 'Coroutine<number>' provides no match for the signature '(scope: Scope): IntoFuture<unknown>'
  scope(count());
  // @ts-expect-error Type '"ignore"' is not assignable to type '"cancel" | "report"
  scope(ask, { onFailure: "ignore" });
  scope(function* (s) {
    // @ts-expect-error Property 'spwan' does not exist on type 'Scope'. Did you mean 'spawn'?
    s.spwan(count());
  });
  // @ts-expect-error 'string' is not assignable to parameter of type 'Acceptor<AsyncDisposable | Disposable>'
  serve("127.0.0.1:7000", ask);
  // @ts-expect-error Type 'void' is not assignable to type 'IntoFuture<unknown>'
  serve(listener, () => {});
  // @ts-expect-error Property 'recv' does not exist on type 'TcpStream'
  serve(listener, (connection) => connection.recv());
  // @ts-expect-error 'grace' does not exist in type 'ServeOptions<TcpStream>'. Did you mean to write 'graceMs'?
  serve(listener, ask, { grace: 1000 });
}

/** A coroutine does not run when it is awaited. */
export async function awaited(): Promise<void> {
  // @ts-expect-error Type of 'await' operand must either be a valid promise or must not contain a callable 'then' member.
  await count();
  // @ts-expect-error The return type of an async function must either be a valid promise or must not contain a callable 'then' member.
  spawn(async () => count());
}

/** Bytes and frames. */
export function bytes(): void {
  // @ts-expect-error 'string' is not assignable to parameter of type 'ByteReader'
  new BufReader("text");
  // @ts-expect-error 'string' is not assignable to parameter of type 'Uint8Array<ArrayBufferLike>'
  stream.read("text");
  // @ts-expect-error Type 'Uint8Array<ArrayBufferLike>' is not assignable to type 'string'
  frames(reader, (chunk: string) => ({ value: chunk, consumed: 1 }));
  // @ts-expect-error Property 'consumed' is missing in type '{ value: string; }' but required in type 'DecodedFrame<string>'
  const incomplete: Decode<string> = () => ({ value: "text" });
  // @ts-expect-error 'number' is not assignable to parameter of type 'string'
  frameWriter(stream, (frame: string) => frame).write(5);
  // @ts-expect-error Type '"utf8"' is not assignable to type 'TextEncoding | undefined'. Did you mean '"utf-8"'?
  reader.readLine({ encoding: "utf8" });
  void incomplete;
}
