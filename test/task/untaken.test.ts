// A value that nobody will receive goes back, exactly once, to the future that produced it (`reclaim`): a connection
// is closed, a lock is released.

import { expect, test } from "bun:test";
import {
  AbortError,
  type Context,
  Future,
  forEach,
  type JoinHandle,
  JoinSet,
  join,
  mpsc,
  Notify,
  Pending,
  type Poll,
  Runtime,
  race,
  scope,
  sleep,
  TcpListener,
  TcpStream,
  timeout,
  type Waker,
} from "../../src/index.ts";
import { caught, failureOf } from "../support/caught.ts";
import { countFds } from "../support/fds.ts";
import { untilIdle } from "../support/idle.ts";

/** Completes at once, with a value that belongs to its awaiter alone. */
class Ready extends Future<string> {
  readonly reclaimed: string[] = [];
  override poll(_cx: Context): Poll<string> {
    return "value";
  }
  override reclaim(value: string): void {
    this.reclaimed.push(value);
  }
}

/** Completes when the test opens it. */
class Gated extends Ready {
  #waker: Waker | null = null;
  #onOpen: (() => void) | null = null;
  /** Makes the next poll complete, and calls `onOpen` in it. */
  open(onOpen: () => void): void {
    this.#onOpen = onOpen;
    this.#waker?.wake();
  }
  override poll(cx: Context): Poll<string> {
    if (this.#onOpen === null) {
      this.#waker?.drop();
      this.#waker = cx.waker.clone();
      return Pending;
    }
    this.#onOpen();
    return super.poll(cx);
  }
}

/** Returns a task that has completed. */
function completed(runtime: Runtime, work: Future<string>): JoinHandle<string> {
  const handle = runtime.spawn(work);
  untilIdle(runtime);
  expect(handle.isFinished).toBe(true);
  return handle;
}

test("an owner that is dropped after its task completed gives the value back, once", () => {
  using runtime = new Runtime();
  for (const isEarly of [true, false]) {
    const work = new Ready();
    const handle = runtime.spawn(work);
    const early = isEarly ? handle.abortOnDrop() : null;
    untilIdle(runtime);
    const owner = early ?? handle.abortOnDrop();
    expect(work.reclaimed).toEqual([]);
    owner.drop();
    owner.drop();
    handle.abortOnDrop().drop();
    expect(work.reclaimed).toEqual(["value"]);
    // What was given back belongs to somebody else now.
    expect(caught(() => runtime.blockOn(handle))).toBeInstanceOf(AbortError);
    expect(handle.isAborted).toBe(true);
  }
});

test("a combinator that cancels an owner after the task completed closes the accepted connection", () => {
  using runtime = new Runtime();
  using listener = TcpListener.bind("127.0.0.1:0");
  const before = countFds("socket");
  const ways: ((owner: Future<unknown>) => Future<unknown>)[] = [
    (owner) => race(new Ready(), owner), // not polled
    (owner) => join(owner, () => Promise.reject(new Error("a sibling failed"))), // polled, and received
    (owner) => timeout(0, join(owner, sleep(1e6))),
  ];
  for (const way of ways) {
    const handle = runtime.spawn(listener.accept());
    using _client = runtime.blockOn(TcpStream.connect(listener.localAddress));
    untilIdle(runtime);
    expect(handle.isFinished).toBe(true);
    expect(countFds("socket")).toBe(before + 2);
    try {
      runtime.blockOn(way(handle.abortOnDrop()));
    } catch {}
    expect(countFds("socket")).toBe(before + 1);
  }
});

test("a value that an awaiter has received, or waits for, is not given back when an owner is dropped", () => {
  using runtime = new Runtime();
  const work = new Ready();
  const handle = completed(runtime, work);
  expect(runtime.blockOn(handle)).toBe("value");
  handle.abortOnDrop().drop();
  const owner = handle.abortOnDrop();
  expect(runtime.blockOn(owner)).toBe("value");
  owner.drop();
  expect(work.reclaimed).toEqual([]);
  expect(runtime.blockOn(handle)).toBe("value");
});

test("a value goes back only when the last of those who wait for it gives up", () => {
  using runtime = new Runtime();
  for (const isReceived of [true, false]) {
    const gate = new Gated();
    const handle = runtime.spawn(gate);
    const joined = runtime.spawn(join(handle));
    const owner = runtime.spawn(handle.abortOnDrop());
    untilIdle(runtime);
    gate.open(() => {
      // The task has completed, and both waits are woken but not polled.
      owner.abort();
      if (!isReceived) joined.abort();
    });
    untilIdle(runtime);
    expect(gate.reclaimed).toEqual(isReceived ? [] : ["value"]);
    if (isReceived) expect(runtime.blockOn(joined)).toEqual(["value"]);
    expect(caught(() => runtime.blockOn(owner))).toBeInstanceOf(AbortError);
    if (!isReceived) expect(caught(() => runtime.blockOn(joined))).toBeInstanceOf(AbortError);
  }
});

test("the value of a task that its owner aborted during its last poll goes back", () => {
  using runtime = new Runtime();
  const work = new Ready();
  let owner: Future<string> | null = null;
  class DropsOwner extends Future<string> {
    override poll(cx: Context): Poll<string> {
      owner!.drop();
      return work.poll(cx);
    }
    override reclaim(value: string): void {
      work.reclaim(value);
    }
  }
  const handle = runtime.spawn(new DropsOwner());
  owner = handle.abortOnDrop();
  untilIdle(runtime);
  expect(work.reclaimed).toEqual(["value"]);
  expect(caught(() => runtime.blockOn(handle))).toBeInstanceOf(AbortError);
});

test("a scope counts as neither a receiver nor an owner of a task's value", () => {
  using runtime = new Runtime();
  const [owned, kept] = [new Ready(), new Ready()];
  const outlives = runtime.blockOn(
    scope(function* (s) {
      const first = s.spawn(owned);
      const second = s.spawn(kept);
      yield* untilIdle();
      first.abortOnDrop().drop();
      expect(owned.reclaimed).toEqual(["value"]);
      return second;
    }),
  );
  expect(runtime.blockOn(outlives)).toBe("value");
  expect(kept.reclaimed).toEqual([]);
});

test("a join set that is disposed gives back the results that joinNext has not returned", () => {
  using runtime = new Runtime();
  const works = [new Ready(), new Ready(), new Ready()];
  const set = new JoinSet<string>();
  runtime.blockOn(function* () {
    for (const work of works) set.spawn(work);
    expect(yield* set.joinNext()).toEqual({ done: false, value: "value" });
    yield* untilIdle();
    set[Symbol.dispose]();
    set[Symbol.dispose]();
  });
  expect(works.map((work) => work.reclaimed)).toEqual([[], ["value"], ["value"]]);
});

test("a join set gives back a result that comes after its disposal, or that a cancelled joinNext had received", () => {
  using runtime = new Runtime();
  const works = [new Ready(), new Ready()] as const;
  runtime.blockOn(function* () {
    const set = new JoinSet<string>();
    class Disposes extends Future<string> {
      override poll(cx: Context): Poll<string> {
        set[Symbol.dispose]();
        return works[0].poll(cx);
      }
      override reclaim(value: string): void {
        works[0].reclaim(value);
      }
    }
    set.spawn(new Disposes());
    yield* untilIdle();
    expect(works[0].reclaimed).toEqual(["value"]);

    const other = new JoinSet<string>();
    other.spawn(works[1]);
    const joined = runtime.spawn(join(other.joinNext(), sleep(1e6)));
    yield* untilIdle();
    other[Symbol.dispose]();
    expect(works[1].reclaimed).toEqual([]);
    joined.abort();
    yield* failureOf(joined);
    expect(works[1].reclaimed).toEqual(["value"]);
  });
});

test("work that owns a resource gives its value back when its disposal fails, or is under way when it is cancelled", () => {
  using runtime = new Runtime();
  const boom = new Error("boom");
  const failing = new Ready();
  const bad = {
    [Symbol.dispose]() {
      throw boom;
    },
  };
  expect(caught(() => runtime.blockOn(runtime.spawn(failing, { owns: bad })))).toBe(boom);
  expect(failing.reclaimed).toEqual(["value"]);

  for (const isAborted of [true, false]) {
    const work = new Ready();
    const gate = new Notify();
    const slow = { [Symbol.asyncDispose]: async () => void (await gate.notified()) };
    const handle = runtime.spawn(work, { owns: slow });
    untilIdle(runtime);
    expect(handle.isFinished).toBe(false);
    if (isAborted) handle.abort();
    untilIdle(runtime);
    gate.notifyOne();
    runtime.block();
    expect(work.reclaimed).toEqual(isAborted ? ["value"] : []);
  }
});

test("forEach keeps no value of its work: an endless loop does not grow, and messages it received stay received", () => {
  using runtime = new Runtime();
  const { sender, receiver } = mpsc<number>(4);
  for (const message of [1, 2, 3]) sender.trySend(message);
  const items = [0, 1, 2];
  const work = (item: number) => (item < 2 ? receiver.recv() : sleep(1e6));
  const handle = runtime.spawn(forEach<number>(items, work as () => Future<unknown>));
  untilIdle(runtime);
  handle.abort();
  expect(caught(() => runtime.blockOn(handle))).toBeInstanceOf(AbortError);
  expect(receiver.size).toBe(1);
});
