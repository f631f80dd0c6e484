// Channels on a runtime: mpsc, oneshot, broadcast and watch. models.test.ts checks them against models.

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import {
  AbortError,
  broadcast,
  ChannelClosedError,
  type Future,
  type JoinHandle,
  LaggedError,
  mpmc,
  mpsc,
  type Next,
  oneshot,
  Pending,
  Runtime,
  spawn,
  unboundedMpmc,
  unboundedMpsc,
  watch,
} from "../../src/index.ts";
import { failureOf } from "../support/caught.ts";
import { untilIdle } from "../support/idle.ts";
import { manualContext } from "../support/manual.ts";

setDefaultTimeout(60_000); // a slow machine must not fail the test

describe("mpsc", () => {
  test("messages arrive in order, a full channel makes senders wait, and the end follows the last sender's close", () => {
    using runtime = new Runtime();
    runtime.blockOn(function* () {
      const { sender, receiver } = mpsc<number>(2, { name: "jobs" });
      const log: string[] = [];
      const clone = sender.clone();
      const sending = spawn(function* () {
        using mine = clone;
        for (let value = 1; value <= 4; value++) {
          yield* mine.send(value);
          log.push(`sent ${value}`);
        }
      });
      sender.close();
      yield* untilIdle();
      expect(log).toEqual(["sent 1", "sent 2"]);
      expect(runtime.tasks().map((task) => task.waitsOn)).toContain('send on channel "jobs"');
      const got: Next<number>[] = [];
      for (let count = 0; count < 5; count++) got.push(yield* receiver.recv());
      expect(got.map((next) => next.value)).toEqual([1, 2, 3, 4, undefined]);
      expect(got[4]).toEqual({ done: true });
      expect(receiver.tryRecv()).toEqual({ done: true });
      yield* sending;
    });
  });

  test("a closed receiver fails sends, and still returns the messages that were sent before", () => {
    using runtime = new Runtime();
    runtime.blockOn(function* () {
      const { sender, receiver } = mpsc<number>(1);
      yield* sender.send(1);
      const waits = spawn(failureOf(sender.send(2)));
      yield* untilIdle();
      receiver.close();
      expect(yield* waits).toBeInstanceOf(ChannelClosedError);
      expect(sender.isClosed).toBe(true);
      expect(() => sender.trySend(3)).toThrow(ChannelClosedError);
      expect(yield* receiver.recv()).toEqual({ done: false, value: 1 });
      expect(yield* receiver.recv()).toEqual({ done: true });
    });
  });

  test("trySend and tryRecv never wait, recvMany returns up to its limit, and for await ends with the channel", () => {
    using runtime = new Runtime();
    runtime.blockOn(async () => {
      const { sender, receiver } = mpsc<number>(3);
      expect(receiver.tryRecv()).toBeNull();
      expect([1, 2, 3, 4].map((value) => sender.trySend(value))).toEqual([true, true, true, false]);
      expect(receiver.size).toBe(3);
      expect(await receiver.recvMany(2)).toEqual([1, 2]);
      expect(sender.trySend(5)).toBe(true);
      sender.close();
      const rest: number[] = [];
      for await (const value of receiver) rest.push(value);
      expect(rest).toEqual([3, 5]);
      expect(await receiver.recvMany(2)).toEqual([]);
      expect(() => receiver.recvMany(0)).toThrow(
        "recvMany: limit must be a positive integer; got 0",
      );
      expect(() => sender.trySend(1)).toThrow("this sender is closed");
    });
  });

  test("a recv throws while another task waits on the receiver", () => {
    using runtime = new Runtime();
    runtime.blockOn(function* () {
      const { sender, receiver } = mpsc<number>(1, { name: "one" });
      const first = spawn(receiver.recv());
      yield* untilIdle();
      const second = yield* failureOf(receiver.recv());
      expect((second as Error).message).toContain(
        'recv on channel "one": another task already waits on this receiver',
      );
      yield* sender.send(7);
      expect(yield* first).toEqual({ done: false, value: 7 });
    });
  });

  test("a recv throws while another task's recv is woken but not polled yet", () => {
    using runtime = new Runtime();
    runtime.blockOn(function* () {
      const { sender, receiver } = mpsc<number>(2);
      const first = spawn(receiver.recv());
      yield* untilIdle();
      sender.trySend(1);
      const second = yield* failureOf(receiver.recv());
      expect((second as Error).message).toContain("another task already waits on this receiver");
      expect(yield* first).toEqual({ done: false, value: 1 });
      expect(yield* first).toEqual({ done: false, value: 1 });
    });
  });

  test("closing a sender fails its own waiting sends at once, and leaves those of other senders waiting", () => {
    using runtime = new Runtime();
    runtime.blockOn(function* () {
      const { sender, receiver } = mpsc<number>(1, { name: "jobs" });
      const other = sender.clone();
      const late = sender.send(1); // not polled yet
      sender.trySend(2);
      const waits = spawn(failureOf(sender.send(3)));
      const behind = spawn(other.send(4));
      yield* untilIdle();
      sender.close();
      const failure = yield* waits; // before there is room
      expect(failure).toBeInstanceOf(ChannelClosedError);
      expect((failure as Error).message).toBe('channel "jobs": this sender is closed');
      expect(yield* receiver.recv()).toEqual({ done: false, value: 2 });
      yield* behind;
      expect(yield* receiver.recv()).toEqual({ done: false, value: 4 });
      other.close();
      expect(yield* receiver.recv()).toEqual({ done: true });
      expect(((yield* failureOf(late)) as Error).message).toContain("is closed");
      expect(receiver.size).toBe(0);
    });
  });

  test("a permit holds room for one message until it is used or disposed, or its sender is closed", () => {
    using runtime = new Runtime();
    runtime.blockOn(function* () {
      const { sender, receiver } = mpsc<number>(2, { name: "jobs" });
      const [first, second] = [yield* sender.reserve(), yield* sender.reserve()];
      expect([sender.capacity, sender.maxCapacity, sender.trySend(9)]).toEqual([0, 2, false]);
      const third = spawn(sender.reserve());
      yield* untilIdle();
      expect(runtime.tasks().map((task) => task.waitsOn)).toContain('reserve on channel "jobs"');
      first.send(1);
      expect(() => first.send(2)).toThrow("this permit was already used or disposed");
      second[Symbol.dispose]();
      const permit = yield* third;
      expect(yield* receiver.recv()).toEqual({ done: false, value: 1 });
      sender.close();
      expect(() => permit.send(3)).toThrow(ChannelClosedError);
      expect(sender.capacity).toBe(2);
      expect(yield* receiver.recv()).toEqual({ done: true });
    });
  });

  test("sender.closed() completes when the receiver is closed", () => {
    using runtime = new Runtime();
    runtime.blockOn(function* () {
      const { sender, receiver } = unboundedMpsc<number>({ name: "jobs" });
      const closed = spawn(sender.closed());
      yield* untilIdle();
      const waitsOn = runtime.tasks().map((task) => task.waitsOn);
      expect(waitsOn).toContain('the receiver of channel "jobs" to close');
      receiver.close();
      yield* closed;
      yield* sender.closed();
    });
  });

  test.each([
    [0, "0"],
    [-1, "-1"],
    [1.5, "1.5"],
    [Number.NaN, "NaN"],
    [Number.POSITIVE_INFINITY, "Infinity"],
    [2 ** 53, "9007199254740992"],
    ["3", '"3"'],
    [3n, "3n"],
    [undefined, "undefined"],
  ])("mpsc and broadcast refuse the capacity %p", (value, shown) => {
    const message = `capacity must be a positive integer; got ${shown}`;
    expect(() => mpsc(value as number)).toThrow(`mpsc: ${message}`);
    expect(() => mpmc(value as number)).toThrow(`mpmc: ${message}`);
    expect(() => broadcast(value as number)).toThrow(`broadcast: ${message}`);
  });

  test("an unbounded channel accepts 1,000 messages without a receive, and returns them in order", () => {
    using runtime = new Runtime();
    const { sender, receiver } = unboundedMpsc<number>();
    for (let value = 0; value < 1000; value++) sender.send(value);
    sender.clone().close();
    sender.close();
    const got = runtime.blockOn(receiver.recvMany(2000));
    expect(got).toEqual(Array.from({ length: 1000 }, (_, index) => index));
    receiver.close();
  });

  /**
   * Sends up to a million messages from 100 producers, and checks that none is lost, duplicated or reordered. Unless
   * `batchesPerAbort` is null, aborts a random producer once per that many received batches, on average.
   */
  const sendMillion = (batchesPerAbort: number | null, seed = 1) => {
    const random = (below: number): number => {
      seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0;
      return Math.floor((seed / 2 ** 32) * below);
    };
    const aborted = new Set<number>();
    using runtime = new Runtime();
    let received = 0;
    let completed = 0;
    const last = new Map<number, number>();
    runtime.blockOn(function* () {
      const { sender, receiver } = mpsc<[producer: number, value: number]>(64);
      const producers: JoinHandle<void>[] = [];
      for (let producer = 0; producer < 100; producer++) {
        const mine = sender.clone();
        producers.push(
          spawn(function* () {
            using _ = mine;
            for (let value = 0; value < 10_000; value++) {
              yield* mine.send([producer, value]);
              completed++;
            }
          }),
        );
      }
      sender.close();
      for (;;) {
        const batch = yield* receiver.recvMany(32);
        if (batch.length === 0) break;
        received += batch.length;
        for (const [producer, value] of batch) {
          if (value !== (last.get(producer) ?? -1) + 1)
            throw new Error("a message is out of order or lost");
          last.set(producer, value);
        }
        if (batchesPerAbort !== null && random(batchesPerAbort) === 0) {
          const producer = random(100);
          if (last.get(producer) !== 9999) aborted.add(producer);
          producers[producer]?.abort();
        }
      }
    });
    expect(received).toBe(completed);
    for (let producer = 0; producer < 100; producer++) {
      if (!aborted.has(producer)) expect(last.get(producer)).toBe(9999);
    }
    return { received, aborted: aborted.size };
  };

  test("a million messages of a hundred producers arrive exactly once, in each producer's order", () => {
    expect(sendMillion(null)).toEqual({ received: 1_000_000, aborted: 0 });
  });

  test.each([[1], [2], [3]])(
    "messages arrive exactly once and in order while producers are aborted at random, seed %p",
    (seed) => {
      const { received, aborted } = sendMillion(400, seed);
      expect(aborted).toBeGreaterThan(20);
      expect(received).toBeLessThan(1_000_000);
    },
  );
});

describe("oneshot", () => {
  test("a waiting receiver gets the value, and a second send throws", () => {
    using runtime = new Runtime();
    runtime.blockOn(function* () {
      const { sender, receiver } = oneshot<number>();
      const receiving = spawn(receiver);
      yield* untilIdle();
      sender.send(42);
      expect(yield* receiving).toBe(42);
      expect(() => sender.send(1)).toThrow("was already used or closed");
    });
  });

  test("a receiver throws ChannelClosedError if the sender is disposed without sending", () => {
    using runtime = new Runtime();
    const { sender, receiver } = oneshot<number>();
    sender[Symbol.dispose]();
    expect(() => runtime.blockOn(receiver)).toThrow(ChannelClosedError);
  });

  test("closed completes and send throws once the receiver is dropped", () => {
    using runtime = new Runtime();
    runtime.blockOn(function* () {
      const { sender, receiver } = oneshot<number>();
      const closed = spawn(sender.closed());
      yield* untilIdle();
      receiver.drop();
      yield* closed;
      expect(() => sender.send(1)).toThrow(ChannelClosedError);
    });
  });

  test("trySend returns false, and isClosed is true, once the receiver was dropped", () => {
    using runtime = new Runtime();
    runtime.blockOn(function* () {
      const { sender, receiver } = oneshot<number>();
      const receiving = spawn(receiver);
      yield* untilIdle();
      expect(sender.isClosed).toBe(false);
      receiving.abort();
      expect(yield* failureOf(receiving)).toBeInstanceOf(AbortError);
      expect(sender.isClosed).toBe(true);
      expect(sender.trySend(1)).toBe(false);
      expect(sender.trySend(1)).toBe(false);
      expect(() => sender.send(1)).toThrow("the receiver was dropped");
    });
  });

  test("trySend sends the value once, and isClosed is true once it was received", () => {
    using runtime = new Runtime();
    runtime.blockOn(function* () {
      const { sender, receiver } = oneshot<number>();
      expect(sender.trySend(42)).toBe(true);
      expect(sender.isClosed).toBe(false);
      expect(() => sender.trySend(1)).toThrow("was already used or closed");
      expect(yield* receiver).toBe(42);
      expect(sender.isClosed).toBe(true);
    });
  });

  test("closed completes once the value was received, and tasks() names the waiting receiver", () => {
    using runtime = new Runtime();
    runtime.blockOn(function* () {
      const { sender, receiver } = oneshot<number>({ name: "answer" });
      const closed = spawn(sender.closed());
      const receiving = spawn(receiver);
      yield* untilIdle();
      expect(runtime.tasks().map((task) => task.waitsOn)).toContain('recv on oneshot "answer"');
      sender.send(1);
      expect(yield* receiving).toBe(1);
      yield* closed;
    });
  });
});

test("a broadcast receiver gets all messages since it subscribed, or a LaggedError if it was too slow", () => {
  using runtime = new Runtime();
  runtime.blockOn(function* () {
    const { sender, receiver } = broadcast<number>(2, { name: "news" });
    const waits = spawn(receiver.recv());
    yield* untilIdle();
    expect(sender.send(1)).toBe(1);
    const late = sender.subscribe();
    expect(yield* waits).toEqual({ done: false, value: 1 });
    for (const value of [2, 3, 4]) expect(sender.send(value)).toBe(2);
    const lagged = yield* failureOf(receiver.recv());
    expect(lagged).toBeInstanceOf(LaggedError);
    expect((lagged as LaggedError).missed).toBe(1);
    expect(yield* receiver.recv()).toEqual({ done: false, value: 3 });
    expect(() => late.tryRecv()).toThrow(LaggedError);
    late.close();
    expect(late.tryRecv()).toEqual({ done: true });
    sender.close();
    expect(yield* receiver.recv()).toEqual({ done: false, value: 4 });
    expect(yield* receiver.recv()).toEqual({ done: true });
    expect(() => sender.send(5)).toThrow(ChannelClosedError);
  });
});

test("a watch receiver waits for changes and predicates, and throws once the sender is closed", () => {
  using runtime = new Runtime();
  runtime.blockOn(function* () {
    const { sender, receiver } = watch(0);
    const changed = spawn(receiver.changed());
    const big = spawn(receiver.waitFor((value) => value > 2));
    yield* untilIdle();
    sender.send(1);
    yield* changed;
    sender.send(2);
    sender.send(3);
    expect(yield* big).toBe(3);
    expect(receiver.value).toBe(3);
    expect(yield* sender.subscribe().waitFor(() => true)).toBe(3);
    const waits = spawn(failureOf(receiver.changed()));
    yield* untilIdle();
    sender.close();
    expect(yield* waits).toBeInstanceOf(ChannelClosedError);
    expect(() => sender.send(4)).toThrow(ChannelClosedError);
    expect(yield* receiver.waitFor((value) => value === 3)).toBe(3);
  });
});

test("reading a watch's value does not mark it as seen, a change completes all waits, and a predicate may send", () => {
  using runtime = new Runtime();
  runtime.blockOn(function* () {
    const { sender, receiver } = watch(0);
    sender.send(1);
    expect(receiver.value).toBe(1);
    yield* receiver.changed();
    sender.send(2);
    expect(receiver.markSeen()).toBe(2);
    const both = [spawn(receiver.changed()), spawn(receiver.changed())];
    yield* untilIdle();
    expect(both.map((handle) => handle.isFinished)).toEqual([false, false]);
    sender.send(3);
    for (const handle of both) yield* handle;
    const seen = yield* receiver.waitFor((value) => {
      if (value < 5) sender.send(value + 1);
      return value === 5;
    });
    expect(seen).toBe(5);
  });
});

test("a waitFor that is dropped by its own predicate leaves no waiter in the queue", () => {
  const { sender, receiver } = watch(0);
  const { cx, target } = manualContext();
  const wait: Future<number> = receiver.waitFor(() => {
    wait.drop();
    return false;
  });
  expect(() => wait.poll(cx)).toThrow("polled after");
  sender.send(1);
  expect(target.wakes).toBe(0);
});

test("a broadcast recv throws while another task waits on the receiver", () => {
  using runtime = new Runtime();
  runtime.blockOn(function* () {
    const { sender, receiver } = broadcast<number>(2, { name: "news" });
    const first = spawn(receiver.recv());
    yield* untilIdle();
    const second = yield* failureOf(receiver.recv());
    expect((second as Error).message).toBe(
      'recv on broadcast "news": another task already waits on this receiver',
    );
    sender.send(1);
    expect(yield* first).toEqual({ done: false, value: 1 });
  });
});

describe("mpmc", () => {
  test("each message reaches exactly one receiver, and waiting receivers take turns", () => {
    using runtime = new Runtime();
    runtime.blockOn(function* () {
      const { sender, receiver } = mpmc<number>(4);
      const received: number[][] = [[], [], []];
      const workers = received.map((mine, index) => {
        const from = index === 0 ? receiver : receiver.clone();
        return spawn(async () => {
          using _ = from;
          for await (const message of from) mine.push(message);
        });
      });
      yield* untilIdle();
      for (let message = 0; message < 9; message++) {
        yield* sender.send(message);
        yield* untilIdle();
      }
      expect(received).toEqual([
        [0, 3, 6],
        [1, 4, 7],
        [2, 5, 8],
      ]);
      sender.close();
      for (const worker of workers) yield* worker;
    });
  });

  test("a receive that is dropped after it was granted a message passes the message to the next receiver", () => {
    using runtime = new Runtime();
    runtime.blockOn(function* () {
      const { sender, receiver } = unboundedMpmc<number>();
      const [first, second] = [spawn(receiver.recv()), spawn(receiver.clone().recv())];
      yield* untilIdle();
      sender.send(1);
      first.abort();
      expect(yield* second).toEqual({ done: false, value: 1 });
    });
  });

  test("a receiver that is closed after it was granted a message leaves the message to the others", () => {
    using runtime = new Runtime();
    runtime.blockOn(function* () {
      for (const isMany of [false, true]) {
        const { sender, receiver } = mpmc<number>(4);
        const other = receiver.clone();
        const one = receiver.clone();
        const ends = spawn((): Future<unknown> => (isMany ? one.recvMany(2) : one.recv()));
        yield* untilIdle();
        const next = spawn(receiver.recv());
        yield* untilIdle();
        sender.trySend(1);
        one.close();
        sender.trySend(2);
        sender.close();
        expect(yield* ends).toEqual(isMany ? [] : { done: true });
        const received = [yield* next, yield* other.recv(), yield* other.recv()];
        expect(received).toEqual([
          { done: false, value: 1 },
          { done: false, value: 2 },
          { done: true },
        ]);
      }
    });
  });

  test("the last receiver that is closed receives the message that it was granted before", () => {
    using runtime = new Runtime();
    runtime.blockOn(function* () {
      const { sender, receiver } = mpmc<number>(4);
      const other = receiver.clone();
      const waiting = spawn(receiver.recv());
      yield* untilIdle();
      sender.trySend(1);
      receiver.close();
      other.close();
      expect(yield* waiting).toEqual({ done: false, value: 1 });
    });
  });

  test("a closed receiver leaves its messages to the others; closing the last one fails sends", () => {
    using runtime = new Runtime();
    runtime.blockOn(function* () {
      const { sender, receiver } = mpmc<number>(1);
      const other = receiver.clone();
      const ends = spawn(receiver.recv());
      yield* untilIdle();
      receiver.close();
      expect(yield* ends).toEqual({ done: true });
      yield* sender.send(1);
      expect(receiver.tryRecv()).toEqual({ done: true });
      expect(yield* other.recv()).toEqual({ done: false, value: 1 });
      yield* sender.send(2);
      const waits = spawn(failureOf(sender.send(3)));
      yield* untilIdle();
      other.close();
      expect(yield* waits).toBeInstanceOf(ChannelClosedError);
      expect(receiver.clone().tryRecv()).toEqual({ done: false, value: 2 }); // what was sent before
      expect(yield* other.recv()).toEqual({ done: true });
    });
  });
});

test("sendModify and sendIfChanged of a watch send nothing when their function throws", () => {
  const { sender, receiver } = watch(1);
  const fails = (): number => {
    throw new RangeError("no");
  };
  expect(() => sender.sendModify(fails)).toThrow("no");
  expect(() => sender.sendIfChanged(fails)).toThrow("no");
  const { cx } = manualContext();
  expect(receiver.changed().poll(cx)).toBe(Pending);
  expect(() => sender.sendModify(1 as never)).toThrow("sendModify: modify must be a function");
});

test("leaving a for await loop neither closes the receiver nor loses a message", () => {
  using runtime = new Runtime();
  runtime.blockOn(async () => {
    const { sender, receiver } = mpsc<number>(3);
    const news = broadcast<number>(3);
    for (const value of [1, 2, 3]) {
      sender.trySend(value);
      news.sender.send(value);
    }
    for await (const value of receiver) if (value === 2) break;
    for await (const value of news.receiver) if (value === 2) break;
    expect(sender.trySend(4)).toBe(true);
    expect(await receiver.recvMany(9)).toEqual([3, 4]);
    expect(await news.receiver.recv()).toEqual({ done: false, value: 3 });
  });
});

test("`using` closes senders and receivers at the end of their block", () => {
  const jobs = mpsc<number>(1);
  const news = broadcast<number>(1);
  const level = watch(0);
  {
    using _jobs = jobs.receiver;
    using _news = news.receiver;
    using _level = level.sender;
    expect(news.sender.send(1)).toBe(1);
  }
  expect(jobs.sender.isClosed).toBe(true);
  expect(news.sender.send(2)).toBe(0);
  expect(() => level.sender.send(1)).toThrow(ChannelClosedError);
  const late = news.sender.subscribe();
  const other = unboundedMpsc<number>();
  {
    using _news = news.sender;
    using _other = other.sender;
  }
  expect(late.tryRecv()).toEqual({ done: true });
  expect(other.receiver.tryRecv()).toEqual({ done: true });
});
