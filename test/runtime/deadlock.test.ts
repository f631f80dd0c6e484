// About to wait, and nothing can wake us: sound, never a false alarm.

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

setDefaultTimeout(60_000); // a slow machine is no failure

function deadlock(call: () => unknown): string {
  const error = caught(call);
  expect(error).toBeInstanceOf(DeadlockError);
  expect((error as DeadlockError).code).toBe("ERR_DEADLOCK");
  return (error as Error).message;
}

describe.each([["lazy"], ["eager"]] as const)("eventfd: %s", (eventfd) => {
  test("each stuck task is named, with what it waits on; the work was dropped", () => {
    using runtime = new Runtime({ eventfd });
    const log: string[] = [];
    const message = deadlock(() =>
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
    deadlock(() => runtime.block());
  });

  test("no false alarm: wakes that are on their way", () => {
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

test("no false alarm: a deadline, a job, a socket", () => {
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

test("no false alarm: who has read waker.fd may be woken by anyone", () => {
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

test("no false alarm: a microtask may wake, also where no promise has taken part before", async () => {
  // In a process of its own: the first promise in a thread makes a difference.
  const code = `import { Future, Pending, Runtime } from "${root}src/index.ts";
class WokenByMicrotask extends Future {
  polls = 0;
  poll(cx) {
    if (++this.polls > 1) return "woken";
    const waker = cx.waker.clone();
    queueMicrotask(() => waker.wake());
    return Pending;
  }
}
console.log(new Runtime().blockOn(new WokenByMicrotask()));`;
  expect((await run(["timeout", "9", "bun", "-e", code])).output).toBe("woken\n");
});

test("a socket on which nobody waits wakes nobody", () => {
  using runtime = new Runtime();
  const { stream, peer } = streamAndPeer();
  const reading = runtime.spawn(stream.read(new Uint8Array(1)));
  untilIdle(runtime);
  reading.abort();
  deadlock(() => runtime.blockOn(new Counting<void>()));
  stream.close();
  peer.close();
});

test("a task of another runtime, which stands still meanwhile, is told to be that", async () => {
  using runtime = new Runtime();
  const job = spawnBlocking(() => 1); // not in a poll of this runtime: the ambient one's
  const name = Runtime.ambient().tasks().at(-1)?.name;
  const message = deadlock(() => runtime.blockOn(job));
  expect(message).toContain(`blockOn waits on join ${name}, a task of another runtime. `);
  expect(message).toContain("spawn it inside the work, or with runtime.spawn");
  expect(await job).toBe(1);
});

test("a thousand stuck tasks make one message", () => {
  using runtime = new Runtime();
  for (let count = 0; count < 1000; count++) runtime.spawn(new Counting<void>());
  expect(deadlock(() => runtime.block())).toContain("and 980 more");
});

test("with debug: where they were spawned", () => {
  using runtime = new Runtime({ debug: true });
  runtime.spawn(new Counting<void>());
  expect(deadlock(() => runtime.block())).toMatch(/spawned at .*deadlock\.test\.ts:\d+/);
});
