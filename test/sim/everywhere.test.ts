// cancelEverywhere and failEverywhere: what they find, and that the library's own operations survive them.

import { describe, expect, test } from "bun:test";
import {
  AsyncFd,
  allSettled,
  BufReader,
  type Coroutine,
  deadline,
  forEach,
  hedge,
  JoinSet,
  join,
  lazy,
  Mutex,
  map,
  mpsc,
  Notify,
  now,
  orUndefined,
  pipe,
  RwLock,
  race,
  retry,
  Semaphore,
  scope,
  select,
  shared,
  shield,
  sleep,
  spawn,
  TcpListener,
  TcpStream,
  timeout,
  UdpSocket,
  UnixDatagram,
  UnixListener,
  UnixSeqpacket,
  UnixSeqpacketListener,
  UnixStream,
  yieldNow,
} from "../../src/index.ts";
import {
  type Check,
  cancelEverywhere,
  failEverywhere,
  type RepeatableWork,
  SimulationError,
  type World,
} from "../../src/sim/index.ts";

function* serve(): Coroutine<void> {
  using listener = TcpListener.bind("0.0.0.0:7000");
  for (let count = 0; count < 2; count++) {
    using stream = yield* timeout(600_000, listener.accept());
    for (;;) {
      const chunk = yield* timeout(60_000, stream.readChunk());
      if (chunk === null) break;
      yield* stream.writeAll(chunk);
    }
  }
}

function* askServer(hostname = "127.0.0.1"): Coroutine<void> {
  using stream = yield* timeout(200_000, TcpStream.connect({ hostname, port: 7000 }));
  const reader = new BufReader(stream);
  yield* stream.writev(["hel", "lo\n"]);
  yield* timeout(60_000, reader.readLine());
  stream.shutdown();
  yield* timeout(60_000, reader.readLine());
}

/** What every application is made of. */
const works: Readonly<Record<string, RepeatableWork>> = {
  "a server and two clients in one process": function* () {
    yield* scope(function* (tasks) {
      tasks.spawn(serve);
      yield* yieldNow();
      yield* join(askServer(), askServer());
    });
  },
  "a client of another host": function* (world: World) {
    world.host("server", serve, { address: "10.1.0.1" });
    yield* sleep(10);
    yield* askServer("10.1.0.1");
    yield* askServer("10.1.0.1");
  },
  datagrams: function* () {
    using a = UdpSocket.bind("127.0.0.1:0");
    using b = UdpSocket.bind("127.0.0.1:0");
    const buffer = new Uint8Array(64);
    for (let count = 0; count < 12; count++) {
      const receiving = spawn(b.recvFrom(buffer));
      try {
        yield* a.sendTo(new Uint8Array(count), b.localAddress);
        yield* timeout(1000, receiving);
      } finally {
        receiving.abort();
      }
    }
  },
  "unix sockets that pass open files": function* () {
    const path = "/run/agent.sock";
    yield* scope(function* (tasks) {
      const listener = UnixSeqpacketListener.bind({ path, mode: 0o600, replaceStale: true });
      tasks.spawn(
        function* () {
          using _ = listener;
          using client = yield* timeout(60_000, listener.accept());
          const { reader, writer } = pipe();
          using _reader = reader;
          using _writer = writer;
          yield* writer.writeAll("the file");
          yield* client.send(new Uint8Array(1), { fds: [reader] });
          yield* timeout(60_000, client.recv(new Uint8Array(1)));
        },
        { owns: listener },
      );
      using agent = yield* UnixSeqpacket.connect(path, { timeoutMs: 60_000 });
      using reply = yield* timeout(60_000, agent.recv(new Uint8Array(8)));
      using file = new AsyncFd(reply.fds[0]!.release());
      yield* timeout(60_000, file.readChunk());
      yield* agent.send(new Uint8Array(1));
    });
  },
  "unix streams and a listener with an abstract name": function* () {
    const [a, b] = UnixStream.pair();
    using _a = a;
    using _b = b;
    using listener = UnixListener.bind("");
    using client = yield* UnixStream.connect(listener.localAddress, { timeoutMs: 60_000 });
    using server = yield* timeout(60_000, listener.accept());
    yield* a.send(new Uint8Array(3), { fds: [client] });
    using message = yield* timeout(60_000, b.recv(new Uint8Array(8)));
    using again = UnixStream.fromFd(message.fds[0]!);
    yield* join(again.writeAll(new Uint8Array(300_000)), function* () {
      for (let left = 300_000; left > 0; ) {
        left -= (yield* timeout(60_000, server.readChunk()))?.length ?? left;
      }
    });
  },
  "unix datagrams to a receiver that is full": function* () {
    using receiver = UnixDatagram.bind("\0receiver");
    using sender = UnixDatagram.open();
    const count = 20;
    yield* join(
      function* () {
        for (let n = 0; n < count; n++) {
          yield* timeout(60_000, sender.sendTo(new Uint8Array([n]), "\0receiver"));
        }
      },
      function* () {
        yield* sleep(5);
        for (let n = 0; n < count; n++) {
          using _ = yield* timeout(60_000, receiver.recv(new Uint8Array(8)));
        }
      },
    );
  },
  multicast: function* () {
    using member = UdpSocket.bind("0.0.0.0:7000");
    member.joinMulticast("239.1.2.3");
    using sender = UdpSocket.bind("0.0.0.0:0");
    for (let count = 0; count < 3; count++) {
      yield* sleep(1);
      yield* sender.sendTo(new Uint8Array(1), "239.1.2.3:7000");
      yield* timeout(60_000, member.recv(new Uint8Array(8)));
    }
    member.leaveMulticast("239.1.2.3");
  },
  "a pipe": function* () {
    const { reader, writer } = pipe();
    using _reader = reader;
    using _writer = writer;
    yield* join(writer.writeAll(new Uint8Array(100_000)), function* () {
      const buffer = new Uint8Array(10_000);
      for (let left = 100_000; left > 0; ) left -= yield* reader.read(buffer);
    });
  },
};

describe("cancelEverywhere leaves nothing behind in", () => {
  test.each(Object.entries(works))("%s", (_, work) => {
    expect(cancelEverywhere(work)).toBeGreaterThan(4);
  });

  let running = 0;
  /** Work that counts itself while it runs, and whose cleanup suspends. */
  function* piece(ms: number, fails = false): Coroutine<void> {
    running++;
    try {
      yield* sleep(ms);
      if (fails) throw new Error("expected");
    } finally {
      try {
        yield* sleep(1);
      } finally {
        running--; // also if the cancellation arrives during that sleep
      }
    }
  }
  const expectNoneRunning: Check = () => {
    const left = running;
    running = 0;
    expect(left).toBe(0);
  };
  const mutex = new Mutex(0);
  const lock = new RwLock(0);
  const semaphore = new Semaphore(2);
  const _notify = new Notify();
  const others: Readonly<Record<string, readonly [RepeatableWork, Check?]>> = {
    "locks that tasks contend for": [
      function* () {
        const use = function* (): Coroutine<void> {
          using _guard = yield* mutex.lock();
          using _permit = yield* semaphore.acquire();
          using _read = yield* lock.read();
          yield* yieldNow();
        };
        const change = function* (): Coroutine<void> {
          using _write = yield* lock.write();
          yield* yieldNow();
        };
        yield* scope(function* (tasks) {
          for (let count = 0; count < 3; count++) tasks.spawn(use);
          tasks.spawn(change);
        });
      },
      () => {
        expect(semaphore.available).toBe(2);
        expect(mutex.tryLock()?.[Symbol.dispose]()).toBeUndefined();
        const write = lock.tryWrite();
        expect(write).not.toBeNull();
        write?.[Symbol.dispose]();
      },
    ],
    channels: [
      function* () {
        const { sender, receiver } = mpsc<number>(1);
        using _receiver = receiver;
        yield* join(
          function* () {
            using own = sender;
            for (let count = 0; count < 5; count++) yield* own.send(count);
          },
          function* () {
            for (let count = 0; count < 5; count++) yield* receiver.recv();
          },
        );
      },
    ],
    combinators: [
      function* () {
        yield* race(sleep(1), sleep(2), shield(sleep(3)));
        yield* select({ a: sleep(1), b: sleep(2) });
        yield* join(sleep(1), timeout(5, sleep(2)));
        const set = new JoinSet<void>();
        try {
          for (let count = 0; count < 3; count++) set.spawn(() => sleep(count));
          while (!(yield* set.joinNext()).done);
        } finally {
          yield* set.shutdown();
        }
      },
    ],
    "retry, whose attempts fail": [
      function* () {
        yield* retry((attempt) => piece(3, attempt < 3), { times: 3, backoffMs: 5 });
      },
      expectNoneRunning,
    ],
    "hedge, with three attempts": [
      function* () {
        yield* hedge(() => piece(10), { afterMs: 4, max: 3 });
      },
      expectNoneRunning,
    ],
    "map, forEach and allSettled": [
      function* () {
        yield* map([1, 2, 3, 4, 5], (ms) => piece(ms), { concurrency: 2 });
        yield* map([3, 2, 1], (ms) => piece(ms), { concurrency: 3, unordered: true });
        yield* forEach([1, 2, 3], (ms) => piece(ms), { concurrency: 2 });
        yield* allSettled(piece(1), piece(2, true));
      },
      expectNoneRunning,
    ],
    "nested deadlines": [
      function* () {
        yield* deadline(now() + 40, timeout(50, piece(3)));
        yield* orUndefined(4, timeout(50, piece(10)));
        yield* deadline(now() + 20, orUndefined(30, piece(5)));
      },
      expectNoneRunning,
    ],
    "shared work": [
      function* () {
        const connection = lazy(() => piece(5));
        yield* join(connection(), orUndefined(2, connection()), connection());
        const once = shared(piece(3));
        yield* join(once, once);
      },
      expectNoneRunning,
    ],
    "an async function": [
      async () => {
        const listener = TcpListener.bind("127.0.0.1:0");
        try {
          const stream = await TcpStream.connect(listener.localAddress);
          try {
            const peer = await listener.accept();
            peer.close();
          } finally {
            stream.close();
          }
          await sleep(5);
        } finally {
          listener.close();
          await sleep(1);
        }
      },
    ],
  };
  test.each(Object.entries(others))("%s", (_, [work, check]) => {
    expect(cancelEverywhere(work, check)).toBeGreaterThan(5);
  });
});

describe("failEverywhere leaves nothing behind in", () => {
  test.each(Object.entries(works))("%s", (_, work) => {
    expect(failEverywhere(work)).toBeGreaterThan(20);
  });
});

test("cancelEverywhere reports the step at which a socket leaks", () => {
  const leaky = function* (): Coroutine<void> {
    const listener = TcpListener.bind("127.0.0.1:0");
    yield* sleep(1);
    listener.close(); // not in a finally
  };
  expect(() => cancelEverywhere(leaky)).toThrow(SimulationError);
  expect(() => cancelEverywhere(leaky)).toThrow(
    /cancelEverywhere: cancelled at step 2 of \d+ \(work waited on .*\): something is left behind: fd 1000\d is open/,
  );
});

test("cancelEverywhere reports a permit that its check misses, and a task that is left", () => {
  const pool = new Semaphore(1);
  const forgetful = function* (): Coroutine<void> {
    const permit = yield* pool.acquire();
    yield* sleep(1);
    permit.release();
  };
  const check = (): void => expect(pool.available).toBe(1);
  expect(() => cancelEverywhere(forgetful, check)).toThrow("cancelled at step 2");
  const detaching = function* (): Coroutine<void> {
    const task = spawn(() => sleep(1e6));
    yield* sleep(1);
    task.abort();
  };
  expect(() => cancelEverywhere(detaching)).toThrow("task #3 waits on sleep");
});

test("failEverywhere reports the call after which a socket leaks, and work that hangs", () => {
  const leaky = function* (): Coroutine<void> {
    const listener = TcpListener.bind("127.0.0.1:0");
    const stream = yield* TcpStream.connect(listener.localAddress);
    stream.close();
    listener.close();
  };
  expect(() => failEverywhere(leaky)).toThrow(
    /with EMFILE from call \d+ of \d+, socket: something is left behind/,
  );
  const hanging = function* (): Coroutine<void> {
    using a = UdpSocket.bind("127.0.0.1:0");
    using b = UdpSocket.bind("127.0.0.1:0");
    try {
      yield* a.sendTo(new Uint8Array(1), b.localAddress);
    } catch {
      // forgets that nothing will arrive
    }
    yield* b.recv(new Uint8Array(1));
  };
  expect(() => failEverywhere(hanging)).toThrow(
    /from call \d+ of \d+, \w+: nothing can happen any more/,
  );
});

test("both need work that can be started again", () => {
  expect(() => cancelEverywhere(sleep(1) as never)).toThrow(
    "cancelEverywhere: work must be a function",
  );
  expect(() => failEverywhere(sleep(1) as never)).toThrow(
    "failEverywhere: work must be a function",
  );
});
