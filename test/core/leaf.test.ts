// Futures that are used again: nobody who knows an earlier use disturbs the later one.

import { expect, test } from "bun:test";
import {
  type Future,
  joinAll,
  mpsc,
  oneshot,
  Runtime,
  race,
  type Scope,
  scope,
  sleep,
  sleepUntil,
  spawn,
  TcpListener,
  TcpStream,
  UdpSocket,
  yieldNow,
} from "../../src/index.ts";
import { streamPair } from "../support/sockets.ts";

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

test("a task that reads and writes in a loop has the same futures each time", () => {
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

test("a task that accepts in a loop has the same future each time, and what it gave stays", () => {
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

test("one that has not been polled, or is pending, is nobody else's", () => {
  new Runtime().blockOn(function* () {
    const [near, far] = yield* streamPair();
    using _ = near;
    using __ = far;
    yield* near.writeAll("a");
    yield* far.read(new Uint8Array(1)); // the spare
    const [first, second] = [far.read(new Uint8Array(1)), far.read(new Uint8Array(1))];
    expect(first).not.toBe(second);
    yield* near.writeAll("bc");
    expect(yield* joinAll([first, second])).toEqual([1, 1]);
  });
});

test("a drop of an earlier use leaves another task's wait alone", () => {
  new Runtime().blockOn(function* () {
    const [near, far] = yield* streamPair();
    using _ = near;
    using __ = far;
    const log: string[] = [];
    const first = spawn(function* () {
      using read = far.read(new Uint8Array(1));
      yield* read;
      yield* sleep(1); // the other one waits by now
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

test("what completed in one task is not used again by another, which the first may disturb", () => {
  new Runtime().blockOn(function* () {
    const { sender, receiver } = mpsc<number>(4);
    const first = spawn(function* () {
      const received = receiver.recv();
      yield* received;
      yield* yieldNow();
      yield* yieldNow(); // the other one waits by now
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

test("a drop of an earlier use before the later one is polled is none of it", () => {
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
      return [later]; // in an array: what a coroutine returns is not awaited
    };
    const [rest] = yield* body();
    expect(yield* rest!).toBe(1);
  });
});

test("one that is dropped at the end of a block is not used again: the later use may be another task's", () => {
  new Runtime().blockOn(function* () {
    const body = function* () {
      using first = sleep(0);
      yield* first;
      const later = spawn(sleep(0.01));
      yield* yieldNow(); // it waits by now
      return [later];
    };
    const [later] = yield* body();
    yield* later!;
  });
});

test("nor is one that a block takes when it has completed", () => {
  new Runtime().blockOn(function* () {
    const body = function* () {
      const first = sleep(0);
      yield* first;
      using _ = first;
      const later = spawn(sleep(0.01));
      yield* yieldNow(); // it waits by now
      return [later];
    };
    const [later] = yield* body();
    yield* later!;
  });
});

test("what a combinator has polled is not used again", () => {
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
    // One that is used again, given to a combinator: it loses, and is dropped before it was polled.
    yield* race(function* () {}, far.read(new Uint8Array(1)));
    expect(yield* far.read(new Uint8Array(8))).toBe(1);
  });
});

test("one that was awaited by promise is not used again", async () => {
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

test("used again it is used once: a poll after its end says so", () => {
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
    const refused = sender.send(3); // one of those before
    expect(() => refused.next()).toThrow("the receiver is closed");
    expect(() => refused.next()).toThrow("polled after");
  });
});

test("a dropped one is not used again, and a pending one leaves nothing", () => {
  new Runtime().blockOn(function* () {
    const { sender, receiver } = mpsc<number>(1);
    yield* sender.send(0); // the room is gone
    const waiting = spawn(() => sender.send(1));
    yield* yieldNow();
    waiting.abort();
    yield* yieldNow();
    expect(yield* receiver.recv()).toEqual({ done: false, value: 0 });
    yield* sender.send(2);
    expect(yield* receiver.recv()).toEqual({ done: false, value: 2 });
    expect(receiver.size).toBe(0);
  });
});

test("a sleep lasts as long as it says, also after an earlier one was dropped late", () => {
  new Runtime().blockOn(function* () {
    const first = sleep(0.01);
    yield* first;
    for (const milliseconds of [2, 0, 0.5]) {
      const startMs = performance.now();
      const next = sleep(milliseconds);
      first.drop(); // it has ended: this drops nothing
      yield* next;
      expect(performance.now() - startMs).toBeGreaterThanOrEqual(milliseconds);
    }
    const deadlineMs = performance.now() + 1;
    const until = sleepUntil(deadlineMs);
    yield* until;
    expect(performance.now()).toBeGreaterThanOrEqual(deadlineMs);
  });
});

test("it lets go of the buffer, and of the message", () => {
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
    // WeakRefs hold until the job is over, and what `yield*` returned last until it is replaced; and the
    // collector takes what it finds on the stack for an address: it may need another look.
    for (let look = 0; look < 20; look++) {
      yield* sleep(1);
      Bun.gc(true);
      if (refs.every((ref) => ref.deref() === undefined)) return;
    }
    expect(refs.map((ref) => ref.deref() === undefined)).toEqual([true, true, true]);
  });
});

test("also if it was dropped, or failed; and of the task that waited", () => {
  new Runtime().blockOn(function* () {
    /** By what had it. Of so many: the collector takes what it finds on the stack for an address. */
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
      yield* sender.send({}); // the room is gone
      const waits = [
        spawn(() => far.read(large("read"))),
        spawn(() => socket.recv(large("recv"))),
        spawn(() => sender.send(large("send"))),
      ];
      yield* yieldNow();
      for (const wait of waits) wait.abort();
      const waiting = spawn(function* () {
        yield* other.send({});
        return large("task");
      });
      yield* yieldNow();
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
    for (let look = 0; look < 20 && left().length > 0; look++) {
      yield* sleep(1);
      Bun.gc(true);
    }
    expect(left()).toEqual([]);
    expect(kept).toHaveLength(30);
  });
});

test("a scope, or an async function, lets go of what ended in it last", async () => {
  await using runtime = new Runtime();
  /** Of so many: the collector takes what it finds on the stack for an address, and may miss some. */
  const COUNT = 10;
  const large = (): object => ({ bytes: new Uint8Array(1000) });
  const areGone = async (refs: WeakRef<object>[]): Promise<boolean> => {
    for (let look = 0; look < 5; look++) {
      await new Promise((resolve) => setTimeout(resolve, 1)); // no future of ours: it would take the place
      Bun.gc(true);
    }
    return refs.some((ref) => ref.deref() === undefined);
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
  await runtime.run(sleep(1));
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
  await runtime.run(sleep(1));
  expect(await areGone(received)).toBe(true);
  over.resolve();
  await Promise.all(functions);
});

test("in debug mode a completed send is reused as well", () => {
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
