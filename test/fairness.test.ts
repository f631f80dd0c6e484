// The coop budget: a task that performs only ready operations yields after at most 128 of them.

import { afterAll, expect, setDefaultTimeout, test } from "bun:test";
import {
  Barrier,
  broadcast,
  Future,
  fromPromise,
  intoFuture,
  JoinSet,
  joinAll,
  Mutex,
  mpsc,
  Notify,
  OnceCell,
  oneshot,
  Runtime,
  RwLock,
  Semaphore,
  scope,
  shield,
  sleep,
  spawn,
  TcpStream,
  timeout,
  UdpSocket,
  unboundedMpsc,
  watch,
  withSignal,
  yieldNow,
} from "../src/index.ts";
import { FaultSys } from "./support/fault-sys.ts";
import { streamAndPeer } from "./support/sockets.ts";

setDefaultTimeout(60_000); // a slow machine must not fail the test

const EMFILE = -24;
const OPERATIONS = 1000;
const socket = UdpSocket.bind("127.0.0.1:0");
afterAll(() => socket[Symbol.dispose]());

/** Returns a function that creates futures that are ready at once or at the next turn. */
type Make = (runtime: Runtime) => () => Future<unknown>;

const kinds: Record<string, Make> = {
  "a handle": (runtime) => {
    const handle = runtime.spawn(async () => {});
    return () => handle[Symbol.iterator]();
  },
  "a promise": () => () => fromPromise(Promise.resolve()),
  "a lock": () => {
    const mutex = new Mutex(0);
    return () => withRelease(mutex.lock());
  },
  "a permit": () => {
    const semaphore = new Semaphore(1);
    return () => withRelease(semaphore.acquire());
  },
  "a read lock": () => {
    const lock = new RwLock(0);
    return () => lock.read();
  },
  "a notification": () => {
    const notify = new Notify();
    return () => {
      notify.notifyOne();
      return notify.notified();
    };
  },
  "a barrier of one": () => {
    const barrier = new Barrier(1);
    return () => barrier.wait();
  },
  "a oneshot": () => () => {
    const { sender, receiver } = oneshot<void>();
    sender.send();
    return receiver;
  },
  "a oneshot without a sender": () => () => {
    const { sender, receiver } = oneshot<void>();
    sender[Symbol.dispose]();
    return receiver;
  },
  "a receive": () => {
    const { sender, receiver } = unboundedMpsc<number>();
    return () => {
      sender.send(1);
      return receiver.recv();
    };
  },
  "a send": () => {
    const { sender } = mpsc<number>(2 * OPERATIONS);
    return () => sender.send(1);
  },
  "a send to a closed channel": () => {
    const { sender, receiver } = mpsc<number>(1);
    receiver.close();
    return () => sender.send(1);
  },
  "a broadcast": () => {
    const { sender, receiver } = broadcast<number>(16);
    return () => {
      sender.send(1);
      return receiver.recv();
    };
  },
  "a watch": () => {
    const { sender, receiver } = watch(0);
    return () => {
      sender.send(1);
      return receiver.changed();
    };
  },
  "a join set": () => {
    const set = new JoinSet<void>();
    return () => set.joinNext();
  },
  "a datagram": () => () => socket.sendTo(new Uint8Array(1), socket.localAddress),
  "a closed socket": () => {
    const closed = UdpSocket.bind("127.0.0.1:0");
    closed.close();
    return () => closed.recvFrom(new Uint8Array(1));
  },
  "a connect without an fd": () => () => TcpStream.connect("127.0.0.1:1"),
  "work with an aborted signal": () => () => withSignal(AbortSignal.abort(), sleep(1)),
  "a join of nothing": () => () => joinAll([]),
  "a scope without tasks": () => () => scope(function* () {}),
  "an async function": () => () => intoFuture(async () => {}),
  "a coroutine": () => () => intoFuture(function* () {}),
  "a work function": () => () => intoFuture(() => new Ready()),
  "a future of the user": () => () => new Ready(),
  "shielded work": () => () => shield(new Ready()),
  "shielded work that fails": () => () =>
    shield(function* () {
      throw new RangeError();
    }),
  "an initialized once cell": () => {
    const cell = new OnceCell<number>();
    return () => cell.getOrInit(() => new Ready());
  },
  "work with a signal": () => {
    const { signal } = new AbortController();
    const set = new JoinSet<void>();
    return () => withSignal(signal, timeout(1e6, set.joinNext()));
  },
};

/** Ends in its first poll, and charges nothing. */
class Ready extends Future<number> {
  override poll(): number {
    return 1;
  }
}

/** Awaits `guard` and disposes the value: one operation for the loops below. */
function withRelease(guard: Future<Disposable>): Future<unknown> {
  return joinAll([
    function* () {
      (yield* guard)[Symbol.dispose]();
    },
  ]);
}

test.each(Object.entries(kinds))(
  "a loop over %s that is always ready yields to other tasks",
  (_, make) => {
    const { sys } = new FaultSys().on("socket", () => EMFILE);
    using runtime = new Runtime({ sys });
    const next = make(runtime);
    runtime.block();
    let count = 0;
    const seen: number[] = [];
    runtime.spawn(function* () {
      for (; count < OPERATIONS; count++) {
        try {
          yield* next();
        } catch {} // a closed socket or channel throws each time
      }
    });
    runtime.spawn(function* () {
      while (count < OPERATIONS) {
        seen.push(count);
        yield* yieldNow();
      }
    });
    runtime.block();
    expect(count).toBe(OPERATIONS);
    expect(seen.length).toBeGreaterThanOrEqual(OPERATIONS / 128 - 1);
    expect(seen[0]).toBeLessThanOrEqual(128);
  },
);

test("a writeAll with many short writes yields to other tasks after 128 of them", () => {
  const faults = new FaultSys();
  using runtime = new Runtime({ sys: faults.sys });
  let sent = 0;
  faults.on("send", (real, fd, data, flags) => {
    sent++;
    return real(fd, data, flags, 1); // one byte at a time: the socket buffer never fills
  });
  const { stream, peer } = streamAndPeer(faults.sys);
  const writing = runtime.spawn(stream.writeAll(new Uint8Array(OPERATIONS)));
  const seen: number[] = [];
  runtime.blockOn(function* () {
    while (!writing.isFinished) {
      seen.push(sent);
      yield* yieldNow();
    }
  });
  expect(sent).toBe(OPERATIONS);
  expect(Math.max(...seen.map((count, index) => count - (seen[index - 1] ?? 0)))).toBe(128);
  let longest = 0;
  faults.on("send", (_, _fd, _data, _flags, length = Number.POSITIVE_INFINITY) => {
    longest = Math.max(longest, length);
    return length;
  });
  runtime.blockOn(stream.writeAll(new Uint8Array(1_000_000)));
  runtime.blockOn(stream.write(new Uint8Array(1_000_000)));
  expect(longest).toBe(262_144);
  stream.close();
  peer.close();
});

test("a joinAll of children that are always ready polls at most 128 of them before it yields", () => {
  using runtime = new Runtime();
  let yields = 0;
  let most = 0;
  let last = 0;
  runtime.spawn(
    joinAll(
      Array.from(
        { length: 1000 },
        () =>
          function* () {
            for (let turn = 0; turn < 5; turn++) {
              yield* yieldNow();
              yields++;
            }
          },
      ),
    ),
  );
  runtime.spawn(function* () {
    while (yields < 5000) {
      most = Math.max(most, yields - last);
      last = yields;
      yield* yieldNow();
    }
  });
  runtime.block();
  expect(yields).toBe(5000);
  expect(most).toBeLessThanOrEqual(128);
});

test("the runtime checks epoll after at most 61 polls, with lazy and with eager eventfds", () => {
  for (const eventfd of ["lazy", "eager"] as const) {
    using runtime = new Runtime({ eventfd });
    let isOver = false;
    for (let task = 0; task < 200; task++) {
      runtime.spawn(function* () {
        while (!isOver) yield* yieldNow();
      });
    }
    const [before, after] = runtime.blockOn(function* () {
      const sleeper = spawn(sleep(1e6)); // without a timer or an fd, the driver skips the reactor
      for (let turn = 0; turn < 2; turn++) yield* yieldNow();
      const before = runtime.metrics();
      for (let turn = 0; turn < 20; turn++) yield* yieldNow();
      isOver = true;
      sleeper.abort();
      return [before, runtime.metrics()];
    });
    const rounds = after.rounds - before.rounds;
    expect(after.polls - before.polls).toBeLessThanOrEqual((rounds + 1) * 61);
    runtime.block();
  }
});

test("a computation that yields between long parts does not delay a timer", () => {
  using runtime = new Runtime();
  const parts = runtime.blockOn(function* () {
    const sleeper = spawn(sleep(1));
    yield* yieldNow(); // the sleep starts
    let parts = 0;
    for (; !sleeper.isFinished && parts < 61; parts++) {
      for (const endMs = performance.now() + 1; performance.now() < endMs; );
      yield* yieldNow();
    }
    return parts;
  });
  expect(parts).toBeLessThan(30);
});
