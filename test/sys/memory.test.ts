// The buffers that the kernel reads and writes stay valid across garbage collections: new and small buffers, views,
// and typed arrays whose memory the engine moves.

import { expect, setDefaultTimeout, test } from "bun:test";
import { EPOLLIN, EpollEvents, linux, SockaddrBuffer } from "../../src/sys/index.ts";
import { rawPair } from "../support/sockets.ts";

setDefaultTimeout(60_000); // a slow machine must not fail the test

const ROUNDS = 20; // a full collection of a heap that other tests have grown takes 0.1 s

test("send and recv of small new buffers transfer the right bytes", () => {
  const sys = linux();
  const [ours, peer] = rawPair();
  for (let round = 0; round < ROUNDS; round++) {
    const length = 1 + (round % 16);
    const sent = new Uint8Array(length).fill(round + 1);
    const received = new Uint8Array(length);
    if (round % 2 === 0) expect(received.buffer.byteLength).toBe(length); // reading `buffer` moves the bytes
    Bun.gc(true);
    expect(sys.send(peer, sent, 0)).toBe(length);
    Bun.gc(true);
    expect(sys.recv(ours, received, 0)).toBe(length);
    Bun.gc(true);
    expect([...received]).toEqual(new Array(length).fill(round + 1));
  }
  sys.close(ours);
  sys.close(peer);
});

test("a recv into a view of a larger buffer changes nothing outside the view", () => {
  const sys = linux();
  const [ours, peer] = rawPair();
  const kinds = [
    (size: number) => new Uint8Array(size),
    (size: number) => Buffer.alloc(size),
    (size: number) => new Uint8Array(new ArrayBuffer(size)),
    (size: number) => new Uint8Array(new SharedArrayBuffer(size)),
    (size: number) => new Uint8Array(new ArrayBuffer(size, { maxByteLength: 2 * size })),
  ];
  for (const [index, make] of kinds.entries()) {
    const whole = make(12);
    Bun.gc(true);
    sys.send(peer, Buffer.from("abcd"), 0);
    expect(sys.recv(ours, whole.subarray(4, 8), 0)).toBe(4);
    Bun.gc(true);
    expect([index, Buffer.from(whole).toString("latin1")]).toEqual([index, "\0\0\0\0abcd\0\0\0\0"]);
    expect(sys.send(peer, whole.subarray(5, 7), 0)).toBe(2);
    const back = new Uint8Array(4);
    expect(sys.recv(ours, back, 0)).toBe(2);
    expect(Buffer.from(back.subarray(0, 2)).toString()).toBe("bc");
  }
  sys.close(ours);
  sys.close(peer);
});

test("events and addresses that the kernel writes survive a garbage collection", () => {
  const sys = linux();
  const [ours, peer] = rawPair();
  const expected = new SockaddrBuffer();
  sys.getsockname(ours, expected);
  const name = expected.decode();
  for (let round = 0; round < ROUNDS; round++) {
    const epoll = sys.epollCreate();
    const events = new EpollEvents(1);
    const address = new SockaddrBuffer();
    Bun.gc(true);
    expect(sys.epollAdd(epoll, ours, EPOLLIN, round, 0xabcdef01)).toBe(0);
    sys.send(peer, new Uint8Array([round]), 0);
    Bun.gc(true);
    expect(sys.epollWait(epoll, events, -1)).toBe(1);
    expect(sys.getsockname(ours, address)).toBe(0);
    Bun.gc(true);
    expect([events.events(0), events.slot(0), events.generation(0)]).toEqual([
      EPOLLIN,
      round,
      0xabcdef01,
    ]);
    expect(address.decode()).toEqual(name);
    const byte = new Uint8Array(1);
    sys.recv(ours, byte, 0);
    expect(byte[0]).toBe(round);
    sys.close(epoll);
  }
  sys.close(ours);
  sys.close(peer);
});

test("a failed call returns its own errno although garbage collections run in between", () => {
  const sys = linux();
  const fd = sys.eventfd();
  for (let round = 0; round < ROUNDS; round++) {
    Bun.gc(true);
    expect(sys.close(-1)).toBe(-9);
    expect(sys.eventfdDrain(fd)).toBe(-11);
    expect(sys.listen(fd, 1)).toBe(-88);
  }
  sys.close(fd);
});
