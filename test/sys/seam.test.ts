// The kernel seam: a runtime reaches the kernel only through its Sys, and code outside a runtime through the
// thread's default Sys.

import { expect, test } from "bun:test";
import { Runtime, sleep, TcpListener, Waker, yieldNow } from "../../src/index.ts";
import {
  Datagrams,
  defaultSys,
  EMFILE,
  type EpollWatcher,
  linux,
  type Sys,
  setDefaultSys,
} from "../../src/sys/index.ts";
import { Counting } from "../support/counting.ts";
import { FaultSys } from "../support/fault-sys.ts";

function withDefaultSys<T>(sys: Sys, work: () => T): T {
  const previous = setDefaultSys(sys);
  try {
    return work();
  } finally {
    setDefaultSys(previous);
  }
}

function refuse(what: string): never {
  throw new Error(`${what} is not simulated`);
}

/** Reports an event every millisecond while it watches. */
class TickingWatcher implements EpollWatcher {
  readonly fdsToStart = 0;
  readonly log: string[] = [];
  readonly #onEvent: () => void;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(onEvent: () => void) {
    this.#onEvent = onEvent;
  }

  watch(): void {
    this.log.push("watch");
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.#onEvent();
    }, 1);
  }

  rest(): void {
    this.log.push("rest");
  }

  close(): void {
    clearTimeout(this.#timer);
    this.log.push("close");
  }
}

test("a guest parks with the watcher of its Sys", async () => {
  const watchers: TickingWatcher[] = [];
  const sys: Sys = {
    ...linux(),
    watchEpoll(_epollFd, onEvent) {
      const watcher = new TickingWatcher(onEvent);
      watchers.push(watcher);
      return watcher;
    },
  };
  {
    await using runtime = new Runtime({ sys, spinMicros: 0 });
    await runtime.run(sleep(20));
  }
  expect(watchers).toHaveLength(1);
  expect(watchers[0]?.log[0]).toBe("watch");
  expect(watchers[0]?.log.at(-1)).toBe("close");
});

test("a runtime whose Sys cannot watch an epoll fd refuses guest mode, and still runs blockOn", () => {
  using runtime = new Runtime({
    sys: { ...linux(), watchEpoll: () => refuse("guest mode") },
  });
  expect(() => runtime.run(sleep(1))).toThrow("guest mode is not simulated");
  expect(runtime.blockOn(yieldNow())).toBeUndefined();
});

test("a runtime whose Sys cannot identify threads refuses spawnBlocking before a worker starts", () => {
  using runtime = new Runtime({
    sys: { ...linux(), currentThread: () => refuse("a second thread") },
  });
  expect(() => runtime.spawnBlocking(() => 1)).toThrow("a second thread is not simulated");
});

test("a Sys that lacks a method is rejected with an error that names the method", () => {
  const { watchEpoll: _, ...old } = linux();
  expect(() => new Runtime({ sys: old as Sys })).toThrow(
    "options.sys must have a method watchEpoll(); got undefined. Spread linux() to inherit it",
  );
  expect(() => setDefaultSys(old as Sys)).toThrow("setDefaultSys: sys must have a method");
  expect(() => new Runtime({ sys: 7 as unknown as Sys })).toThrow(
    "options.sys must be a Sys; got 7",
  );
  expect(defaultSys()).toBe(linux());
});

test("the default Sys serves new runtimes and code outside of them, until it is restored", () => {
  const faults = new FaultSys().fail("socket", -EMFILE);
  withDefaultSys(faults.sys, () => {
    expect(defaultSys()).toBe(faults.sys);
    expect(() => TcpListener.bind("127.0.0.1:0")).toThrow("socket EMFILE");
    using _runtime = new Runtime();
    expect(faults.count("epollCreate")).toBe(1);
  });
  expect(defaultSys()).toBe(linux());
  using _listener = TcpListener.bind("127.0.0.1:0");
  expect(faults.count("socket")).toBe(1);
});

test("a waker from a handle writes and closes through the default Sys of its own thread", () => {
  const faults = new FaultSys();
  using runtime = new Runtime();
  const future = new Counting<void>();
  const task = runtime.spawn(future);
  runtime.blockOn(yieldNow());
  const handle = future.waker!.toHandle();
  const waker = withDefaultSys(faults.sys, () => Waker.fromHandle(handle));
  expect(faults.count("currentThread")).toBe(1);
  waker.wakeByRef();
  expect(faults.count("eventfdWrite")).toBe(1);
  future.complete();
  runtime.blockOn(task);
  waker.drop();
  expect(faults.count("close")).toBe(1);
});

test("a batch of datagrams can be filled and read without libc", () => {
  const batch = new Datagrams(2);
  const from = { hostname: "fe80::1", port: 9 };
  batch.write(1, new TextEncoder().encode("hello"), from);
  const buffer = new Uint8Array(8);
  batch.copy(1, buffer);
  expect(Buffer.from(buffer).toString()).toBe("hello\0\0\0");
  batch.copy(1, buffer.subarray(0, 3).fill(0));
  expect(Buffer.from(buffer).toString()).toBe("hello\0\0\0");
  expect([batch.length(0), batch.length(1)]).toEqual([0, 5]);
  expect(batch.from(1)).toEqual(from);
  batch.write(1, new Uint8Array(100_000), { hostname: "10.0.0.2", port: 1 });
  expect(batch.length(1)).toBe(65_536);
  expect(batch.from(1)).toEqual({ hostname: "10.0.0.2", port: 1 });
});
