// Locks on a runtime: order, cancellation and diagnostics. models.test.ts checks them against models.

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import {
  Barrier,
  type JoinHandle,
  Mutex,
  Notify,
  OnceCell,
  type Permit,
  Runtime,
  RwLock,
  Semaphore,
  SemaphoreClosedError,
  spawn,
  yieldNow,
} from "../../src/index.ts";
import { failureOf } from "../support/caught.ts";
import { Counting } from "../support/counting.ts";
import { untilIdle } from "../support/idle.ts";
import { manualContext } from "../support/manual.ts";

setDefaultTimeout(60_000); // a slow machine must not fail the test

describe("Semaphore", () => {
  test("the constructor, acquire and tryAcquire refuse invalid counts", () => {
    expect(() => new Semaphore(-1)).toThrow("Semaphore: permits must be an integer >= 0; got -1");
    expect(() => new Semaphore(2 ** 53)).toThrow("permits must be an integer >= 0");
    const semaphore = new Semaphore(2);
    expect(() => semaphore.acquire(0)).toThrow("acquire: count must be a positive integer; got 0");
    expect(() => semaphore.addPermits(0)).toThrow("addPermits: count must be a positive integer");
    expect(() => semaphore.addPermits(Number.MAX_SAFE_INTEGER)).toThrow(
      "addPermits: count must be at most 9007199254740989, so that the permits can be counted; got 9007199254740991",
    );
    expect(() => semaphore.tryAcquire(0.5)).toThrow(
      "tryAcquire: count must be a positive integer; got 0.5",
    );
  });

  test("a permit returns to its semaphore once: a second release throws, and a later dispose does nothing", () => {
    const semaphore = new Semaphore(1);
    const permit = semaphore.tryAcquire() as Permit;
    expect(semaphore.tryAcquire()).toBeNull();
    permit.release();
    expect(() => permit.release()).toThrow("was already released");
    permit[Symbol.dispose]();
    expect(semaphore.available).toBe(1);
  });
});

test("a Semaphore of 0 permits makes tasks wait until addPermits, also for more permits than it had", () => {
  using runtime = new Runtime();
  const ready = new Semaphore(0);
  runtime.blockOn(function* () {
    const waiting = spawn(ready.acquire(2));
    yield* untilIdle();
    ready.addPermits(1);
    yield* untilIdle();
    expect(waiting.isFinished).toBe(false);
    ready.addPermits(1);
    using permit = yield* waiting;
    expect(permit.count).toBe(2);
  });
  expect(ready.available).toBe(2);
});

test("a closed Semaphore fails its waits, and leaves the permits that are held or granted valid", () => {
  using runtime = new Runtime();
  const semaphore = new Semaphore(2, { name: "jobs" });
  runtime.blockOn(function* () {
    const held = yield* semaphore.acquire(2);
    const granted = spawn(semaphore.acquire(2));
    const waiting = spawn(failureOf<Error>(semaphore.acquire()));
    yield* untilIdle();
    held.release(); // grants the permits to the first wait, which is not polled before the close
    semaphore.close();
    expect(semaphore.isClosed).toBe(true);
    expect((yield* waiting).message).toBe('semaphore "jobs" is closed');
    const permit = yield* granted;
    expect(semaphore.available).toBe(0);
    permit.release();
    expect(semaphore.available).toBe(2);
    expect((yield* failureOf(semaphore.acquire())) as Error).toBeInstanceOf(SemaphoreClosedError);
    expect(() => semaphore.tryAcquire()).toThrow(SemaphoreClosedError);
  });
});

test("tasks() names the holders of a semaphore and of an RwLock, each once, and says which have ended", () => {
  using runtime = new Runtime();
  const semaphore = new Semaphore(6, { name: "slots" });
  const lock = new RwLock(0, { name: "table" });
  const kept: unknown[] = [];
  runtime.blockOn(function* () {
    const holders = ["a", "b"].map((name) =>
      spawn(
        function* () {
          kept.push(yield* semaphore.acquire(), yield* semaphore.acquire(2));
          kept.push(yield* lock.read());
          if (name === "b") yield* new Counting<void>();
        },
        { name },
      ),
    );
    yield* untilIdle();
    const waits = [spawn(semaphore.acquire()), spawn(lock.write())];
    yield* untilIdle();
    const waitsOn = runtime.tasks().map((task) => task.waitsOn);
    expect(waitsOn).toContain('permits of "slots", held by task a, which has ended, task b');
    expect(waitsOn).toContain('write "table", held by task a, which has ended, task b');
    for (const handle of [...waits, ...holders]) handle.abort();
  });
  runtime.block();
  expect(kept).toHaveLength(6);
});

test("a wait for forgotten permits says that no task holds them", () => {
  using runtime = new Runtime();
  const semaphore = new Semaphore(1, { name: "slots" });
  semaphore.tryAcquire()?.forget();
  expect(() => runtime.blockOn(semaphore.acquire())).toThrow('permits of "slots", held by no task');
});

describe("Mutex", () => {
  test("tasks lock in order, one at a time, and a released guard throws", () => {
    using runtime = new Runtime();
    const mutex = new Mutex(0, { name: "cache" });
    runtime.blockOn(function* () {
      const log: string[] = [];
      const handles = ["a", "b", "c"].map((name) =>
        spawn(
          function* () {
            using guard = yield* mutex.lock();
            const seen = guard.value;
            yield* yieldNow();
            guard.value = seen + 1;
            log.push(name);
          },
          { name },
        ),
      );
      yield* yieldNow();
      expect(mutex.isLocked).toBe(true);
      expect(mutex.tryLock()).toBeNull();
      expect(runtime.tasks().map((task) => task.waitsOn)).toContain('lock "cache", held by task a');
      for (const handle of handles) yield* handle;
      expect(log).toEqual(["a", "b", "c"]);
      const guard = yield* mutex.lock();
      expect(guard.value).toBe(3);
      guard.release();
      expect(() => guard.value).toThrow("this guard was already released; lock again");
      expect(() => guard.release()).toThrow("this guard was already released");
      expect(mutex.isLocked).toBe(false);
    });
  });

  test("the lock passes to the next task if a wait is dropped, before or after it was granted", () => {
    using runtime = new Runtime();
    const mutex = new Mutex("value");
    runtime.blockOn(function* () {
      const guard = yield* mutex.lock();
      const [first, second, third] = [1, 2, 3].map(() => spawn(mutex.lock()));
      yield* untilIdle();
      first?.abort();
      yield* untilIdle();
      guard.release(); // grants the lock to the second task, which is aborted before its next poll
      second?.abort();
      const last = yield* third as JoinHandle<typeof guard>;
      expect(last.value).toBe("value");
    });
  });

  test("`using` in async functions releases a guard at the end of its block", () => {
    using runtime = new Runtime();
    const mutex = new Mutex({ count: 0 });
    runtime.blockOn(async () => {
      await Promise.all(
        Array.from({ length: 10 }, () =>
          spawn(async () => {
            using guard = await mutex.lock();
            const { count } = guard.value;
            await yieldNow();
            guard.value.count = count + 1;
          }),
        ),
      );
    });
    expect(mutex.tryLock()?.value).toEqual({ count: 10 });
  });

  test("two tasks that lock in opposite order fail with a DeadlockError that names both locks and holders", () => {
    using runtime = new Runtime();
    const [a, b] = [new Mutex(0, { name: "A" }), new Mutex(0, { name: "B" })];
    const crossed = (name: string, one: Mutex<number>, two: Mutex<number>): void => {
      runtime.spawn(
        function* () {
          using _one = yield* one.lock();
          yield* yieldNow();
          using _two = yield* two.lock();
        },
        { name },
      );
    };
    crossed("left", a, b);
    crossed("right", b, a);
    expect(() => runtime.block()).toThrow(
      /lock "B", held by task right.*lock "A", held by task left/,
    );
  });
});

test("tasks() names the holder of a mutex: a task by its number, code outside a task, or the next in line", () => {
  using runtime = new Runtime();
  const mutex = new Mutex(0, { name: "cache" });
  const waits = (): string[] =>
    runtime.tasks().flatMap(({ waitsOn }) => (waitsOn?.startsWith("lock") ? [waitsOn] : []));
  const outside = mutex.tryLock();
  runtime.blockOn(function* () {
    let holder = 0;
    const first = spawn(function* () {
      using _ = yield* mutex.lock();
      holder = runtime.tasks().find(({ state }) => state === "running")?.id ?? 0;
      yield* untilIdle();
    });
    const second = spawn(mutex.lock());
    yield* untilIdle();
    expect(waits()[1]).toBe('lock "cache", held by code outside a task');
    outside?.release();
    expect(waits()).toEqual(['lock "cache", held by the next in line']);
    yield* yieldNow(); // one turn: the first task locks
    expect(waits()).toEqual([`lock "cache", held by task ${holder}`]);
    expect(holder).toBeGreaterThan(0);
    yield* first;
    yield* second;
  });
});

test("a notifyOne passes to the next wait if the waiter it chose is dropped, even after a notifyAll", () => {
  using runtime = new Runtime();
  runtime.blockOn(function* () {
    const notify = new Notify();
    const chosen = spawn(notify.notified());
    yield* untilIdle();
    notify.notifyOne();
    notify.notifyAll();
    chosen.abort();
    yield* untilIdle();
    yield* notify.notified(); // the stored notification completes it
  });
});

test("a notifyAll completes an earlier notified() that was never polled", () => {
  using runtime = new Runtime();
  const notify = new Notify();
  const early = notify.notified();
  notify.notifyAll();
  runtime.blockOn(early);
});

test("an RwLock admits readers together, a writer alone, and later readers only after a waiting writer", () => {
  using runtime = new Runtime();
  const lock = new RwLock(1);
  runtime.blockOn(function* () {
    const first = yield* lock.read();
    const second = lock.tryRead();
    expect([first.value, second?.value]).toEqual([1, 1]);
    expect(lock.tryWrite()).toBeNull();
    const log: string[] = [];
    const writer = spawn(function* () {
      using guard = yield* lock.write();
      guard.value = 2;
      log.push("wrote");
    });
    yield* untilIdle();
    const reader = spawn(function* () {
      using guard = yield* lock.read();
      log.push(`read ${guard.value}`);
    });
    yield* untilIdle();
    expect(log).toEqual([]);
    expect(lock.tryRead()).toBeNull();
    first.release();
    second?.release();
    yield* writer;
    yield* reader;
    expect(log).toEqual(["wrote", "read 2"]);
    expect(() => first.value).toThrow("was already released");
  });
});

test("a downgraded write guard keeps a waiting writer out, and lets the readers before it in", () => {
  using runtime = new Runtime();
  const lock = new RwLock(1);
  runtime.blockOn(function* () {
    const writing = yield* lock.write();
    const reader = spawn(lock.read());
    const writer = spawn(lock.write());
    yield* untilIdle();
    writing.value = 2;
    const reading = writing.downgrade();
    expect(() => writing.value).toThrow("was already released");
    expect(() => writing.downgrade()).toThrow("guard.downgrade: this guard was already released");
    writing[Symbol.dispose](); // idempotent
    const other = yield* reader;
    expect([reading.value, other.value]).toEqual([2, 2]);
    other.release();
    yield* untilIdle();
    expect(writer.isFinished).toBe(false);
    reading.release();
    (yield* writer).release();
  });
});

test("an enabled wait receives a notifyOne before its first poll, and passes it on when it is dropped", () => {
  using runtime = new Runtime();
  const notify = new Notify();
  const first = notify.notified();
  const second = notify.notified();
  expect([first.enable(), second.enable()]).toEqual([false, false]);
  notify.notifyOne();
  expect([first.enable(), second.enable()]).toEqual([true, false]);
  first.drop();
  expect(() => first.enable()).toThrow("was polled after it had completed or been dropped");
  expect(second.enable()).toBe(true);
  runtime.blockOn(second);
});

test("a Notify stores one notifyOne, passes it on from a dropped waiter, and notifyAll wakes all waiters", () => {
  using runtime = new Runtime();
  runtime.blockOn(function* () {
    const notify = new Notify({ name: "changed" });
    notify.notifyOne();
    notify.notifyOne();
    yield* notify.notified(); // the stored notification completes it; only one is stored
    const waits = [1, 2, 3].map(() => spawn(notify.notified()));
    yield* untilIdle();
    expect(waits.map((handle) => handle.isFinished)).toEqual([false, false, false]);
    notify.notifyOne();
    waits[0]?.abort(); // the notification chose this waiter, which has not been polled since
    yield* untilIdle();
    expect(waits.map((handle) => handle.isFinished)).toEqual([true, true, false]);
    const more = spawn(notify.notified());
    yield* untilIdle();
    notify.notifyAll();
    yield* untilIdle();
    expect([...waits, more].every((handle) => handle.isFinished)).toBe(true);
    const after = spawn(notify.notified());
    yield* untilIdle();
    expect(after.isFinished).toBe(false);
    expect(runtime.tasks().at(-1)?.waitsOn).toBe('notification "changed"');
    after.abort();
  });
  runtime.block();
});

test("a Barrier releases its tasks together, returns true to the last, and can be used again", () => {
  using runtime = new Runtime();
  expect(() => new Barrier(0)).toThrow("Barrier: size must be a positive integer; got 0");
  const barrier = new Barrier(3);
  runtime.blockOn(function* () {
    for (let round = 0; round < 2; round++) {
      const gone = spawn(barrier.wait());
      yield* untilIdle();
      gone.abort(); // an aborted wait no longer counts as an arrival
      const waits = [spawn(barrier.wait()), spawn(barrier.wait())];
      yield* untilIdle();
      expect(waits.map((handle) => handle.isFinished)).toEqual([false, false]);
      const leaders = [yield* barrier.wait()];
      for (const handle of waits) leaders.push(yield* handle);
      expect(leaders).toEqual([true, false, false]);
    }
  });
});

test("a wait that is dropped before its first poll does not arrive at the Barrier", () => {
  const { cx } = manualContext();
  const barrier = new Barrier(1);
  const gone = barrier.wait();
  gone.drop();
  expect(() => gone.poll(cx)).toThrow("was polled after it had completed or been dropped");
});

test("a OnceCell is initialized once; after a failed or cancelled init, the next task runs its own", () => {
  using runtime = new Runtime();
  runtime.blockOn(function* () {
    const cell = new OnceCell<string>();
    let tries = 0;
    const leaf = new Counting<void>();
    const init = (outcome: "fails" | "waits" | "succeeds") => async (): Promise<string> => {
      tries++;
      if (outcome === "fails") throw new Error("fails");
      if (outcome === "waits") await leaf;
      return `try ${tries}`;
    };
    expect(cell.get()).toBeUndefined();
    const first = spawn(cell.getOrInit(init("waits")));
    const second = spawn(cell.getOrInit(init("fails")));
    const third = spawn(cell.getOrInit(init("succeeds")));
    yield* untilIdle();
    expect(tries).toBe(1);
    first.abort();
    expect((yield* failureOf<Error>(second)).message).toBe("fails");
    expect(yield* third).toBe("try 3");
    expect(yield* cell.getOrInit(init("succeeds"))).toBe("try 3");
    expect(cell.get()).toBe("try 3");
  });
});
