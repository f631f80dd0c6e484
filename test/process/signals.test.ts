// Signals in blockOn and in guest mode.

import { expect, setDefaultTimeout, test } from "bun:test";
import { readFileSync } from "node:fs";
import { constants } from "node:os";
import {
  type Coroutine,
  ctrlC,
  type Future,
  type JoinHandle,
  join,
  Runtime,
  race,
  signal,
  sleep,
  spawn,
  yieldNow,
} from "../../src/index.ts";
import { linux, type Sys } from "../../src/sys/index.ts";
import { caught, failureOf } from "../support/caught.ts";
import { FaultSys } from "../support/fault-sys.ts";
import { countFds } from "../support/fds.ts";
import { untilIdle } from "../support/idle.ts";
import { root, run, start } from "../support/program.ts";

setDefaultTimeout(60_000); // the machine may be slow

const programs = `${root}test/support/programs/`;

const raise = (name: "SIGUSR2" | "SIGHUP"): boolean => process.kill(process.pid, name);

/** Runs `body` in both modes, with a runtime of its own. */
async function inBothModes(body: () => Coroutine<void>): Promise<void> {
  new Runtime().blockOn(body);
  await using guest = new Runtime();
  await guest.run(body);
}

/** Starts a task that waits for `work`, which is pending. */
function* waiting<T>(work: Future<T>): Coroutine<JoinHandle<T>> {
  const handle = spawn(work);
  yield* yieldNow();
  expect(handle.isFinished).toBe(false);
  return handle;
}

/** Returns what a task of the current runtime waits on. */
function waitsOf({ id }: JoinHandle<unknown>): string {
  return (
    Runtime.current()
      .tasks()
      .find((task) => task.id === id)?.waitsOn ?? ""
  );
}

test("a signal completes every future that waits for it, and no other", async () => {
  await inBothModes(function* () {
    const first = yield* waiting(signal("SIGUSR2"));
    const second = yield* waiting(signal("SIGUSR2"));
    const other = yield* waiting(signal("SIGHUP"));
    raise("SIGUSR2");
    expect(yield* first).toBe("SIGUSR2");
    expect(yield* second).toBe("SIGUSR2");
    expect(other.isFinished).toBe(false);
    raise("SIGHUP");
    expect(yield* other).toBe("SIGHUP");
  });
});

test("a future sees only signals that arrive after its first poll", async () => {
  await inBothModes(function* () {
    const before = yield* waiting(signal("SIGUSR2"));
    raise("SIGUSR2");
    yield* before;
    const after = yield* waiting(signal("SIGUSR2"));
    expect(yield* race(after, sleep(5))).toBeUndefined();
    raise("SIGUSR2");
    expect(yield* after).toBe("SIGUSR2");
  });
});

test("in blockOn, a signal whose future is dropped before it could complete is not lost", () => {
  new Runtime().blockOn(function* () {
    const dropped = yield* waiting(signal("SIGUSR2"));
    raise("SIGUSR2");
    dropped.abort(); // the signal has arrived, and the task has not been polled since
    yield* failureOf(dropped);
    expect(yield* signal("SIGUSR2")).toBe("SIGUSR2");
    expect(yield* race(signal("SIGUSR2"), sleep(5))).toBeUndefined();
  });
});

test("a signal that a join received, and whose value another failure discards, completes the next future", async () => {
  await inBothModes(function* () {
    const failing = function* (): Coroutine<never> {
      raise("SIGUSR2");
      yield* sleep(5); // the signal completes its future first
      throw new Error("expected");
    };
    expect(yield* failureOf(join(signal("SIGUSR2"), failing))).toMatchObject({
      message: "expected",
    });
    expect(yield* signal("SIGUSR2")).toBe("SIGUSR2");
  });
});

test("a signal that one future has received is not delivered again when the value of another one goes back", async () => {
  await inBothModes(function* () {
    const discarding = (): Future<unknown> => join(signal("SIGUSR2"), sleep(1e6));
    const receiver = yield* waiting(signal("SIGUSR2"));
    const joins = [yield* waiting(discarding()), yield* waiting(discarding())];
    raise("SIGUSR2");
    yield* receiver;
    yield* untilIdle(); // the joins have received it, too
    for (const handle of joins) {
      handle.abort();
      yield* failureOf(handle);
    }
    expect(yield* race(signal("SIGUSR2"), sleep(5))).toBeUndefined();
  });
});

test("a signal whose value goes back after a later one was received is not delivered again", async () => {
  await inBothModes(function* () {
    const discarding = yield* waiting(join(signal("SIGUSR2"), sleep(1e6)));
    raise("SIGUSR2");
    do
      yield* sleep(1); // until the join has received it
    while (waitsOf(discarding).includes("signal"));
    const receiver = yield* waiting(signal("SIGUSR2"));
    raise("SIGUSR2");
    yield* receiver;
    discarding.abort();
    yield* failureOf(discarding);
    expect(yield* race(signal("SIGUSR2"), sleep(5))).toBeUndefined();
  });
});

test("the handler is removed with the last future, and a second wait installs it again", () => {
  const faults = new FaultSys();
  new Runtime({ sys: faults.sys }).blockOn(function* () {
    for (const round of [1, 2]) {
      const both = [yield* waiting(signal("SIGUSR2")), yield* waiting(signal("SIGUSR2"))];
      expect(faults.count("catchSignal")).toBe(round);
      both[0]?.abort();
      yield* yieldNow();
      expect(faults.count("releaseSignal")).toBe(round - 1);
      both[1]?.abort();
      yield* yieldNow();
      expect(faults.count("releaseSignal")).toBe(round);
    }
  });
});

test("waiting for signals in blockOn opens one eventfd per process, and no more", () => {
  const once = (): void => {
    using runtime = new Runtime();
    runtime.blockOn(function* () {
      for (const name of ["SIGUSR2", "SIGHUP"] as const) {
        const handle = yield* waiting(signal(name));
        raise(name);
        yield* handle;
      }
    });
  };
  once();
  const before = countFds();
  for (let round = 0; round < 20; round++) once();
  // At most: runtimes of earlier tests may be closed meanwhile.
  expect(countFds()).toBeLessThanOrEqual(before);
});

test("a blockOn inside another one waits for signals, too, and each receives those of both", () => {
  using outer = new Runtime();
  using inner = new Runtime();
  outer.blockOn(function* () {
    const outside = [yield* waiting(signal("SIGUSR2")), yield* waiting(signal("SIGHUP"))];
    inner.blockOn(function* () {
      const inside = [yield* waiting(signal("SIGUSR2")), yield* waiting(signal("SIGHUP"))];
      raise("SIGUSR2");
      raise("SIGHUP");
      for (const handle of inside) yield* handle;
    });
    for (const handle of outside) yield* handle;
  });
});

test("a future that one blockOn has polled receives its signal in another one inside it", () => {
  using outer = new Runtime();
  using inner = new Runtime();
  outer.blockOn(function* () {
    const moved = signal("SIGUSR2");
    expect(moved.next().done).toBe(false);
    inner.blockOn(function* () {
      const handle = yield* waiting(moved);
      raise("SIGUSR2");
      expect(yield* handle).toBe("SIGUSR2");
    });
  });
});

test("a listener of the program still receives a signal that blockOn has caught", async () => {
  let received = 0;
  const listener = (): void => void received++;
  process.on("SIGUSR2", listener);
  new Runtime().blockOn(function* () {
    const handle = yield* waiting(signal("SIGUSR2"));
    raise("SIGUSR2");
    yield* handle;
  });
  while (received === 0) await new Promise((resolve) => setTimeout(resolve, 1));
  raise("SIGUSR2");
  while (received === 1) await new Promise((resolve) => setTimeout(resolve, 1));
  process.off("SIGUSR2", listener);
});

test("a guest and a blockOn that wait for the same signal receive it once each", async () => {
  await using guest = new Runtime();
  let received = 0;
  const inGuest = guest.run(function* () {
    for (;;) {
      yield* signal("SIGUSR2");
      received++;
    }
  });
  await sleep(1);
  new Runtime().blockOn(function* () {
    const handle = yield* waiting(signal("SIGUSR2"));
    raise("SIGUSR2");
    yield* handle;
  });
  await sleep(20); // until Bun's loop has delivered the signal, too
  expect(received).toBe(1);
  await guest[Symbol.asyncDispose]();
  expect(await failureOfPromise(inGuest)).toMatchObject({ name: "AbortError" });
});

const failureOfPromise = (promise: PromiseLike<unknown>): PromiseLike<unknown> =>
  promise.then(null, (error: unknown) => error);

test("the first Ctrl-C stops a blockOn gracefully, and the second ends the process", async () => {
  await using program = start(["bun", `${programs}block-on-ctrl-c.ts`]);
  await program.until(/running/);
  process.kill(program.pid, "SIGINT");
  await program.until(/stopping/);
  process.kill(program.pid, "SIGINT");
  expect(await program.exited).toBe(130);
});

test("without a compiler, signal throws an error in blockOn that says what to do", () => {
  const sys: Sys = {
    ...linux(),
    catchSignal() {
      throw new Error("no compiler here");
    },
  };
  using runtime = new Runtime({ sys });
  expect(caught(() => runtime.blockOn(ctrlC()))).toMatchObject({
    message: expect.stringMatching(/^signal\("SIGINT"\): .*no compiler here; use `await runtime/),
  });
  const failing: Sys = { ...linux(), catchSignal: () => -22 };
  using other = new Runtime({ sys: failing });
  expect(caught(() => other.blockOn(ctrlC()))).toMatchObject({
    code: "EINVAL",
    syscall: "sigaction",
  });
});

test("several eventfds may catch one signal, and the last one restores what it did before", async () => {
  const sys = linux();
  const { SIGUSR2 } = constants.signals;
  const isCaught = (): boolean => {
    const mask = /SigCgt:\s*(\w+)/.exec(readFileSync("/proc/self/status", "latin1"))![1]!;
    return ((BigInt(`0x${mask}`) >> BigInt(SIGUSR2 - 1)) & 1n) === 1n;
  };
  const fds = [sys.eventfd(), sys.eventfd()] as const;
  /** Sends the signal, which any thread may handle. Returns which eventfds it has written when `last` is. */
  const send = async (last: number): Promise<boolean[]> => {
    process.kill(process.pid, SIGUSR2);
    while (sys.eventfdDrain(last) !== 8) await new Promise((resolve) => setImmediate(resolve));
    return fds.map((fd) => fd === last || sys.eventfdDrain(fd) === 8);
  };
  expect(isCaught()).toBe(false);
  for (const fd of [...fds, fds[0]]) expect(sys.catchSignal(SIGUSR2, fd)).toBe(0);
  expect(await send(fds[1])).toEqual([true, true]);
  expect(sys.releaseSignal(SIGUSR2, fds[0])).toBe(0);
  expect(isCaught()).toBe(true);
  expect(await send(fds[1])).toEqual([false, true]);
  expect(sys.releaseSignal(SIGUSR2, fds[1])).toBe(0);
  expect(isCaught()).toBe(false);
  // Other code may replace the handler while an eventfd catches the signal.
  const listener = (): void => {};
  expect(sys.catchSignal(SIGUSR2, fds[0])).toBe(0);
  process.on("SIGUSR2", listener);
  expect(sys.catchSignal(SIGUSR2, fds[1])).toBe(0);
  expect(await send(fds[1])).toEqual([true, true]);
  for (const fd of fds) expect(sys.releaseSignal(SIGUSR2, fd)).toBe(0);
  process.off("SIGUSR2", listener);
  expect(isCaught()).toBe(false);
  // Never closed: see src/sys/signal-handler.ts.
});

test("a signal may also print dumps", async () => {
  await using program = start(["bun", `${programs}dump-and-signal.ts`], {
    GUILLOTINE_DUMP: "SIGUSR2",
  });
  await program.until(/waiting/);
  process.kill(program.pid, "SIGUSR2");
  await program.until(/received SIGUSR2/);
  expect(program.output()).toContain("waits on signal SIGUSR2");
  expect(await program.exited).toBe(0);
});

test("signal refuses names that no process can catch", () => {
  for (const name of ["SIGKILL", "SIGSTOP", "SIGNOPE", "toString"]) {
    expect(() => signal(name as "SIGTERM")).toThrow(`got "${name}"`);
  }
});

test("a signal is refused in a Worker, where Bun delivers none", async () => {
  expect(await run(["timeout", "20", "bun", `${programs}signal-worker.ts`])).toEqual({
    code: 0,
    output: expect.stringContaining("main thread only"),
  });
});
