// AbortHandle: aborts and inspects a task without joining it.

import { expect, test } from "bun:test";
import {
  AbortError,
  AbortHandle,
  type Coroutine,
  JoinSet,
  Runtime,
  sleep,
} from "../../src/index.ts";
import { caught } from "../support/caught.ts";
import { Counting } from "../support/counting.ts";
import { untilIdle } from "../support/idle.ts";

const reason = new Error("the reason");

test("abortHandle() of a JoinHandle and spawn() of a JoinSet return an AbortHandle", () => {
  using runtime = new Runtime();
  const joinHandle = runtime.spawn(sleep(1e6), { name: "worker" });
  const abortHandle = joinHandle.abortHandle();
  expect(abortHandle).toBeInstanceOf(AbortHandle);
  expect([abortHandle.id, abortHandle.name]).toEqual([joinHandle.id, "worker"]);
  using set = new JoinSet<void>();
  const [ofSet] = runtime.blockOn(async () => [set.spawn(sleep(1e6))] as const);
  expect(ofSet).toBeInstanceOf(AbortHandle);
  expect(ofSet.name).toBe(`#${ofSet.id}`);
  expect(runtime.tasks().map(({ id }) => id)).toEqual([abortHandle.id, ofSet.id]);
});

test("abort() ends the task, and awaiting its JoinHandle throws an AbortError that names it", () => {
  using runtime = new Runtime();
  const joinHandle = runtime.spawn(sleep(1e6), { name: "worker" });
  const abortHandle = joinHandle.abortHandle();
  untilIdle(runtime);
  abortHandle.abort();
  const error = caught(() => runtime.blockOn(joinHandle));
  expect(error).toBeInstanceOf(AbortError);
  expect((error as Error).message).toBe("task worker was aborted");
});

test("abort(reason) makes awaiting the JoinHandle throw the reason of the first abort", () => {
  using runtime = new Runtime();
  const joinHandle = runtime.spawn(sleep(1e6));
  const abortHandle = joinHandle.abortHandle();
  abortHandle.abort(reason);
  abortHandle.abort(new Error("a later reason"));
  expect(caught(() => runtime.blockOn(joinHandle))).toBe(reason);
});

test("abort() of a task before its first poll prevents its work from starting", () => {
  using runtime = new Runtime();
  let starts = 0;
  const abortHandle = runtime.spawn(async () => void starts++).abortHandle();
  abortHandle.abort();
  runtime.block();
  expect(starts).toBe(0);
  expect(abortHandle.isAborted).toBe(true);
});

test("isFinished and isAborted become true only after the cleanup of an aborted task", () => {
  using runtime = new Runtime();
  const gate = new Counting<void>();
  const abortHandle = runtime
    .spawn(function* (): Coroutine<void> {
      try {
        yield* sleep(1e6);
      } finally {
        yield* gate;
      }
    })
    .abortHandle();
  const state = () => [abortHandle.isFinished, abortHandle.isAborted];
  untilIdle(runtime);
  expect(state()).toEqual([false, false]);
  abortHandle.abort();
  untilIdle(runtime);
  expect(state()).toEqual([false, false]);
  gate.complete();
  runtime.block();
  expect(state()).toEqual([true, true]);
});

test("a task that completed or failed is finished but not aborted, and a later abort() does nothing", () => {
  using runtime = new Runtime({ onUncaught: () => {} });
  const completed = runtime.spawn(async () => 7);
  const failed = runtime.spawn(async () => Promise.reject(reason));
  const handles = [completed.abortHandle(), failed.abortHandle()];
  runtime.block();
  for (const handle of handles) {
    handle.abort();
    expect([handle.isFinished, handle.isAborted]).toEqual([true, false]);
  }
  expect(runtime.blockOn(completed)).toBe(7);
  expect(caught(() => runtime.blockOn(failed))).toBe(reason);
});

test("an AbortHandle does not claim the failure of its task, which reaches onUncaught", () => {
  const uncaught: unknown[] = [];
  using runtime = new Runtime({ onUncaught: (error) => void uncaught.push(error) });
  const abortHandle = runtime.spawn(async () => Promise.reject(reason)).abortHandle();
  runtime.block();
  expect(uncaught).toEqual([reason]);
  expect(abortHandle.isFinished).toBe(true);
});

test("abort() of a task of a JoinSet frees its room, and joinNext skips the task", () => {
  using runtime = new Runtime();
  runtime.blockOn(function* () {
    using set = new JoinSet<string>({ limit: 1 });
    const stuck = set.spawn(async () => (await sleep(1e6)) ?? "stuck");
    yield* untilIdle();
    stuck.abort();
    set.spawn(async () => "next");
    expect(yield* set.joinNext()).toEqual({ done: false, value: "next" });
    expect(yield* set.joinNext()).toEqual({ done: true });
    expect(stuck.isAborted).toBe(true);
  });
});
