// A combinator that received a value but cannot return it gives it back to the child's future (`reclaim`), so that
// no lock stays locked, no message is lost, and no connection leaks.

import { expect, test } from "bun:test";
import {
  broadcast,
  DeadlockError,
  Future,
  type IntoFuture,
  JoinSet,
  join,
  joinAll,
  Mutex,
  mpsc,
  Notify,
  Runtime,
  RwLock,
  race,
  Semaphore,
  select,
  shield,
  sleep,
  spawn,
  TcpListener,
  TcpStream,
  timeout,
  unboundedMpsc,
  watch,
  withSignal,
  yieldNow,
} from "../../src/index.ts";
import { countFds } from "../support/fds.ts";
import { untilIdle } from "../support/idle.ts";
import { captureConsoleError } from "../support/output.ts";

/** Loses every race. Its cleanup suspends. */
function* slowToEnd() {
  try {
    yield* sleep(1e6);
  } finally {
    yield* sleep(1);
  }
}

const ways: [name: string, wrap: (work: IntoFuture<unknown>) => IntoFuture<unknown>][] = [
  ["join", (work) => join(work, sleep(1e6))],
  ["join, nested", (work) => join(join(work, yieldNow()), sleep(1e6))],
  ["race", (work) => race(slowToEnd, work)],
  ["select", (work) => select({ slow: slowToEnd, work })],
  ["timeout around a join", (work) => join(timeout(1e6, work), sleep(1e6))],
  ["withSignal", (work) => join(withSignal(new AbortController().signal, work), sleep(1e6))],
  ["shield", (work) => join(shield(work), sleep(1e6))],
  ["a work function", (work) => join(() => join(work), sleep(1e6))],
];

test.each(ways)("%s that is cancelled after it acquired a lock releases the lock", (_, wrap) => {
  using runtime = new Runtime();
  const mutex = new Mutex(null);
  for (const end of ["abort", "drop"] as const) {
    if (end === "abort") {
      const handle = runtime.spawn(wrap(mutex.lock()));
      runtime.blockOn(sleep(0));
      expect(mutex.isLocked).toBe(true);
      handle.abort();
      expect(() => runtime.blockOn(handle)).toThrow("aborted");
    } else {
      const dropped = join(wrap(mutex.lock()), yieldNow());
      runtime.blockOn(race(dropped, sleep(0)));
      runtime.block();
    }
    expect(mutex.isLocked).toBe(false);
  }
});

test.each(ways)(
  "%s that is cancelled after it received messages returns them to the channel in order",
  (_, wrap) => {
    using runtime = new Runtime();
    for (const many of [false, true]) {
      const { sender, receiver } = mpsc<number>(2);
      const sends = [1, 2, 3].map((value) => runtime.spawn(sender.send(value)));
      untilIdle(runtime);
      const handle = runtime.spawn(wrap(many ? receiver.recvMany(2) : receiver.recv()));
      runtime.blockOn(sleep(0));
      expect(sends.map((send) => send.isFinished)).toEqual([true, true, true]); // the receive made room for the third
      handle.abort();
      expect(() => runtime.blockOn(handle)).toThrow("aborted");
      expect(receiver.size).toBe(3);
      expect(sender.trySend(4)).toBe(false);
      expect(runtime.blockOn(receiver.recvMany(2))).toEqual([1, 2]);
      expect(sender.trySend(4)).toBe(true);
      expect(sender.trySend(5)).toBe(false);
      expect(runtime.blockOn(receiver.recvMany(9))).toEqual([3, 4]);
    }
  },
);

test("messages that nested combinators received go back in order", () => {
  using runtime = new Runtime();
  const { sender, receiver } = unboundedMpsc<number>();
  for (const value of [1, 2, 3, 4]) sender.send(value);
  const twice = () => join(receiver.recv(), receiver.recv());
  const handle = runtime.spawn(join(twice(), receiver.recv(), sleep(1e6)));
  runtime.blockOn(sleep(0));
  handle.abort();
  expect(() => runtime.blockOn(handle)).toThrow("aborted");
  expect(runtime.blockOn(receiver.recvMany(9))).toEqual([1, 2, 3, 4]);
});

test("reclaimed results of tasks go back to their JoinSet in order, and wake a waiting joinNext", () => {
  using runtime = new Runtime();
  const set = new JoinSet<number>();
  for (const work of [async () => 1, async () => 2, () => sleep(1e6).then(() => 0)]) {
    runtime.blockOn(async () => void set.spawn(work));
  }
  const joinTwo = () => runtime.spawn(join(set.joinNext(), set.joinNext(), sleep(1e6)));
  const cancelled = joinTwo();
  while (set.size > 1) runtime.blockOn(yieldNow());
  const waiting = runtime.spawn(set.joinNext());
  untilIdle(runtime);
  cancelled.abort();
  expect(() => runtime.blockOn(cancelled)).toThrow("aborted");
  untilIdle(runtime);
  expect(waiting.isFinished).toBe(true);
  expect(runtime.blockOn(waiting)).toEqual({ done: false, value: 1 });
  expect(set.size).toBe(2);
  expect(runtime.blockOn(set.joinNext())).toEqual({ done: false, value: 2 });
  // A set that was disposed meanwhile does not get its result back.
  runtime.blockOn(async () => void set.spawn(async () => 3));
  const late = joinTwo();
  while (set.size > 1) runtime.blockOn(yieldNow());
  set[Symbol.dispose]();
  late.abort();
  expect(() => runtime.blockOn(late)).toThrow("aborted");
  expect(runtime.blockOn(set.joinNext())).toEqual({ done: true });
});

test.each(ways)(
  "%s that is cancelled after it received a message, a change or a notification passes it to the next receiver",
  (_, wrap) => {
    using runtime = new Runtime();
    const cancelWith = (work: IntoFuture<unknown>) => {
      const handle = runtime.spawn(wrap(work));
      runtime.blockOn(sleep(0));
      handle.abort();
      expect(() => runtime.blockOn(handle)).toThrow("aborted");
    };

    const news = broadcast<number>(2);
    news.sender.send(1);
    cancelWith(news.receiver.recv());
    news.sender.send(2);
    expect(runtime.blockOn(news.receiver.recv())).toEqual({ done: false, value: 1 });
    expect(news.receiver.tryRecv()).toEqual({ done: false, value: 2 });
    news.sender.close();
    cancelWith(news.receiver.recv()); // received the end
    expect(news.receiver.tryRecv()).toEqual({ done: true });

    const value = watch("old");
    value.sender.send("new");
    cancelWith(value.receiver.changed());
    cancelWith(value.receiver.waitFor((now) => now === "new"));
    runtime.blockOn(value.receiver.changed()); // deadlocks if the change is lost

    const notify = new Notify();
    notify.notifyOne(); // stored
    cancelWith(notify.notified());
    const next = runtime.spawn(notify.notified());
    runtime.blockOn(next);
    const all = notify.notified();
    notify.notifyAll();
    cancelWith(all); // notifyAll notifies only the futures that wait, so this is not passed on
    expect(() => runtime.blockOn(notify.notified())).toThrow(DeadlockError);
  },
);

test("a reclaimed change of a watch wakes a receiver that began to wait after the change", () => {
  using runtime = new Runtime();
  const { sender, receiver } = watch(0);
  const cancelled = runtime.spawn(join(receiver.changed(), sleep(1e6)));
  sender.send(1);
  runtime.blockOn(sleep(0));
  const waiting = runtime.spawn(receiver.changed());
  untilIdle(runtime);
  expect(waiting.isFinished).toBe(false);
  cancelled.abort();
  runtime.blockOn(waiting); // deadlocks if it is not woken
});

test("reclaimed messages of a broadcast arrive in order, and never after a later message", () => {
  using runtime = new Runtime();
  const { sender, receiver } = broadcast<number>(4);
  const cancelled = (count: number, meanwhile: () => void) => {
    const all = Array.from({ length: count }, () => join(() => receiver.recv()));
    const handle = runtime.spawn(join(joinAll(all), sleep(1e6)));
    runtime.blockOn(sleep(0));
    meanwhile();
    handle.abort();
    expect(() => runtime.blockOn(handle)).toThrow("aborted");
  };
  for (const message of [1, 2, 3]) sender.send(message);
  cancelled(2, () => {});
  cancelled(3, () => sender.send(4));
  expect(receiver.tryRecv()).toEqual({ done: false, value: 1 });
  cancelled(1, () => expect(receiver.tryRecv()).toEqual({ done: false, value: 3 }));
  expect(receiver.tryRecv()).toEqual({ done: false, value: 4 });
  expect(receiver.tryRecv()).toBe(null);
});

test("a reclaimed message wakes a waiting receiver", () => {
  using runtime = new Runtime();
  const { sender, receiver } = unboundedMpsc<number>();
  sender.send(1);
  const handle = runtime.spawn(join(receiver.recv(), sleep(1e6)));
  untilIdle(runtime);
  const next = runtime.spawn(receiver.recv());
  untilIdle(runtime);
  handle.abort();
  expect(runtime.blockOn(next)).toEqual({ done: false, value: 1 });
});

test("when a sibling fails, every kind of guard is released", () => {
  using runtime = new Runtime();
  const mutex = new Mutex(null);
  const lock = new RwLock(null);
  const semaphore = new Semaphore(3);
  const fail = function* () {
    yield* yieldNow();
    throw new Error("boom");
  };
  const all = join(mutex.lock(), lock.read(), semaphore.acquire(2), fail);
  expect(() => runtime.blockOn(all)).toThrow("boom");
  expect(() => runtime.blockOn(join(lock.write(), fail))).toThrow("boom");
  expect([mutex.isLocked, lock.tryWrite() !== null, semaphore.available]).toEqual([false, true, 3]);
});

test("a value that a combinator has returned is not reclaimed", () => {
  using runtime = new Runtime();
  const [a, b] = [new Mutex(null), new Mutex(null)];
  runtime.blockOn(function* () {
    const [first] = yield* join(a.lock(), b.lock());
    const c = new Mutex(null);
    yield* timeout(1e6, race(slowToEnd, c.lock()));
    expect([a.isLocked, b.isLocked, c.isLocked]).toEqual([true, true, true]);
    first.release();
  });
  expect([a.isLocked, b.isLocked]).toEqual([false, true]);
  // An async function keeps what it awaited, also when it fails later.
  const kept = new Mutex(null);
  const failing = async () => {
    await kept.lock();
    throw new Error("later");
  };
  expect(() => runtime.blockOn(failing)).toThrow("later");
  expect(kept.isLocked).toBe(true);
});

test("a cancelled join closes the connections that it has accepted or opened", () => {
  using runtime = new Runtime();
  using listener = TcpListener.bind("127.0.0.1:0");
  const before = countFds("socket");
  const handle = runtime.spawn(
    join(listener.accept(), TcpStream.connect(listener.localAddress), sleep(1e6)),
  );
  const waitsOn = (): string => runtime.tasks()[0]?.waitsOn ?? "";
  do runtime.blockOn(sleep(0));
  while (!/^sleep, \d+ ms left$/.test(waitsOn())); // until the sleep is all that is left
  expect(countFds("socket")).toBe(before + 2);
  handle.abort();
  expect(() => runtime.blockOn(handle)).toThrow("aborted");
  expect(countFds("socket")).toBe(before);
});

class BadReclaim extends Future<null> {
  override poll(): null {
    return null;
  }

  override reclaim(): void {
    throw new Error("the reclaim failed");
  }
}

test("a reclaim that throws does not keep the other values from going back", () => {
  using runtime = new Runtime();
  using _ = captureConsoleError();
  const [first, last] = [new Mutex(null), new Mutex(null)];
  const work = join(first.lock(), new BadReclaim(), last.lock(), sleep(1e6));
  const handle = runtime.spawn(work);
  runtime.blockOn(yieldNow());
  handle.abort();
  runtime.block();
  expect([first.isLocked, last.isLocked]).toEqual([false, false]);

  const set = new JoinSet<unknown>();
  const lock = new Mutex(null);
  runtime.blockOn(async () => {
    set.spawn(new BadReclaim());
    set.spawn(lock.lock());
    await sleep(0);
    expect(lock.isLocked).toBe(true);
    const joining = spawn(set.joinNext());
    expect(() => set[Symbol.dispose]()).toThrow("the reclaim failed");
    expect(await joining).toEqual({ done: true });
  });
  expect(lock.isLocked).toBe(false);
});
