// Source: the syscalls that it makes, their order, and how it handles events.

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import {
  type Future,
  fromPromise,
  intoFuture,
  Runtime,
  type SysError,
  sleep,
  spawn,
  TcpListener,
  TcpStream,
  yieldNow,
} from "../../src/index.ts";
import { fdShortage } from "../../src/io/fd-shortage.ts";
import { READ } from "../../src/io/source.ts";
import {
  EAGAIN,
  ECONNABORTED,
  EINTR,
  EMFILE,
  EPOLLIN,
  type EpollEvents,
  linux,
} from "../../src/sys/index.ts";
import { FaultSys } from "../support/fault-sys.ts";
import { untilIdle } from "../support/idle.ts";
import { captureConsoleError, silenceWarnings } from "../support/output.ts";
import { readAll, readExactly, streamAndPeer } from "../support/sockets.ts";

setDefaultTimeout(60_000); // a slow machine must not fail the test

const ENOSPC = 28;
const MSG_OOB = 1;
const SHUT_WR = 1;

test("an fd is registered once, at its first would-block", () => {
  const faults = new FaultSys();
  using runtime = new Runtime({ sys: faults.sys });
  const { stream, peer } = streamAndPeer(faults.sys);
  peer.send("ready");
  runtime.blockOn(readExactly(stream, 5));
  expect(faults.count("epollAdd")).toBe(0); // the read did not wait
  for (let count = 0; count < 20; count++) {
    const read = runtime.spawn(readExactly(stream, 2));
    untilIdle(runtime);
    peer.send("xy");
    runtime.blockOn(read);
  }
  expect(faults.count("epollAdd")).toBe(1);
  expect(faults.count("epollDelete")).toBe(0);
  stream.close();
  expect(faults.count("epollDelete")).toBe(1);
  peer.close();
});

test("urgent data makes reads sticky until the reads have passed it, and one byte of it costs nothing later", () => {
  const faults = new FaultSys();
  using runtime = new Runtime({ sys: faults.sys });
  const { stream, source, peer } = streamAndPeer(faults.sys);
  const buffer = new Uint8Array(64);
  const receive = (send: () => void) => {
    const read = runtime.spawn(stream.read(buffer));
    untilIdle(runtime);
    send();
    return Buffer.from(buffer.subarray(0, runtime.blockOn(read))).toString();
  };
  expect(receive(() => peer.send("a"))).toBe("a");
  // A read stops at the urgent mark, before the byte "!", which only MSG_OOB reads. No edge follows for what is behind it.
  const urgent = receive(() => {
    peer.send("before");
    peer.send("!", MSG_OOB);
    peer.send("behind");
  });
  expect(urgent).toBe("before");
  expect(runtime.blockOn(readExactly(stream, 6))).toBe("behind");
  expect(receive(() => peer.send("b"))).toBe("b");
  const before = faults.count("recv");
  for (let count = 0; count < 10; count++) expect(receive(() => peer.send("c"))).toBe("c");
  expect(faults.count("recv") - before).toBe(10); // none only to see EAGAIN
  // The end still arrives in the same edge as the data before it.
  const last = receive(() => {
    peer.send("end");
    peer.shutdown(SHUT_WR);
  });
  expect(last).toBe("end");
  expect(runtime.blockOn(stream.read(buffer))).toBe(0);
  expect(source.isClosed).toBe(false);
  stream.close();
  peer.close();
});

test("an fd is deregistered before it is closed", () => {
  const order: string[] = [];
  const faults = new FaultSys();
  const real = linux();
  using runtime = new Runtime({ sys: faults.sys });
  const { stream, peer } = streamAndPeer(faults.sys);
  runtime.spawn(readAll(stream)).detach();
  untilIdle(runtime);
  faults.on("epollDelete", (_, epoll, fd) => {
    order.push("epollDelete");
    return real.epollDelete(epoll, fd);
  });
  faults.on("close", (_, fd) => {
    order.push("close");
    return real.close(fd);
  });
  stream.close();
  expect(order).toEqual(["epollDelete", "close"]);
  peer.close();
  expect(() => runtime.block()).toThrow("is closed");
});

test("a read after a short read waits without a recv that would block", () => {
  const faults = new FaultSys();
  using runtime = new Runtime({ sys: faults.sys });
  const { stream, peer } = streamAndPeer(faults.sys);
  const buffer = new Uint8Array(64);
  peer.send("one");
  runtime.blockOn(stream.read(buffer));
  const reading = runtime.spawn(stream.read(buffer));
  untilIdle(runtime);
  expect(faults.count("recv")).toBe(1); // the short read showed that the socket is drained
  peer.send("two");
  expect(runtime.blockOn(reading)).toBe(3);
  expect(faults.count("recv")).toBe(2);
  stream.close();
  peer.close();
});

describe("a result of the kernel", () => {
  test("EINTR makes epoll_wait, recv, send and accept try again", () => {
    const faults = new FaultSys();
    using runtime = new Runtime({ sys: faults.sys });
    faults.fail("epollWait", -EINTR, -EINTR).fail("accept", -EINTR, -EINTR);
    faults.fail("recv", -EINTR, -EAGAIN, -EINTR).fail("send", -EINTR);
    runtime.blockOn(function* () {
      using listener = TcpListener.bind("127.0.0.1:0");
      const accepting = spawn(listener.accept());
      using client = yield* TcpStream.connect(listener.localAddress);
      using server = yield* accepting;
      yield* client.writeAll("hello");
      expect(yield* readExactly(server, 5)).toBe("hello");
    });
    expect(faults.count("accept")).toBeGreaterThan(2);
  });

  test("EINTR on connect leaves the connect in progress", () => {
    const faults = new FaultSys();
    const real = linux();
    using runtime = new Runtime({ sys: faults.sys });
    faults.on("connect", (_, fd, address) => {
      faults.heal("connect");
      real.connect(fd, address);
      return -EINTR;
    });
    runtime.blockOn(function* () {
      using listener = TcpListener.bind("127.0.0.1:0");
      using client = yield* TcpStream.connect(listener.localAddress);
      using server = yield* listener.accept();
      expect(server.remoteAddress).toEqual(client.localAddress);
    });
  });

  test("a short write makes writeAll continue where the kernel stopped", () => {
    const faults = new FaultSys();
    const real = linux();
    using runtime = new Runtime({ sys: faults.sys });
    faults.on("send", (_, fd, data, flags) => real.send(fd, data.subarray(0, 3), flags));
    const { stream, peer } = streamAndPeer(faults.sys);
    runtime.blockOn(stream.writeAll("in pieces of three"));
    expect(faults.count("send")).toBe(6);
    expect(peer.recv()).toBe("in pieces of three");
    stream.close();
    peer.close();
  });

  test("ECONNABORTED makes accept skip an aborted connection", () => {
    const faults = new FaultSys().fail("accept", -ECONNABORTED, -ECONNABORTED);
    using runtime = new Runtime({ sys: faults.sys });
    runtime.blockOn(function* () {
      using listener = TcpListener.bind("127.0.0.1:0");
      using _client = yield* TcpStream.connect(listener.localAddress);
      using _server = yield* listener.accept();
    });
    expect(faults.count("accept")).toBe(3);
  });

  test("EMFILE makes accept wait without busy-polling until a socket closes", () => {
    const faults = new FaultSys();
    using runtime = new Runtime({ sys: faults.sys });
    using warn = silenceWarnings();
    runtime.blockOn(function* () {
      using listener = TcpListener.bind("127.0.0.1:0");
      using _client = yield* TcpStream.connect(listener.localAddress);
      const other = yield* TcpStream.connect(listener.localAddress);
      faults.on("accept", () => -EMFILE);
      const accepting = spawn(listener.accept());
      for (let turn = 0; turn < 500; turn++) yield* yieldNow();
      expect(faults.count("accept")).toBeLessThan(5);
      const { count } = { count: faults.count("accept") };
      faults.heal("accept");
      other.close();
      yield* yieldNow();
      expect(accepting.isFinished).toBe(true); // before its pause ended
      using _server = yield* accepting;
      expect(faults.count("accept")).toBe(count + 1);
    });
    const warnings = warn.mock.calls.map(([text]) => text);
    expect(warnings).toHaveLength(1);
    expect(warnings[0]).toContain("EMFILE");
  });
});

test("an accept that fails to register its fd leaves no timer and no waiter", () => {
  const faults = new FaultSys();
  using runtime = new Runtime({ sys: faults.sys });
  using _ = silenceWarnings();
  runtime.blockOn(function* () {
    using listener = TcpListener.bind("127.0.0.1:0");
    faults.on("accept", () => -EMFILE).on("epollAdd", () => -ENOSPC);
    const accept = listener.accept();
    expect(() => accept.next()).toThrow("ENOSPC");
    expect(runtime.metrics().timers).toBe(0);
    expect(fdShortage.waiters.size).toBe(0);
  });
});

test("a listener that closes during an fd shortage makes no more accept calls", () => {
  const faults = new FaultSys();
  using runtime = new Runtime({ sys: faults.sys });
  using _ = silenceWarnings();
  runtime.blockOn(function* () {
    const listener = TcpListener.bind("127.0.0.1:0");
    faults.on("accept", () => -EMFILE);
    const pausing = [spawn(() => listener.accept()), spawn(() => listener.accept())];
    yield* yieldNow();
    const count = faults.count("accept");
    expect(count).toBeGreaterThan(0);
    listener.close();
    pausing[0]?.abort(); // the end of its pause must not call accept
    yield* untilIdle();
    expect(() => listener.accept().next()).toThrow("is closed");
    expect(faults.count("accept")).toBe(count);
    const outcomes = pausing.map((one) => one.then(undefined, (error: Error) => error.name));
    expect(yield* fromPromise(Promise.all(outcomes))).toEqual(["AbortError", "ClosedError"]);
  });
});

test("a would-block in one direction does not delay the other direction", () => {
  const faults = new FaultSys();
  using runtime = new Runtime({ sys: faults.sys });
  const { stream, peer } = streamAndPeer(faults.sys);
  runtime.blockOn(function* () {
    const reading = spawn(readExactly(stream, 1));
    yield* yieldNow(); // the fd is registered: readiness that already holds causes no more edges
    peer.send("a");
    yield* reading;
    faults.fail("recv", -EAGAIN);
    const waiting = spawn(() => stream.read(new Uint8Array(1)));
    yield* yieldNow();
    expect(stream.write(new Uint8Array(1)).next()).toEqual({ done: true, value: 1 });

    peer.send("bc");
    yield* waiting; // one byte stays in the socket
    faults.fail("send", -EAGAIN);
    const late = stream.write(new Uint8Array(1));
    expect(late.next().done).toBe(false);
    expect(stream.read(new Uint8Array(1)).next()).toEqual({ done: true, value: 1 });
    late.drop();
  });
  stream.close();
  peer.close();
});

test("a stale event of a closed socket does not reach the next owner of its slot", () => {
  const faults = new FaultSys();
  const real = linux();
  using runtime = new Runtime({ sys: faults.sys });
  const first = streamAndPeer(faults.sys);
  const tokens: [slot: number, generation: number][] = [];
  faults.on("epollAdd", (_, epoll, fd, events, slot, generation) => {
    tokens.push([slot, generation]);
    return real.epollAdd(epoll, fd, events, slot, generation);
  });
  runtime.spawn(first.stream.read(new Uint8Array(8))).detach();
  untilIdle(runtime);
  first.stream.close();
  const second = streamAndPeer(faults.sys); // reuses the fd and the slot of `first`
  expect(second.source.fd).toBe(first.source.fd);
  const reading = runtime.spawn(second.stream.read(new Uint8Array(8)));
  reading.detach();
  expect(() => runtime.blockOn(yieldNow())).toThrow("is closed");
  expect(tokens.map(([slot]) => slot)).toEqual([tokens[0]?.[0], tokens[0]?.[0]] as number[]);

  const polls = (): number => runtime.metrics().polls;
  const stale = (generation: number) => {
    faults.on("epollWait", (_, __, events: EpollEvents) => {
      faults.heal("epollWait");
      events.set(0, EPOLLIN, tokens[0]?.[0] ?? -1, generation);
      return 1;
    });
  };
  stale(tokens[0]?.[1] ?? -1);
  second.source.clearReady(READ);
  const before = polls();
  runtime.blockOn(function* () {
    for (let turn = 0; turn < 150; turn++) yield* yieldNow();
  });
  expect(polls() - before).toBe(151); // no other task was polled
  expect(second.source.ready & READ).toBe(0);
  stale(tokens[1]?.[1] ?? -1); // the same event with the right generation
  runtime.blockOn(function* () {
    for (let turn = 0; turn < 150; turn++) yield* yieldNow();
  });
  expect(polls() - before).toBe(303);
  for (const { stream, peer } of [first, second]) {
    stream.close();
    peer.close();
  }
});

test("events of many sockets arrive in one round", () => {
  using runtime = new Runtime();
  const pairs = Array.from({ length: 50 }, () => streamAndPeer());
  const reads = pairs.map(({ stream }) => runtime.spawn(readExactly(stream, 1)));
  untilIdle(runtime);
  for (const { peer } of pairs) peer.send("x");
  const { rounds, events } = runtime.metrics();
  runtime.blockOn(function* () {
    for (const read of reads) yield* read;
  });
  expect(runtime.metrics().events - events).toBe(50);
  expect(runtime.metrics().rounds - rounds).toBeLessThanOrEqual(3);
  for (const { stream, peer } of pairs) {
    stream.close();
    peer.close();
  }
});

test("a socket stays open when its runtime is disposed, and works in another", () => {
  const { stream, peer } = streamAndPeer();
  {
    using runtime = new Runtime();
    runtime.spawn(readExactly(stream, 1));
    untilIdle(runtime);
  }
  using runtime = new Runtime();
  peer.send("still open");
  expect(runtime.blockOn(readExactly(stream, 10))).toBe("still open");
  stream.close();
  peer.close();
});

test("a future that outlives its runtime does not register its fd with another runtime's epoll", () => {
  const { stream, peer } = streamAndPeer();
  let read: Future<string> | undefined;
  {
    using runtime = new Runtime();
    runtime.blockOn(function* () {
      read = intoFuture(function* () {
        try {
          yield* sleep(1e9);
        } finally {
          yield* readExactly(stream, 1);
        }
        return "ran on";
      });
      read.next();
    });
  }
  using _next = new Runtime(); // its epoll fd has the number of the first runtime's
  using report = captureConsoleError();
  read?.drop();
  expect(report.mock.calls.map((call) => (call[1] as SysError).code)).toEqual(["EBADF"]);
  stream.close();
  peer.close();
});

test("reads and writes transfer the right bytes although garbage collections run in between", () => {
  using runtime = new Runtime();
  const { stream, peer } = streamAndPeer();
  runtime.blockOn(function* () {
    for (let round = 0; round < 15; round++) {
      const text = `round ${round}`;
      Bun.gc(true);
      yield* stream.writeAll(text);
      Bun.gc(true);
      expect(peer.recv()).toBe(text);
      peer.send(text);
      expect(yield* readExactly(stream, text.length)).toBe(text);
    }
  });
  stream.close();
  peer.close();
});
