// Wakers on the runtime's thread, in both eventfd modes.

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { writeSync } from "node:fs";
import {
  type Context,
  Future,
  intoFuture,
  Pending,
  type Poll,
  Runtime,
  spawn,
  type Waker,
  yieldNow,
} from "../../../src/index.ts";
import { EMFILE } from "../../../src/sys/index.ts";
import { Counting } from "../../support/counting.ts";
import { FaultSys } from "../../support/fault-sys.ts";
import { countFds } from "../../support/fds.ts";
import { untilIdle } from "../../support/idle.ts";

setDefaultTimeout(60_000); // a slow machine must not fail the test

const one = new Uint8Array(new BigUint64Array([1n]).buffer);

describe.each([["lazy"], ["eager"]] as const)("eventfd: %s", (eventfd) => {
  const make = (): Runtime => new Runtime({ eventfd });

  test("several wakes before a poll cause one poll", () => {
    using runtime = make();
    const a = new Counting<string>();
    const b = new Counting<string>();
    runtime.blockOn(function* () {
      const handles = [spawn(a), spawn(b)] as const;
      yield* untilIdle();
      expect([a.polls, b.polls]).toEqual([1, 1]);
      for (let count = 0; count < 10; count++) a.wake();
      yield* untilIdle();
      expect([a.polls, b.polls]).toEqual([2, 1]);
      a.complete("a");
      b.complete("b");
      expect([yield* handles[0], yield* handles[1]]).toEqual(["a", "b"]);
      expect([a.polls, b.polls]).toEqual([3, 2]);
    });
  });

  test("a wake during a poll causes another poll", () => {
    using runtime = make();
    let polls = 0;
    class SelfWaking extends Future<number> {
      override poll(cx: Context): Poll<number> {
        polls++;
        if (polls === 3) return polls;
        cx.waker.wakeByRef();
        cx.waker.wakeByRef();
        return Pending;
      }
    }
    expect(runtime.blockOn(new SelfWaking())).toBe(3);
  });

  test("a wake after the end of its future does nothing", () => {
    using runtime = make();
    const future = new Counting<void>();
    runtime.blockOn(function* () {
      const handle = spawn(future);
      yield* untilIdle();
      const waker = (future.waker as Waker).clone();
      future.complete();
      yield* handle;
      waker.wakeByRef();
      waker.wake();
      yield* untilIdle();
    });
    expect(future.polls).toBe(2);
  });

  test("a future that moves to another task is woken by the waker of its latest poll", () => {
    using runtime = make();
    const future = new Counting<string>();
    runtime.blockOn(function* () {
      const first = spawn(function* () {
        expect(future.next().done).toBe(false); // polled here, then moved
      });
      yield* first;
      const second = spawn(future);
      yield* untilIdle();
      future.complete("moved");
      expect(yield* second).toBe("moved");
    });
  });

  test("a waker can be cloned, compared and dropped; a consumed waker throws", () => {
    using runtime = make();
    const a = new Counting<void>();
    const b = new Counting<void>();
    runtime.blockOn(function* () {
      spawn(a).detach();
      spawn(b).detach();
      yield* untilIdle();
      const waker = (a.waker as Waker).clone();
      const other = waker.clone();
      expect(waker.willWake(other)).toBe(true);
      expect(waker.willWake(b.waker as Waker)).toBe(false);
      waker.wake();
      expect(waker.isConsumed).toBe(true);
      for (const use of [
        () => waker.wake(),
        () => waker.wakeByRef(),
        () => waker.clone(),
        () => waker.drop(),
        () => waker.willWake(other),
        () => other.willWake(waker),
        () => waker.fd,
        () => waker.toHandle(),
      ]) {
        expect(use).toThrow("this waker was consumed by wake() or drop(); clone() it before that");
      }
      waker[Symbol.dispose](); // does nothing: the waker is consumed
      {
        using _ = other;
      }
      expect(other.isConsumed).toBe(true);
      yield* untilIdle();
      expect([a.polls, b.polls]).toEqual([2, 1]);
      a.complete();
      b.complete();
    });
    runtime.block();
  });

  test("8 bytes written to a waker's fd wake exactly its future, also from another process", () => {
    using runtime = make();
    const futures = [new Counting<void>(), new Counting<void>(), new Counting<void>()] as const;
    for (const future of futures) runtime.spawn(future);
    untilIdle(runtime);
    const [a, b, c] = futures;
    writeSync((b.waker as Waker).fd, one);
    untilIdle(runtime);
    expect(futures.map((future) => future.polls)).toEqual([1, 2, 1]);

    const code = `import os; os.write(1, (1).to_bytes(8, "little"))`;
    const child = Bun.spawnSync(["python3", "-c", code], { stdout: (c.waker as Waker).fd });
    expect(child.exitCode).toBe(0);
    untilIdle(runtime);
    expect(futures.map((future) => future.polls)).toEqual([1, 2, 2]);
    for (const future of [a, b, c]) future.complete();
    runtime.block();
  });

  test("blockOn sleeps until another thread writes to a waker's fd", async () => {
    using runtime = make();
    let ended: Promise<void> | undefined;
    class WokenByThread extends Future<number> {
      #polls = 0;
      override poll(cx: Context): Poll<number> {
        if (++this.#polls === 2) return this.#polls;
        const url = new URL("../../support/programs/fd-writer.ts", import.meta.url);
        const worker = new Worker(url, { argv: [`${cx.waker.fd}`] });
        ended = new Promise((resolve) => worker.addEventListener("close", () => resolve()));
        return Pending;
      }
    }
    expect(runtime.blockOn(new WokenByThread())).toBe(2);
    await ended; // the Worker has fds of its own
  });

  test("the eventfd lives as long as its task and every clone of its waker", () => {
    const before = countFds("eventfd");
    using runtime = make();
    const future = new Counting<void>();
    const kept = runtime.blockOn(function* () {
      const handle = spawn(future);
      yield* untilIdle();
      const waker = (future.waker as Waker).clone();
      expect(waker.fd).toBe((future.waker as Waker).fd);
      future.complete();
      yield* handle;
      return waker;
    });
    expect(countFds("eventfd")).toBe(before + 1);
    const second = kept.clone();
    kept.drop();
    expect(countFds("eventfd")).toBe(before + 1);
    second.drop();
    expect(countFds("eventfd")).toBe(before);
  });

  test("disposing the runtime closes the eventfds of remaining wakers, whose wakes then do nothing", () => {
    const before = countFds("eventfd");
    const runtime = make();
    const future = new Counting<void>();
    runtime.spawn(future);
    untilIdle(runtime);
    const waker = (future.waker as Waker).clone();
    expect(waker.fd).toBeGreaterThan(2);
    runtime[Symbol.dispose]();
    expect(countFds("eventfd")).toBe(before);
    waker.wakeByRef();
    waker.drop();
    expect(countFds("eventfd")).toBe(before);
  });

  test("a wake is not lost when the eventfd's counter is full", () => {
    using runtime = make();
    const future = new Counting<void>();
    runtime.blockOn(function* () {
      const handle = spawn(future);
      yield* untilIdle();
      const { fd } = future.waker as Waker;
      writeSync(fd, new Uint8Array(new BigUint64Array([0xfffffffffffffffen]).buffer));
      yield* untilIdle();
      expect(future.polls).toBe(2);
      future.complete(); // in eager mode this writes to the full counter
      yield* handle;
    });
  });
});

test("an eager runtime opens one eventfd per task and closes it when the task ends; a lazy runtime opens none", () => {
  const before = countFds("eventfd");
  using lazy = new Runtime();
  using eager = new Runtime({ eventfd: "eager" });
  const futures = [new Counting<void>(), new Counting<void>()] as const;
  lazy.spawn(new Counting<void>());
  expect(countFds("eventfd")).toBe(before);
  for (const future of futures) eager.spawn(future);
  expect(countFds("eventfd")).toBe(before + 2);
  untilIdle(eager);
  for (const future of futures) future.complete();
  eager.block();
  expect(countFds("eventfd")).toBe(before);
});

test("a spawn in an eager runtime that is out of fds throws and leaves no task behind", () => {
  const faults = new FaultSys();
  using runtime = new Runtime({ eventfd: "eager", sys: faults.sys });
  faults.fail("eventfd", -EMFILE);
  expect(() => runtime.spawn(yieldNow())).toThrow("EMFILE");
  expect(runtime.metrics()).toMatchObject({ tasksAlive: 0, tasksEnded: 0 });
  expect(runtime.spawn(yieldNow()).id).toBe(1);
  runtime.block();
});

test("a dropped future in an eager runtime that is out of fds still runs its cleanup", () => {
  const faults = new FaultSys();
  using runtime = new Runtime({ eventfd: "eager", sys: faults.sys });
  const log: string[] = [];
  runtime.blockOn(function* () {
    const work = intoFuture(function* () {
      try {
        yield* new Counting<void>();
      } finally {
        yield* yieldNow();
        log.push("cleaned up");
      }
    });
    work.next();
    faults.on("eventfd", () => -EMFILE);
    work.drop();
    log.push("dropped");
  });
  runtime.block();
  expect(log).toEqual(["dropped", "cleaned up"]);
});
