// Deadlock detection: a runtime that nothing can wake throws, and a runtime that something can wake never does.

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import {
  type Context,
  DeadlockError,
  Future,
  Pending,
  type Poll,
  Runtime,
  sleep,
  spawn,
  spawnBlocking,
} from "../../src/index.ts";
import { caught } from "../support/caught.ts";
import { Counting } from "../support/counting.ts";
import { untilIdle } from "../support/idle.ts";
import { root, run } from "../support/program.ts";
import { streamAndPeer } from "../support/sockets.ts";

setDefaultTimeout(60_000); // the machine may be slow

/** The message of the DeadlockError that `call` throws. */
function deadlockMessage(call: () => unknown): string {
  const error = caught(call);
  expect(error).toBeInstanceOf(DeadlockError);
  expect((error as DeadlockError).code).toBe("ERR_DEADLOCK");
  return (error as Error).message;
}

describe.each([["lazy"], ["eager"]] as const)("eventfd: %s", (eventfd) => {
  test("a deadlock names each stuck task and what it waits on, and cancels the work", () => {
    using runtime = new Runtime({ eventfd });
    const log: string[] = [];
    const message = deadlockMessage(() =>
      runtime.blockOn(function* () {
        try {
          const never = spawn(new Counting<void>(), { name: "never" });
          const joiner = spawn(never, { name: "joiner" });
          yield* joiner;
        } finally {
          log.push("cleaned up");
        }
      }),
    );
    expect(message).toContain("never waits on a wake");
    expect(message).toContain("joiner waits on join never");
    expect(message).toContain("blockOn waits on join joiner");
    expect(log).toEqual(["cleaned up"]);
    expect(runtime.tasks().map((task) => task.name)).toEqual(["never", "joiner"]);
    expect(runtime.blockOn(async () => "usable")).toBe("usable");
    deadlockMessage(() => runtime.block());
  });

  test("a task that another task wakes is not deadlocked", () => {
    using runtime = new Runtime({ eventfd });
    const future = new Counting<string>();
    const value = runtime.blockOn(function* () {
      const handle = spawn(future);
      yield* untilIdle();
      future.complete("woken");
      return yield* handle;
    });
    expect(value).toBe("woken");
  });
});

test("a task that waits for a deadline, a job or a socket is not deadlocked", () => {
  using runtime = new Runtime();
  runtime.blockOn(sleep(1));
  expect(runtime.blockOn(() => spawnBlocking(() => 1))).toBe(1);
  const { stream, peer } = streamAndPeer();
  const job = runtime.spawnBlocking((fd: number) => {
    Bun.sleepSync(5);
    process.getBuiltinModule("node:fs").writeSync(fd, "x");
  }, peer.fd);
  expect(runtime.blockOn(stream.read(new Uint8Array(1)))).toBe(1);
  runtime.blockOn(job);
  stream.close();
  peer.close();
});

test("a task whose waker.fd was read is not deadlocked, because any process may write to it", () => {
  using runtime = new Runtime();
  class Exposed extends Future<string> {
    #polls = 0;
    override poll(cx: Context): Poll<string> {
      if (++this.#polls > 1) return "woken";
      const child = Bun.spawn(
        ["python3", "-c", `import os; os.write(1, (1).to_bytes(8, "little"))`],
        {
          stdout: cx.waker.fd,
        },
      );
      child.unref();
      return Pending;
    }
  }
  expect(runtime.blockOn(new Exposed())).toBe("woken");
});

test("a task that a microtask wakes is not deadlocked, even if the thread has created no promise", async () => {
  // A process of its own: the runtime drains microtasks only once its thread has created a promise.
  const program = `${root}test/support/programs/woken-by-microtask.ts`;
  expect((await run(["timeout", "9", "bun", program])).output).toBe("woken\n");
});

test("an open socket that no task waits for does not prevent a deadlock", () => {
  using runtime = new Runtime();
  const { stream, peer } = streamAndPeer();
  const reading = runtime.spawn(stream.read(new Uint8Array(1)));
  untilIdle(runtime);
  reading.abort();
  deadlockMessage(() => runtime.blockOn(new Counting<void>()));
  stream.close();
  peer.close();
});

test("the message of a deadlock says when the work joins a task of another runtime", async () => {
  using runtime = new Runtime();
  const job = spawnBlocking(() => 1); // outside any poll, so it belongs to the ambient runtime
  const name = Runtime.ambient().tasks().at(-1)?.name;
  const message = deadlockMessage(() => runtime.blockOn(job));
  expect(message).toContain(`blockOn waits on join ${name}, a task of another runtime. `);
  expect(message).toContain("spawn it inside the work, or with runtime.spawn");
  expect(await job).toBe(1);
});

test("the message of a deadlock of a thousand tasks names twenty and counts the others", () => {
  using runtime = new Runtime();
  for (let count = 0; count < 1000; count++) runtime.spawn(new Counting<void>());
  expect(deadlockMessage(() => runtime.block())).toContain("and 980 more");
});

test("the message of a deadlock in debug mode shows where the tasks were spawned", () => {
  using runtime = new Runtime({ debug: true });
  runtime.spawn(new Counting<void>());
  expect(deadlockMessage(() => runtime.block())).toMatch(/spawned at .*deadlock\.test\.ts:\d+/);
});
