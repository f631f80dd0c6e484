// EpollEvents, and the facts about epoll that this library depends on.

import { expect, setDefaultTimeout, test } from "bun:test";
import {
  EPOLLET,
  EPOLLHUP,
  EPOLLIN,
  EPOLLOUT,
  EPOLLRDHUP,
  EpollEvents,
  linux,
} from "../../src/sys/index.ts";
import { root, run } from "../support/program.ts";
import { rawPair } from "../support/sockets.ts";

setDefaultTimeout(60_000); // a slow machine must not fail the test

const isPacked = process.arch === "x64";

test("events have the layout of the kernel's struct epoll_event", () => {
  const events = new EpollEvents(2);
  events.set(1, EPOLLIN | EPOLLET, 0x01020304, 0x05060708);
  const view = new DataView(events.memory.buffer);
  const size = isPacked ? 12 : 16;
  const data = size + (isPacked ? 4 : 8);
  expect(view.byteLength).toBe(2 * size);
  expect(view.getUint32(size, true)).toBe((EPOLLIN | EPOLLET) >>> 0);
  expect(view.getUint32(data, true)).toBe(0x01020304);
  expect(view.getUint32(data + 4, true)).toBe(0x05060708);
  expect(events.events(0)).toBe(0); // the other event is untouched
});

test.each([
  ["x64", [7, 5, 6, 0]],
  ["arm64", [7, 0, 5, 6]],
])("events have the kernel's layout when the process runs on %s", async (arch, layout) => {
  expect(await run(["bun", `${root}test/support/programs/epoll-layout.ts`, arch])).toEqual({
    code: 0,
    output: `${JSON.stringify(layout)}\n`,
  });
});

test("an event carries all 64 bits of the slot and generation of its fd", () => {
  const sys = linux();
  const epoll = sys.epollCreate();
  const fds = [0, 1, 2].map(() => sys.eventfd());
  for (const [index, fd] of fds.entries()) {
    expect(sys.epollAdd(epoll, fd, EPOLLIN | EPOLLET, 0xdeadbee0 + index, 0xfffffff0 + index)).toBe(
      0,
    );
    sys.eventfdWrite(fd);
  }
  const events = new EpollEvents(8);
  expect(sys.epollWait(epoll, events, 0)).toBe(3);
  const seen = [0, 1, 2].map((index) => [
    events.events(index),
    events.slot(index),
    events.generation(index),
  ]);
  expect(seen.sort((a, b) => a[1]! - b[1]!)).toEqual(
    fds.map((_, index) => [EPOLLIN, 0xdeadbee0 + index, 0xfffffff0 + index]),
  );
  for (const fd of [...fds, epoll]) sys.close(fd);
});

test("epoll_wait returns at most `capacity` events, and the others on the next calls", () => {
  const sys = linux();
  const epoll = sys.epollCreate();
  const fds = Array.from({ length: 5 }, () => sys.eventfd());
  for (const [index, fd] of fds.entries()) {
    sys.epollAdd(epoll, fd, EPOLLIN | EPOLLET, index, 0);
    sys.eventfdWrite(fd);
  }
  const events = new EpollEvents(3);
  const slots: number[] = [];
  for (let count = sys.epollWait(epoll, events, 0); count > 0; ) {
    expect(count).toBeLessThanOrEqual(3);
    for (let index = 0; index < count; index++) slots.push(events.slot(index));
    count = sys.epollWait(epoll, events, 0);
  }
  expect(slots.sort()).toEqual([0, 1, 2, 3, 4]);
  for (const fd of [...fds, epoll]) sys.close(fd);
});

test("data and FIN that arrive before a wait cause one edge, with both EPOLLIN and EPOLLRDHUP", () => {
  const sys = linux();
  const [ours, peer] = rawPair();
  const epoll = sys.epollCreate();
  sys.epollAdd(epoll, ours, EPOLLIN | EPOLLRDHUP | EPOLLET, 1, 0);
  sys.send(peer, Buffer.from("hey"), 0);
  sys.close(peer);
  const events = new EpollEvents(4);
  expect(sys.epollWait(epoll, events, -1)).toBe(1);
  expect(events.events(0)).toBe(EPOLLIN | EPOLLRDHUP);
  expect(sys.recv(ours, new Uint8Array(100), 0)).toBe(3);
  expect(sys.epollWait(epoll, events, 0)).toBe(0); // so the source must keep its readiness after RDHUP
  sys.close(ours);
  sys.close(epoll);
});

test("a socket that is not connected reports a hangup when it is added to epoll", () => {
  const sys = linux();
  const epoll = sys.epollCreate();
  const socket = sys.socket(2, 1);
  sys.epollAdd(epoll, socket, EPOLLIN | EPOLLOUT | EPOLLET, 1, 0);
  const events = new EpollEvents(1);
  expect(sys.epollWait(epoll, events, 0)).toBe(1);
  expect(events.events(0)).toBe(EPOLLOUT | EPOLLHUP); // so a connect must begin before the wait for writability
  sys.close(socket);
  sys.close(epoll);
});
