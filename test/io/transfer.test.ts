// Reads and writes of a socket: what a `yield*` of one must keep to, although it has a `next` of its own.

import { expect, test } from "bun:test";
import { type Coroutine, type Future, Runtime, spawn, yieldNow } from "../../src/index.ts";
import { Source } from "../../src/io/source.ts";
import { TcpStream } from "../../src/net/tcp-stream.ts";
import { EAGAIN, ECONNRESET } from "../../src/sys/errno.ts";
import type { Sys } from "../../src/sys/sys.ts";
import { failureOf } from "../support/caught.ts";
import { noKernel } from "../support/no-kernel.ts";

/** Each epoll round reports an event of it. */
const FD = 0;

/** Runs `work` with a stream that makes its syscalls through `calls`. */
function withStream<T>(
  calls: Partial<Pick<Sys, "recv" | "send">>,
  work: (stream: TcpStream, runtime: Runtime) => Generator<symbol, T, void>,
): T {
  const sys = { ...noKernel(1), ...calls };
  using runtime = new Runtime({ sys });
  const stream = TcpStream.create(new Source(sys, FD), 0);
  return runtime.blockOn(() => work(stream, runtime));
}

const codeOf = (error: unknown): unknown => (error as { code?: unknown }).code;

const buffer = (): Uint8Array => new Uint8Array(64);

for (const [what, recv, expected] of [
  ["failed", () => -ECONNRESET, "ECONNRESET"],
  [
    "threw in its syscall",
    () => {
      throw new Error("a broken Sys");
    },
    undefined,
  ],
] as const) {
  test(`a read that ${what} has ended: awaiting it again throws`, () => {
    const codes = withStream({ recv }, function* (stream) {
      const read = stream.read(buffer());
      return [codeOf(yield* failureOf(read)), codeOf(yield* failureOf(read))];
    });
    expect(codes).toEqual([expected, "ERR_POLLED_AFTER_END"]);
  });
}

test("a read that its own syscall drops throws, and the next one works", () => {
  let read: Future<number> | null = null;
  const recv = (): number => {
    if (read === null) return 7;
    read.drop();
    return -EAGAIN;
  };
  const result = withStream({ recv }, function* (stream) {
    read = stream.read(buffer());
    const error = yield* failureOf(read);
    read = null;
    return [codeOf(error), yield* stream.read(buffer())];
  });
  expect(result).toEqual(["ERR_POLLED_AFTER_END", 7]);
});

test("each read that completes or fails uses up coop budget, and one that waits uses none", () => {
  let answer = 64;
  const spent = withStream({ recv: () => answer }, function* (stream, runtime) {
    const spentBy = function* (
      work: Future<unknown> | Coroutine<unknown>,
    ): Generator<symbol, number, void> {
      const before = runtime.budget;
      yield* work;
      return before - runtime.budget;
    };
    const ofValue = yield* spentBy(stream.read(buffer()));
    answer = -ECONNRESET;
    const ofFailure = yield* spentBy(failureOf(stream.read(buffer())));
    answer = -EAGAIN;
    const before = runtime.budget;
    const waiting = stream.read(buffer());
    waiting[Symbol.iterator]().next();
    const ofWait = before - runtime.budget;
    waiting.drop();
    return [ofValue, ofFailure, ofWait];
  });
  expect(spent).toEqual([1, 1, 0]);
});

test("a loop of reads that fail lets other tasks run", () => {
  const turns = withStream({ recv: () => -ECONNRESET }, function* (stream) {
    let others = 0;
    spawn(function* () {
      for (;;) {
        others++;
        yield* yieldNow();
      }
    }).detach();
    let reads = 0;
    for (; others < 3; reads++) yield* failureOf(stream.read(buffer()));
    return reads;
  });
  expect(turns).toBeGreaterThan(0);
});

test("a write that is sent in parts ends once all is sent", () => {
  const sent: number[] = [];
  const send: Sys["send"] = (_fd, _data, _flags, length = 0) => {
    const count = Math.min(length, 40);
    sent.push(count);
    return count;
  };
  withStream({ send }, function* (stream) {
    yield* stream.writeAll(new Uint8Array(100));
    yield* stream.writeAll(new Uint8Array(10));
  });
  expect(sent).toEqual([40, 40, 20, 10]);
});
