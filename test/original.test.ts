// Regression tests for the defects of the original executor, the Rust `guillotine`, which would fail each test.

import { expect, setDefaultTimeout, test } from "bun:test";
import { readFileSync } from "node:fs";
import {
  Runtime,
  sleep,
  spawn,
  TcpListener,
  TcpStream,
  UdpSocket,
  yieldNow,
} from "../src/index.ts";
import { failureOf } from "./support/caught.ts";
import { FaultSys } from "./support/fault-sys.ts";
import { openFds } from "./support/fds.ts";
import { untilIdle } from "./support/idle.ts";
import { readExactly, streamAndPeer, streamPair } from "./support/sockets.ts";

setDefaultTimeout(60_000); // a slow machine must not fail the test

const EINTR = 4;

test("an fd that one future has polled wakes the future that polls it next", () => {
  using runtime = new Runtime();
  const { stream, peer } = streamAndPeer();
  const first = runtime.spawn(readExactly(stream, 1));
  untilIdle(runtime);
  first.abort();
  const second = runtime.spawn(readExactly(stream, 1));
  untilIdle(runtime);
  peer.send("x");
  expect(runtime.blockOn(second)).toBe("x");
  stream.close();
  peer.close();
});

test("a task other than the spawner can await a handle", () => {
  using runtime = new Runtime();
  const handle = runtime.spawn(async () => (await sleep(1)) ?? "result");
  const other = runtime.spawn(function* () {
    return yield* handle;
  });
  expect(runtime.blockOn(other)).toBe("result");
});

test("the runtime retries an epoll_wait that a signal interrupts", () => {
  const faults = new FaultSys();
  using runtime = new Runtime({ sys: faults.sys });
  faults.fail("epollWait", -EINTR, -EINTR, -EINTR);
  runtime.blockOn(sleep(2));
  expect(faults.count("epollWait")).toBeGreaterThanOrEqual(4);
});

test("all events of one epoll_wait wake their tasks", () => {
  using runtime = new Runtime();
  const pairs = Array.from({ length: 8 }, () => streamAndPeer());
  const reads = pairs.map(({ stream }) => runtime.spawn(readExactly(stream, 1)));
  untilIdle(runtime);
  for (const { peer } of pairs) peer.send("x");
  for (const read of reads) expect(runtime.blockOn(read)).toBe("x");
  for (const { stream, peer } of pairs) {
    stream.close();
    peer.close();
  }
});

test("an endless chain of spawns does not starve I/O, and I/O does not starve it", () => {
  using runtime = new Runtime();
  let isOver = false;
  let links = 0;
  function* link(): Generator<symbol, void, void> {
    links++;
    if (!isOver) spawn(link()).detach();
    yield* yieldNow();
  }
  runtime.blockOn(function* () {
    spawn(link()).detach();
    const [a, b] = yield* streamPair();
    for (let round = 0; round < 10; round++) {
      yield* a.writeAll("ping");
      expect(yield* b.read(new Uint8Array(64))).toBe(4); // a short read, so the next read waits for an event
    }
    isOver = true;
    a.close();
    b.close();
  });
  runtime.block();
  expect(links).toBeGreaterThan(10);
});

test("a task that fails throws in the task that awaits it, and in no other task", () => {
  using runtime = new Runtime();
  const other = runtime.spawn(async () => (await sleep(2)) ?? "unharmed");
  const error = runtime.blockOn(function* () {
    const child = spawn(function* () {
      yield* sleep(1);
      throw new Error("child");
    });
    return yield* failureOf(child);
  });
  expect(error).toEqual(new Error("child"));
  expect(runtime.blockOn(other)).toBe("unharmed");
});

test("every fd is close-on-exec, and every fd except epoll's is non-blocking", () => {
  const before = openFds();
  using runtime = new Runtime({ eventfd: "eager" });
  runtime.spawn(sleep(1e6));
  runtime.blockOn(sleep(0));
  runtime.blockOn(sleep(1));
  using listener = TcpListener.bind("127.0.0.1:0");
  using client = runtime.blockOn(TcpStream.connect(listener.localAddress));
  using server = runtime.blockOn(listener.accept());
  using udp = UdpSocket.bind("127.0.0.1:0");
  expect([client, server, udp]).toHaveLength(3);
  const ours = [...openFds()].filter(([fd]) => !before.has(fd));
  expect(ours.length).toBeGreaterThanOrEqual(7); // epoll, timerfd, eventfd, four sockets
  for (const [fd, target] of ours) {
    const flags = Number.parseInt(
      /flags:\s+(\d+)/.exec(readFileSync(`/proc/self/fdinfo/${fd}`, "utf8"))?.[1] ?? "",
      8,
    );
    expect(flags & 0o2000000, target).not.toBe(0); // O_CLOEXEC
    if (!target.includes("eventpoll")) expect(flags & 0o4000, target).not.toBe(0); // O_NONBLOCK
  }
});
