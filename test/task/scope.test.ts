// scope: its end, its failures, its cancellation.

import { expect, test } from "bun:test";
import { Runtime, type Scope, scope, sleep, yieldNow } from "../../src/index.ts";
import { caught } from "../support/caught.ts";
import { Counting } from "../support/counting.ts";
import { untilIdle } from "../support/idle.ts";
import { captureConsoleError } from "../support/output.ts";
import { careful, failAfter } from "../support/work.ts";

test("a scope completes with the value of its body once all its tasks have ended", () => {
  using runtime = new Runtime();
  const log: string[] = [];
  const value = runtime.blockOn(
    scope(function* (s) {
      s.spawn(function* () {
        yield* sleep(2);
        s.spawn(function* () {
          yield* sleep(1);
          log.push("grandchild");
        });
        log.push("child");
      });
      yield* yieldNow();
      log.push("body");
      return 7;
    }),
  );
  expect(value).toBe(7);
  expect(log).toEqual(["body", "child", "grandchild"]);
});

test.each([
  [[], "got an instance of Array"],
  [undefined, "got undefined"],
])("scope throws TypeError at once for a body of %p", (body, message) => {
  expect(() => scope(body as never)).toThrow(TypeError);
  expect(() => scope(body as never)).toThrow("body must be a function");
  expect(() => scope(body as never)).toThrow(message);
});

test("an async body can await the handle of a task of its scope", () => {
  using runtime = new Runtime();
  const value = runtime.blockOn(
    scope(async (s) => await s.spawn(async () => (await sleep(1)) ?? 5)),
  );
  expect(value).toBe(5);
});

test("when a task fails, the scope cancels the body and the other tasks and then throws the error", () => {
  using runtime = new Runtime();
  const log: string[] = [];
  const boom = new Error("boom");
  const error = caught(() =>
    runtime.blockOn(
      scope(function* (s) {
        s.spawn(careful("a", log));
        s.spawn(failAfter(2, boom));
        yield* careful("body", log);
      }),
    ),
  );
  expect(error).toBe(boom);
  expect(log.sort()).toEqual(["a is clean", "body is clean"]);
  expect(runtime.tasks()).toEqual([]);
});

test("when the body fails, the scope cancels its tasks; an error that the body rethrows from a task counts once", () => {
  using runtime = new Runtime();
  const log: string[] = [];
  const boom = new Error("boom");
  expect(
    caught(() =>
      runtime.blockOn(
        scope(function* (s) {
          s.spawn(careful("a", log));
          yield* failAfter(2, boom);
        }),
      ),
    ),
  ).toBe(boom);
  expect(log).toEqual(["a is clean"]);
  expect(
    caught(() =>
      runtime.blockOn(
        scope(function* (s) {
          yield* s.spawn(failAfter(1, boom));
        }),
      ),
    ),
  ).toBe(boom);
});

test("when several tasks fail, the scope throws an AggregateError in the order of the failures", () => {
  using runtime = new Runtime();
  const errors = [new Error("first"), new Error("second")] as const;
  const error = caught(() =>
    runtime.blockOn(
      scope(function* (s) {
        s.spawn(failAfter(1, errors[0]));
        s.spawn(failAfter(1, errors[1]));
        yield* sleep(1e6);
      }),
    ),
  );
  expect(error).toBeInstanceOf(AggregateError);
  expect((error as AggregateError).errors).toEqual([...errors]);
});

test("a task that was aborted through its handle does not fail its scope", () => {
  using runtime = new Runtime();
  const log: string[] = [];
  runtime.blockOn(
    scope(function* (s) {
      const handle = s.spawn(careful("aborted", log));
      yield* yieldNow();
      handle.abort();
    }),
  );
  expect(log).toEqual(["aborted is clean"]);
});

test("cancelling a scope cancels its body and tasks, nested scopes included, and waits for their cleanup", () => {
  using runtime = new Runtime();
  const log: string[] = [];
  const handle = runtime.spawn(
    scope(function* (s) {
      s.spawn(
        scope((inner) =>
          (function* () {
            inner.spawn(careful("inner", log));
            yield* careful("inner body", log);
          })(),
        ),
      );
      yield* careful("body", log);
    }),
  );
  untilIdle(runtime);
  handle.abort();
  runtime.block();
  expect(log.sort()).toEqual(["body is clean", "inner body is clean", "inner is clean"]);
});

test("the failure of a task is reported when its scope is cancelled before the scope could throw it", () => {
  using print = captureConsoleError();
  using runtime = new Runtime();
  const boom = new Error("boom");
  for (const cancel of ["abort", "drop"] as const) {
    const leaf = new Counting<void>();
    const work = scope(function* (s) {
      s.spawn(leaf);
      yield* sleep(1e6);
    });
    const handle = runtime.spawn(function* () {
      yield* work;
    });
    untilIdle(runtime);
    leaf.fail(boom); // its task is polled before the scope
    if (cancel === "abort") handle.abort();
    else {
      runtime.blockOn(async () => {});
      work.drop();
      handle.abort();
    }
    runtime.block();
  }
  const thrown = scope(() => failAfter(0, boom));
  expect(caught(() => runtime.blockOn(thrown))).toBe(boom);
  thrown.drop(); // does nothing: it has ended
  expect(print.mock.calls.map((call) => call[1])).toEqual([boom, boom]);
});

test("scope.spawn called outside a poll or in another runtime uses the runtime of the scope", () => {
  using runtime = new Runtime();
  let kept: Scope | undefined;
  const seen: Runtime[] = [];
  const handle = runtime.spawn(
    scope(function* (s) {
      kept = s;
      yield* yieldNow();
      yield* yieldNow();
    }),
  );
  runtime.blockOn(yieldNow());
  kept?.spawn(async () => void seen.push(Runtime.current()));
  using other = new Runtime();
  other.blockOn(async () => void kept?.spawn(async () => void seen.push(Runtime.current())));
  runtime.blockOn(handle);
  expect(seen).toEqual([runtime, runtime]);
});

test("scope.spawn throws once the scope has ended or is being cancelled", () => {
  using runtime = new Runtime();
  let kept: Scope | undefined;
  let during = "";
  runtime.blockOn(
    scope(function* (s) {
      kept = s;
    }),
  );
  expect(() => runtime.blockOn(async () => kept?.spawn(sleep(0)))).toThrow("this scope has ended");
  caught(() =>
    runtime.blockOn(
      scope(function* (s) {
        try {
          s.spawn(failAfter(0, new Error("boom")));
          yield* sleep(1e6);
        } finally {
          try {
            s.spawn(sleep(0));
          } catch (error) {
            during = (error as Error).message;
          }
        }
      }),
    ),
  );
  expect(during).toContain("is being cancelled");
});

test("the failure of a scope's task does not reach onUncaught", () => {
  const uncaught: unknown[] = [];
  using runtime = new Runtime({ onUncaught: (error) => void uncaught.push(error) });
  const boom = new Error("boom");
  const error = caught(() =>
    runtime.blockOn(
      scope(function* (s) {
        s.spawn(failAfter(0, boom));
        yield* sleep(1e6);
      }),
    ),
  );
  expect(error).toBe(boom);
  expect(uncaught).toEqual([]);
});
