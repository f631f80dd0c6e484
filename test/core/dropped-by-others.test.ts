// A future that code other than its owner drops. The owner must not wait for an event that can no longer come.

import { describe, expect, test } from "bun:test";
import {
  Barrier,
  broadcast,
  type Context,
  copy,
  copyBidirectional,
  duplex,
  type Future,
  fromPromise,
  interval,
  intoFuture,
  join,
  Leaf,
  lazy,
  map,
  mpsc,
  Notify,
  oneshot,
  Pending,
  type Poll,
  pipe,
  Runtime,
  race,
  retry,
  Semaphore,
  scope,
  shield,
  sleep,
  spawn,
  TcpListener,
  timeout,
  UdpSocket,
  type Waker,
  watch,
  yieldNow,
} from "../../src/index.ts";
import { manualContext } from "../support/manual.ts";

const long = () => sleep(1e6);
const ends = pipe();
const kinds: Record<string, () => Future<unknown>> = {
  sleep: long,
  tick: () => interval(1e6).tick(),
  recv: () => mpsc<number>(1).receiver.recv(),
  "recv of a broadcast": () => broadcast<number>(1).receiver.recv(),
  changed: () => watch(0).receiver.changed(),
  oneshot: () => oneshot<number>().receiver,
  acquire: () => new Semaphore(0).acquire(),
  notified: () => new Notify().notified(),
  "wait of a barrier": () => new Barrier(2).wait(),
  coroutine: () => intoFuture(long),
  "coroutine with cleanup": () =>
    intoFuture(function* () {
      try {
        yield* long();
      } finally {
        yield* yieldNow();
      }
    }),
  "async function": () => intoFuture(async () => await long()),
  "async function that ignores it": () =>
    intoFuture(async () => {
      await long().catch(() => {});
    }),
  join: () => join(long(), long()),
  race: () => race(long(), long()),
  timeout: () => timeout(1e6, long()),
  scope: () => scope(long),
  shield: () => shield(() => sleep(1)),
  map: () => map([1], long, { concurrency: 1 }) as unknown as Future<unknown>,
  retry: () => retry(long),
  promise: () => fromPromise(new Promise(() => {})),
  "promise with a signal": () => fromPromise((_signal) => new Promise(() => {})),
  "call of shared work": () => lazy(long)(),
  "task that is aborted on drop": () => spawn(long).abortOnDrop(),
  "copy between fds": () => copy(ends.reader, ends.writer),
  "copy both ways": () => copyBidirectional(duplex()[0], duplex()[0]),
  "a leaf of one's own": () => new Gate(),
};

class Gate extends Leaf<void> {
  #waker: Waker | null = null;

  protected override attempt(cx: Context): Poll<void> {
    this.release();
    this.#waker = cx.waker.clone();
    return Pending;
  }

  protected override release(): void {
    this.#waker?.drop();
    this.#waker = null;
  }

  override describe(): string {
    return "a gate";
  }
}

const owners: Record<string, (future: Future<unknown>) => Future<unknown>> = {
  "a coroutine": (future) =>
    intoFuture(function* () {
      return yield* future;
    }),
  "an async function": (future) => intoFuture(async () => await future),
  nobody: (future) => fromPromise(future.then()),
  "a race": (future) => race(future, long()),
};

describe.each(Object.entries(owners))("awaited by %s", (_, own) => {
  test.each(Object.entries(kinds))(
    "%s: the drop wakes its owner, whose await throws",
    (_, make) => {
      using runtime = new Runtime();
      const dropped = runtime.blockOn(async () => {
        const future = make();
        const owner = spawn(own(future));
        await yieldNow(); // it waits now
        future.drop();
        return timeout(1000, owner).catch((error: unknown) => error);
      });
      expect(dropped).toMatchObject({ code: "ERR_POLLED_AFTER_END" });
    },
  );
});

test("operations of sockets: the drop wakes the owner, whose await throws", () => {
  using runtime = new Runtime();
  runtime.blockOn(async () => {
    using listener = TcpListener.bind({ hostname: "127.0.0.1", port: 0 });
    using socket = UdpSocket.bind({ hostname: "127.0.0.1", port: 0 });
    for (const future of [listener.accept(), socket.recv(new Uint8Array(8))]) {
      const awaiting = future.then();
      await yieldNow();
      future.drop();
      expect(await timeout(1000, awaiting).catch((error: unknown) => error)).toMatchObject({
        code: "ERR_POLLED_AFTER_END",
      });
    }
  });
});

test("an owner that drops its own future is not woken", () => {
  const { cx } = manualContext();
  const { sender, receiver } = mpsc<number>(1);
  const winner = race(receiver.recv(), new Notify().notified(), new Semaphore(0).acquire());
  winner.poll(cx);
  sender.trySend(1);
  expect(cx.wakes).toBe(1);
  expect(winner.poll(cx)).toEqual({ done: false, value: 1 });
  expect(cx.wakes).toBe(1); // not by the two that lost
});
