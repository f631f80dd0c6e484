// Leaf: the contract of the public base class, and the reuse of the library's own leaves. The invariant of
// reuse: stale references do not affect a reused leaf.

import { describe, expect, test } from "bun:test";
import {
  AbortError,
  Again,
  type Context,
  type Coroutine,
  DeadlockError,
  type Future,
  joinAll,
  Leaf,
  mpsc,
  oneshot,
  Pending,
  type Poll,
  Runtime,
  race,
  type Scope,
  scope,
  sleep,
  sleepUntil,
  spawn,
  TcpListener,
  TcpStream,
  TimeoutError,
  timeout,
  UdpSocket,
  type Waker,
  yieldNow,
} from "../../src/index.ts";
import { caught } from "../support/caught.ts";
import { untilIdle } from "../support/idle.ts";
import { manualContext } from "../support/manual.ts";
import { streamPair } from "../support/sockets.ts";

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

/** A user's leaf: each attempt runs the next step of a script; the last step repeats. */
class Scripted<T> extends Leaf<T> {
  attempts = 0;
  releases = 0;
  waker: Waker | null = null;
  readonly #steps: readonly ((leaf: Scripted<T>) => Poll<T> | Again)[];

  constructor(...steps: ((leaf: Scripted<T>) => Poll<T> | Again)[]) {
    super();
    this.#steps = steps;
  }

  protected override attempt(cx: Context): Poll<T> | Again {
    const step = this.#steps[Math.min(this.attempts++, this.#steps.length - 1)]!;
    this.waker?.drop();
    this.waker = cx.waker.clone();
    return step(this);
  }

  protected override release(): void {
    this.releases++;
    this.waker?.drop();
    this.waker = null;
  }

  override describe(): string {
    return "a scripted leaf";
  }
}

const wait = (): Pending => Pending;
const again = (): Again => Again;
const failure = new Error("the failure");
const fail = (): never => {
  throw failure;
};

describe("a user's Leaf", () => {
  test("completes with the value of the first attempt that returns one, once it is woken", () => {
    using runtime = new Runtime();
    const leaf = new Scripted<string>(wait, wait, () => "value");
    const handle = runtime.spawn(leaf);
    untilIdle(runtime);
    expect(leaf.attempts).toBe(1);
    leaf.waker?.wakeByRef();
    untilIdle(runtime);
    expect([leaf.attempts, handle.isFinished]).toEqual([2, false]);
    leaf.waker?.wakeByRef();
    expect(runtime.blockOn(handle)).toBe("value");
  });

  test("can be awaited in an async function", () => {
    using runtime = new Runtime();
    expect(runtime.blockOn(async () => await new Scripted(() => "value"))).toBe("value");
  });

  const ends: Record<string, [Scripted<string>, end: (leaf: Scripted<string>) => unknown]> = {
    completed: [new Scripted(() => "value"), (leaf) => leaf.next()],
    "completed after a wait": [
      new Scripted<string>(wait, () => "value"),
      (leaf) => [leaf.next(), leaf.next()],
    ],
    failed: [new Scripted<string>(fail), (leaf) => caught(() => leaf.next())],
    "been dropped while it waited": [
      new Scripted<string>(wait),
      (leaf) => [leaf.next(), leaf.drop()],
    ],
    "been dropped before its first poll": [new Scripted<string>(wait), (leaf) => leaf.drop()],
    "been dropped by a `using`": [
      new Scripted<string>(wait),
      (leaf) => {
        using _ = leaf;
        leaf.next();
      },
    ],
  };

  test.each(Object.entries(ends))(
    "that has %s calls release once, and later polls throw and drops do nothing",
    (_, [leaf, end]) => {
      using runtime = new Runtime();
      runtime.blockOn(function* () {
        expect([leaf.isEnded, leaf.releases]).toEqual([false, 0]);
        end(leaf);
        expect([leaf.isEnded, leaf.releases]).toEqual([true, 1]);
        const { attempts } = leaf;
        expect(() => leaf.next()).toThrow(
          "a scripted leaf was polled after it had completed or been dropped",
        );
        leaf.drop();
        leaf[Symbol.dispose]();
        expect([leaf.attempts, leaf.releases]).toEqual([attempts, 1]);
      });
    },
  );

  test("that is cancelled with its task calls release once", () => {
    using runtime = new Runtime();
    const leaf = new Scripted<void>(wait);
    const handle = runtime.spawn(leaf);
    untilIdle(runtime);
    expect(leaf.releases).toBe(0);
    handle.abort();
    expect(() => runtime.blockOn(handle)).toThrow(AbortError);
    expect([leaf.attempts, leaf.releases]).toEqual([1, 1]);
  });

  test("makes no attempt without coop budget, and wakes itself", () => {
    const leaf = new Scripted(() => "value");
    const { cx, target, runtime } = manualContext();
    runtime.budget = 0;
    expect(leaf.poll(cx)).toBe(Pending);
    expect([leaf.attempts, target.wakes]).toEqual([0, 1]);
    runtime.budget = 1;
    expect(leaf.poll(cx)).toBe("value");
    expect(runtime.budget).toBe(0);
  });

  test.each<[string, () => Future<unknown>]>([
    ["is ready", () => new Scripted(() => "value")],
    ["fails", () => new Scripted<void>(fail)],
    ["makes progress and then completes", () => new Scripted<string>(again, () => "value")],
    ["only makes progress", () => new Scripted<void>(again)],
  ])("that always %s does not starve a timeout around the loop that awaits it", (_, create) => {
    using runtime = new Runtime();
    const loop = function* (): Coroutine<never> {
      for (;;) {
        try {
          yield* create();
        } catch (error) {
          if (error !== failure) throw error;
        }
      }
    };
    expect(() => runtime.blockOn(timeout(1, loop))).toThrow(TimeoutError);
  });

  test("that returns Again attempts again in the same poll, and is charged for each attempt", () => {
    const leaf = new Scripted<string>(again, again, () => "value");
    const { cx, runtime } = manualContext();
    runtime.budget = 10;
    expect(leaf.poll(cx)).toBe("value");
    expect([leaf.attempts, runtime.budget]).toEqual([3, 7]);
  });

  test("that returns Again when the budget is used up continues in the next poll", () => {
    const leaf = new Scripted<string>(again, again, () => "value");
    const { cx, target, runtime } = manualContext();
    runtime.budget = 2;
    expect(leaf.poll(cx)).toBe(Pending);
    expect([leaf.attempts, leaf.releases, target.wakes]).toEqual([2, 0, 1]);
    runtime.budget = 2;
    expect(leaf.poll(cx)).toBe("value");
    expect([leaf.attempts, leaf.releases]).toEqual([3, 1]);
  });

  test("that is dropped by its own attempt fails if the attempt returns Pending: nothing could wake it", () => {
    using runtime = new Runtime();
    const leaf = new Scripted<void>((self) => {
      self.drop();
      return Pending;
    });
    const error = caught(() => runtime.blockOn(leaf));
    expect((error as Error).message).toContain("a scripted leaf was polled after it had");
    expect([leaf.attempts, leaf.releases]).toEqual([1, 1]);
  });

  test("that is dropped by its own attempt still returns the value of that attempt", () => {
    using runtime = new Runtime();
    const leaf = new Scripted((self) => {
      self.drop();
      return "value";
    });
    expect(runtime.blockOn(leaf)).toBe("value");
    expect([leaf.attempts, leaf.releases]).toEqual([1, 1]);
  });

  test("appears by its description in runtime.tasks()", () => {
    using runtime = new Runtime();
    const handle = runtime.spawn(new Scripted<void>(wait), { name: "waiter" });
    untilIdle(runtime);
    expect(runtime.tasks()).toMatchObject([{ name: "waiter", waitsOn: "a scripted leaf" }]);
    handle.abort();
    runtime.block();
  });

  test("appears by its description in a DeadlockError, which also drops it", () => {
    using runtime = new Runtime();
    const leaf = new Scripted<void>(wait);
    const error = caught(() => runtime.blockOn(leaf));
    expect(error).toBeInstanceOf(DeadlockError);
    expect((error as Error).message).toContain("blockOn waits on a scripted leaf");
    expect(leaf.releases).toBe(1);
  });
});

test("a task that reads and writes in a loop reuses one leaf for reading and one for writing", () => {
  new Runtime().blockOn(function* () {
    const [near, far] = yield* streamPair();
    using _ = near;
    using __ = far;
    const seen = new Set<Future<unknown>>();
    const buffer = new Uint8Array(8);
    for (let round = 0; round < 10; round++) {
      const write = near.writeAll("ping");
      yield* write;
      const read = far.read(buffer);
      expect(yield* read).toBe(4);
      seen.add(write).add(read);
    }
    expect(seen.size).toBe(2);
  });
});

test("a task that accepts in a loop reuses one leaf, and earlier connections stay valid", () => {
  new Runtime().blockOn(function* () {
    using listener = TcpListener.bind("127.0.0.1:0");
    const seen = new Set<Future<unknown>>();
    const pairs: [TcpStream, TcpStream][] = [];
    for (let round = 0; round < 3; round++) {
      const near = yield* TcpStream.connect(listener.localAddress);
      const accept = listener.accept();
      pairs.push([near, yield* accept]);
      seen.add(accept);
    }
    expect(seen.size).toBe(1);
    for (const [near, far] of pairs) expect(far.remoteAddress).toEqual(near.localAddress);
    for (const one of pairs.flat()) one.close();
  });
});

test("a leaf is not reused while it is pending or has not been polled", () => {
  new Runtime().blockOn(function* () {
    const [near, far] = yield* streamPair();
    using _ = near;
    using __ = far;
    yield* near.writeAll("a");
    yield* far.read(new Uint8Array(1)); // completes, so it can be reused
    const [first, second] = [far.read(new Uint8Array(1)), far.read(new Uint8Array(1))];
    expect(first).not.toBe(second);
    yield* near.writeAll("bc");
    expect(yield* joinAll([first, second])).toEqual([1, 1]);
  });
});

test("a leaf bound by `using` is not reused, so leaving the block does not end another task's read", () => {
  new Runtime().blockOn(function* () {
    const [near, far] = yield* streamPair();
    using _ = near;
    using __ = far;
    const log: string[] = [];
    const first = spawn(function* () {
      using read = far.read(new Uint8Array(1));
      yield* read;
      yield* sleep(1); // until the other task waits
      log.push("dropped");
    });
    const second = spawn(function* () {
      yield* yieldNow();
      log.push(`read ${yield* far.read(new Uint8Array(8))}`);
    });
    yield* near.writeAll("x");
    yield* first;
    yield* near.writeAll("later");
    yield* second;
    expect(log).toEqual(["dropped", "read 5"]);
  });
});

test("a task does not reuse a leaf of another task, so a late drop there does not end its wait", () => {
  new Runtime().blockOn(function* () {
    const { sender, receiver } = mpsc<number>(4);
    const first = spawn(function* () {
      const received = receiver.recv();
      yield* received;
      yield* untilIdle(); // until the other task waits
      received.drop();
    });
    yield* sender.send(1);
    yield* yieldNow();
    const second = spawn(() => receiver.recv());
    yield* first;
    yield* sender.send(2);
    expect(yield* second).toEqual({ done: false, value: 2 });
  });
});

test("a reused leaf ignores a drop of its earlier use before its first poll", () => {
  new Runtime().blockOn(function* () {
    const [near, far] = yield* streamPair();
    using _ = near;
    using __ = far;
    yield* near.writeAll("ab");
    const body = function* () {
      const header = far.read(new Uint8Array(1));
      yield* header;
      const later = far.read(new Uint8Array(1));
      expect(later).toBe(header);
      header.drop();
      return [later]; // in an array: the caller awaits it, not this coroutine
    };
    const [rest] = yield* body();
    expect(yield* rest!).toBe(1);
  });
});

test("leaving the block of a `using` sleep does not end a later sleep in another task", () => {
  new Runtime().blockOn(function* () {
    const body = function* () {
      using first = sleep(0);
      yield* first;
      const later = spawn(sleep(0.01));
      yield* yieldNow(); // until it waits
      return [later];
    };
    const [later] = yield* body();
    yield* later!;
  });
});

test("leaving the block of a `using` that bound a completed sleep does not end a later sleep", () => {
  new Runtime().blockOn(function* () {
    const body = function* () {
      const first = sleep(0);
      yield* first;
      using _ = first;
      const later = spawn(sleep(0.01));
      yield* yieldNow(); // until it waits
      return [later];
    };
    const [later] = yield* body();
    yield* later!;
  });
});

test("a leaf that a combinator has polled is not reused", () => {
  new Runtime().blockOn(function* () {
    const [near, far] = yield* streamPair();
    using _ = near;
    using __ = far;
    const raced = far.read(new Uint8Array(1));
    yield* near.writeAll("abc");
    yield* race(raced, sleep(1000));
    const next = far.read(new Uint8Array(1));
    expect(next).not.toBe(raced);
    raced.drop();
    expect(yield* next).toBe(1);
    // A reused leaf that loses a race is dropped before its first poll.
    yield* race(function* () {}, far.read(new Uint8Array(1)));
    expect(yield* far.read(new Uint8Array(8))).toBe(1);
  });
});

test("a leaf that was awaited as a promise is not reused", async () => {
  await using runtime = new Runtime();
  await runtime.run(function* () {
    const { sender, receiver } = mpsc<number>(4);
    const first = receiver.recv();
    yield* sender.send(1);
    yield* first;
    const late = first.then();
    yield* sender.send(2);
    const second = receiver.recv();
    expect(second).not.toBe(first);
    expect(yield* second).toEqual({ done: false, value: 2 });
    late.catch(() => {});
  });
});

test("a reused leaf throws when it is polled after its end", () => {
  new Runtime().blockOn(function* () {
    const { sender, receiver } = mpsc<number>(4);
    for (let round = 0; round < 3; round++) {
      const send = sender.send(round);
      yield* send;
      expect(() => send.next()).toThrow("polled after");
      const received = receiver.recv();
      yield* received;
      expect(() => received.next()).toThrow("polled after");
    }
    receiver.close();
    const refused = sender.send(3); // a reused leaf
    expect(() => refused.next()).toThrow("the receiver is closed");
    expect(() => refused.next()).toThrow("polled after");
  });
});

test("a send that was dropped while it waited sends nothing", () => {
  new Runtime().blockOn(function* () {
    const { sender, receiver } = mpsc<number>(1);
    yield* sender.send(0); // fills the channel
    const waiting = spawn(() => sender.send(1));
    yield* untilIdle();
    waiting.abort();
    yield* untilIdle();
    expect(yield* receiver.recv()).toEqual({ done: false, value: 0 });
    yield* sender.send(2);
    expect(yield* receiver.recv()).toEqual({ done: false, value: 2 });
    expect(receiver.size).toBe(0);
  });
});

test("a sleep lasts its full time when an earlier, ended sleep is dropped meanwhile", () => {
  new Runtime().blockOn(function* () {
    const first = sleep(0.01);
    yield* first;
    for (const milliseconds of [2, 0, 0.5]) {
      const startMs = performance.now();
      const next = sleep(milliseconds);
      first.drop(); // does nothing: it has ended
      yield* next;
      expect(performance.now() - startMs).toBeGreaterThanOrEqual(milliseconds);
    }
    const deadlineMs = performance.now() + 1;
    const until = sleepUntil(deadlineMs);
    yield* until;
    expect(performance.now()).toBeGreaterThanOrEqual(deadlineMs);
  });
});

test("an ended leaf does not keep its buffer or message alive", () => {
  new Runtime().blockOn(function* () {
    const [near, far] = yield* streamPair();
    using _ = near;
    using __ = far;
    const { sender, receiver } = mpsc<object>(1);
    const exchange = function* () {
      const data = bytes("data");
      const message = { large: new Uint8Array(1000) };
      yield* near.writeAll(data);
      const buffer = new Uint8Array(64);
      yield* far.read(buffer);
      yield* sender.send(message);
      yield* receiver.recv();
      return [new WeakRef(data), new WeakRef(buffer), new WeakRef(message)];
    };
    const refs = yield* exchange();
    // A WeakRef keeps its target until the job ends, and the last result of `yield*` lives until the next one.
    // The collector also treats every word on the stack as an address, so it may need several attempts.
    for (let attempt = 0; attempt < 20; attempt++) {
      yield* sleep(1);
      Bun.gc(true);
      if (refs.every((ref) => ref.deref() === undefined)) return;
    }
    expect(refs.map((ref) => ref.deref() === undefined)).toEqual([true, true, true]);
  });
});

test("a channel from which an async function receives does not keep its latest message alive", async () => {
  const channels = Array.from({ length: 10 }, () => mpsc<object>(1));
  const messages: WeakRef<object>[] = [];
  const receive = async ({ sender, receiver }: (typeof channels)[0]): Promise<void> => {
    await sender.send({ large: new Uint8Array(1000) });
    const message = await receiver.recv();
    messages.push(new WeakRef(message.value as object)); // sent before
  };
  await Promise.all(channels.map(receive));
  // Not all: the collector treats every word on the stack as an address, and may keep some.
  for (let attempt = 0; attempt < 20; attempt++) {
    await new Promise((resolve) => setTimeout(resolve, 1)); // not a future of ours, which would change what is kept
    Bun.gc(true);
    if (messages.filter((ref) => ref.deref() === undefined).length >= 5) break;
  }
  expect(messages).toHaveLength(10);
  expect(messages.filter((ref) => ref.deref() === undefined).length).toBeGreaterThanOrEqual(5);
  expect(channels.map(({ receiver }) => receiver.tryRecv())).toEqual(Array(10).fill(null));
});

test("a leaf that was dropped or failed does not keep its buffer, message or task alive", () => {
  new Runtime().blockOn(function* () {
    /** By what holds them; several of each, because the collector treats every word on the stack as an address. */
    const refs = new Map<string, WeakRef<object>[]>();
    const kept: unknown[] = [];
    const exchange = function* () {
      const large = (name: string): Uint8Array => {
        const one = new Uint8Array(1000);
        refs.set(name, [...(refs.get(name) ?? []), new WeakRef(one)]);
        return one;
      };
      const [near, far] = yield* streamPair();
      const socket = UdpSocket.bind("127.0.0.1:0");
      const { sender, receiver } = mpsc<object>(1);
      const other = sender.clone();
      kept.push(near, far, socket, sender, other, receiver);
      yield* sender.send({}); // fills the channel
      const waits = [
        spawn(() => far.read(large("read"))),
        spawn(() => socket.recv(large("recv"))),
        spawn(() => sender.send(large("send"))),
      ];
      yield* untilIdle();
      for (const wait of waits) wait.abort();
      const waiting = spawn(function* () {
        yield* other.send({});
        return large("task");
      });
      yield* untilIdle();
      yield* receiver.recv();
      yield* waiting;
      for (const one of [near, far, socket]) one.close();
      try {
        yield* near.writeAll(large("failed"));
      } catch {}
    };
    for (let count = 0; count < 5; count++) yield* exchange();
    const left = (): string[] =>
      [...refs].filter(([, list]) => list.every((ref) => ref.deref())).map(([name]) => name);
    for (let attempt = 0; attempt < 20 && left().length > 0; attempt++) {
      yield* sleep(1);
      Bun.gc(true);
    }
    expect(left()).toEqual([]);
    expect(kept).toHaveLength(30);
  });
});

test("a scope or an async function does not keep the value of its last ended child alive", async () => {
  await using runtime = new Runtime();
  /** Several, because the collector treats every word on the stack as an address, and may keep some. */
  const COUNT = 10;
  const large = (): object => ({ bytes: new Uint8Array(1000) });
  const areGone = async (refs: WeakRef<object>[]): Promise<boolean> => {
    const isAnyGone = (): boolean => refs.some((ref) => ref.deref() === undefined);
    // One collection usually suffices. In a process that has run many tests, it may take half a second.
    for (let attempt = 0; attempt < 5 && !isAnyGone(); attempt++) {
      await new Promise((resolve) => setTimeout(resolve, 1)); // not a future of ours: it would reuse the child
      Bun.gc(true);
    }
    return isAnyGone();
  };

  const refs: WeakRef<object>[] = [];
  const startIn = (tasks: Scope): void => {
    const held = large();
    refs.push(new WeakRef(held));
    tasks.spawn(function* () {
      yield* yieldNow();
      return held;
    });
  };
  const ends = Array.from({ length: COUNT }, () => oneshot<void>());
  const scopes = ends.map(({ receiver }) =>
    runtime.run(
      scope(function* (tasks) {
        startIn(tasks);
        yield* receiver;
      }),
    ),
  );
  untilIdle(runtime); // the children have ended; a guest takes more turns for it when the thread is slow
  expect(refs.length).toBe(COUNT);
  expect(await areGone(refs)).toBe(true);
  for (const { sender } of ends) sender.send();
  await Promise.all(scopes);

  const received: WeakRef<object>[] = [];
  const receive = async (): Promise<void> => {
    const { sender, receiver } = oneshot<object>();
    sender.send(large());
    received.push(new WeakRef(await receiver));
  };
  const over = Promise.withResolvers<void>();
  const functions = Array.from({ length: COUNT }, () =>
    runtime.run(async () => {
      await receive();
      await over.promise;
    }),
  );
  untilIdle(runtime);
  expect(received.length).toBe(COUNT);
  expect(await areGone(received)).toBe(true);
  over.resolve();
  await Promise.all(functions);
});

test("a completed send is also reused in debug mode", () => {
  using runtime = new Runtime({ debug: true });
  runtime.blockOn(function* () {
    const { sender, receiver } = mpsc<number>(4);
    const first = sender.send(1);
    yield* first;
    const second = sender.send(2);
    expect(second).toBe(first);
    yield* second;
    yield* receiver.recv();
  });
});
