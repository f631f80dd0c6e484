// CancelToken: its tree compared with a model, and what it leaves behind.

import { expect, setDefaultTimeout, test } from "bun:test";
import fc from "fast-check";
import { AbortError, CancelToken, type JoinHandle, Runtime, sleep } from "../../src/index.ts";
import { caught, failureOf } from "../support/caught.ts";
import { untilIdle } from "../support/idle.ts";
import { careful } from "../support/work.ts";

setDefaultTimeout(60_000); // a slow machine must not fail the test

test("cancel(reason) aborts the tasks and signals of the token and of those below it, and of no other", () => {
  using runtime = new Runtime();
  const reason = new Error("reason");
  const log: string[] = [];
  const root = new CancelToken();
  const left = root.child();
  const right = root.child();
  const below = left.child();
  const tokens = { root, left, right, below };
  const handles = Object.entries(tokens).map(([name, token]) =>
    runtime.spawn(careful(name, log), { token }),
  );
  const { signal } = below;
  untilIdle(runtime);
  left.cancel(reason);
  untilIdle(runtime);
  expect(log.sort()).toEqual(["below is clean", "left is clean"]);
  expect([signal.aborted, signal.reason]).toEqual([true, reason]);
  expect(Object.values(tokens).map(({ isCancelled }) => isCancelled)).toEqual([
    ...[false, true, false, true],
  ]);
  expect([left.reason, below.reason, root.reason]).toEqual([reason, reason, undefined]);
  expect(caught(() => runtime.blockOn(handles[1] as JoinHandle<void>))).toBe(reason);
  left.cancel(new Error("has no effect"));
  below.cancel(new Error("has no effect"));
  expect([left.reason, below.reason]).toEqual([reason, reason]);
  root.cancel();
  expect(caught(() => runtime.blockOn(handles[2] as JoinHandle<void>))).toBeInstanceOf(AbortError);
  expect([root.size, left.size, right.size]).toEqual([0, 0, 0]);
});

test("a task that joins a cancelled token runs no code, and a signal that is read late is aborted", () => {
  using runtime = new Runtime();
  const reason = new Error("reason");
  const root = new CancelToken();
  const child = root.child();
  root.cancel(reason);
  let calls = 0;
  const late = runtime.spawn(async () => ++calls, { token: child });
  expect(caught(() => runtime.blockOn(late))).toBe(reason);
  expect([calls, child.signal.aborted, child.signal.reason]).toEqual([0, true, reason]);
  expect(child.child().isCancelled).toBe(true);
});

test("a parent forgets a child when the tasks of the child have ended, or when the child is disposed", () => {
  using runtime = new Runtime();
  const root = new CancelToken();
  for (let n = 0; n < 100; n++) {
    const child = root.child().child();
    runtime.blockOn(runtime.spawn(sleep(0), { token: child }));
    const aborted = runtime.spawn(sleep(1e6), { token: child });
    expect(root.size).toBe(1);
    aborted.abort();
    untilIdle(runtime);
    caught(() => runtime.blockOn(aborted));
  }
  expect(root.size).toBe(0);
  {
    using child = root.child();
    expect(child.signal.aborted).toBe(false);
    expect(root.size).toBe(1);
  }
  expect(root.size).toBe(0);
  const disposed = root.child();
  const { signal } = disposed;
  disposed[Symbol.dispose]();
  root.cancel();
  expect([disposed.isCancelled, signal.aborted]).toEqual([false, false]);
});

test("a task may have a signal and a token, and leaves no listener on either", () => {
  using runtime = new Runtime();
  const token = new CancelToken();
  const controller = new AbortController();
  const options = { token, signal: controller.signal };
  runtime.blockOn(runtime.spawn(sleep(0), options));
  expect(token.size).toBe(0);
  const cancels = [() => token.cancel(), () => controller.abort()];
  for (const [index, cancel] of cancels.entries()) {
    const own =
      index === 0
        ? { token, signal: new AbortController().signal }
        : { ...options, token: new CancelToken() };
    const handle = runtime.spawn(() => failureOf(runtime.spawn(sleep(1e6), own)));
    untilIdle(runtime);
    expect(handle.isFinished).toBe(false);
    cancel();
    expect(runtime.blockOn(handle)).toMatchObject({ name: "AbortError" });
    expect(own.token.size).toBe(0);
  }
});

test("spawn throws TypeError for a token that is not a CancelToken", () => {
  using runtime = new Runtime();
  expect(() => runtime.spawn(sleep(0), { token: new AbortController() as never })).toThrow(
    "options.token must be a CancelToken; got an instance of AbortController",
  );
});

test("random trees of tokens behave like the model", () => {
  const step = fc.record({
    kind: fc.constantFrom("child", "spawn", "signal", "cancel", "dispose", "end"),
    at: fc.nat(20),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      interface Node {
        readonly token: CancelToken;
        parent: Node | null;
        reason: unknown;
        signal: AbortSignal | null;
      }
      interface Job {
        readonly node: Node;
        readonly handle: JoinHandle<void>;
        ended: boolean;
        reason: unknown;
      }
      using runtime = new Runtime({ onUncaught: () => {} });
      const nodes: Node[] = [
        { token: new CancelToken(), parent: null, reason: null, signal: null },
      ];
      const jobs: Job[] = [];
      const reasonOf = (node: Node | null): unknown =>
        node === null ? null : (node.reason ?? reasonOf(node.parent));
      const isBelow = (node: Node | null, above: Node): boolean =>
        node !== null && (node === above || isBelow(node.parent, above));
      for (const [index, { kind, at }] of steps.entries()) {
        const node = nodes[at % nodes.length]!;
        if (kind === "child") {
          nodes.push({ token: node.token.child(), parent: node, reason: null, signal: null });
        } else if (kind === "spawn") {
          const handle = runtime.spawn(sleep(1e6), { token: node.token });
          jobs.push({ node, handle, ended: false, reason: reasonOf(node) });
        } else if (kind === "signal") node.signal = node.token.signal;
        else if (kind === "cancel" && reasonOf(node) === null) {
          node.reason = new Error(`step ${index}`);
          node.token.cancel(node.reason);
          for (const job of jobs) {
            if (!job.ended && isBelow(job.node, node)) job.reason ??= node.reason;
          }
        } else if (kind === "dispose") {
          node.reason = reasonOf(node);
          node.parent = null;
          node.token[Symbol.dispose]();
        } else if (kind === "end" && jobs.length > 0) {
          const job = jobs[at % jobs.length]!;
          if (job.reason === null && !job.ended) {
            job.ended = true;
            job.handle.abort();
          }
        }
        untilIdle(runtime);
        for (const { token, signal, reason, parent } of nodes) {
          const expected = reason ?? reasonOf(parent);
          expect([token.isCancelled, token.reason ?? null] as unknown[]).toEqual([
            expected !== null,
            expected,
          ]);
          if (signal === null) continue;
          expect([signal.aborted, signal.reason ?? null]).toEqual([
            expected !== null,
            expected ?? null,
          ]);
        }
        for (const job of jobs) {
          expect(job.handle.isFinished).toBe(job.ended || job.reason !== null);
          if (job.reason === null) continue;
          expect(caught(() => runtime.blockOn(job.handle))).toBe(job.reason as Error);
        }
      }
      for (const { handle } of jobs) handle.abort();
      untilIdle(runtime);
      const hasSignal = (above: Node): boolean =>
        nodes.some((node) => node.signal !== null && node !== above && isBelow(node, above));
      for (const node of nodes) {
        if (!hasSignal(node)) expect(node.token.size).toBe(0);
      }
    }),
    { numRuns: 150 },
  );
});
