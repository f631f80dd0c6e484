// Control messages and the addresses of unix sockets: what the kernel writes, cut off anywhere, and random bytes.

import { expect, test } from "bun:test";
import fc from "fast-check";
import { linux, Message, MSG_CTRUNC, SCM_RIGHTS, SOCK_STREAM } from "../../src/sys/index.ts";
import { AF_UNIX, checkUnixAddress, SockaddrBuffer } from "../../src/sys/sockaddr.ts";
import { SOL_SOCKET } from "../../src/sys/socket.ts";
import { countFds } from "../support/fds.ts";

const control = fc.record({
  level: fc.integer(),
  type: fc.integer(),
  data: fc.uint8Array({ maxLength: 64 }),
});

test("control messages that were added are read back, in order", () => {
  fc.assert(
    fc.property(fc.array(control, { maxLength: 20 }), (controls) => {
      const message = new Message();
      for (const { level, type, data } of controls) message.addControl(level, type, data);
      expect(message.controls().map(({ data, ...rest }) => ({ ...rest, data: [...data] }))).toEqual(
        controls.map(({ data, ...rest }) => ({ ...rest, data: [...data] })),
      );
      message.reset(new Uint8Array(1));
      expect(message.controls()).toEqual([]);
    }),
  );
});

test("random bytes are read without an error, and no message reaches past them", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 256 }), (bytes) => {
      const message = new Message();
      message.setControl(bytes);
      let total = 0;
      for (const { data } of message.controls()) total += 16 + data.length;
      expect(total).toBeLessThanOrEqual(bytes.length);
    }),
    { numRuns: 5000 },
  );
});

test("control messages that are cut off at any length keep the whole ones before the cut", () => {
  const message = new Message();
  const datas = [new Uint8Array([1, 2, 3, 4]), new Uint8Array(12).fill(7), new Uint8Array(40)];
  for (const data of datas) message.addControl(1, 2, data);
  const whole = new Uint8Array(message.controlLength);
  // The memory of a message is private, so write the same bytes again.
  const view = new DataView(whole.buffer);
  let at = 0;
  for (const data of datas) {
    view.setUint32(at, 16 + data.length, true);
    view.setInt32(at + 8, 1, true);
    view.setInt32(at + 12, 2, true);
    whole.set(data, at + 16);
    at += (16 + data.length + 7) & ~7;
  }
  for (let length = 0; length <= whole.length; length++) {
    message.setControl(whole.subarray(0, length));
    const found = message.controls();
    let start = 0;
    let expected = 0;
    for (const data of datas) {
      if (start + 16 <= length) {
        const { data: read } = found[expected++]!;
        expect(read.length).toBe(Math.min(data.length, length - start - 16));
        expect([...read]).toEqual([...data.subarray(0, read.length)]);
      }
      start += (16 + data.length + 7) & ~7;
    }
    expect(found).toHaveLength(expected);
  }
});

test("a control message that does not fit is refused", () => {
  const message = new Message(64);
  message.addControl(1, 1, new Uint8Array(4));
  expect(() => message.addControl(1, 1, new Uint8Array(64))).toThrow(
    "control messages must be at most 64 bytes; got 104",
  );
});

test("with room for fewer fds, the kernel sets MSG_CTRUNC, and those that arrived are found", () => {
  const sys = linux();
  const ends = new Int32Array(2);
  const before = countFds();
  expect(sys.socketpair(AF_UNIX, SOCK_STREAM, ends)).toBe(0);
  const [a, b] = ends as unknown as [number, number];
  const message = new Message();
  for (let room = 0; room <= 16 + 5 * 4; room++) {
    message.reset(new Uint8Array([1]));
    message.addControl(SOL_SOCKET, SCM_RIGHTS, new Uint8Array(new Int32Array([a, a, b, b]).buffer));
    expect(sys.sendmsg(a, message, 0)).toBe(1);
    message.reset(new Uint8Array(8));
    message.maxControlLength = room;
    expect(sys.recvmsg(b, message, 0)).toBe(1);
    let count = 0;
    for (const { data } of message.controls()) {
      const view = new DataView(data.buffer, data.byteOffset, data.length);
      for (let at = 0; at + 4 <= data.length; at += 4, count++) sys.close(view.getInt32(at, true));
    }
    expect(count).toBe(Math.min(4, Math.max(0, (room - 16) >> 2)));
    expect((message.flags & MSG_CTRUNC) !== 0).toBe(count < 4);
  }
  sys.close(a);
  sys.close(b);
  expect(countFds()).toBe(before);
});

test("any address of a unix socket decodes to the address that was encoded", () => {
  // The unit "binary" of fast-check makes a table of all code points: a million objects, which every later collection visits.
  const unit = fc.integer({ min: 0, max: 0x10ffff }).map((code) => String.fromCodePoint(code));
  const path = fc.string({ unit, maxLength: 107 }).filter((text) => !text.includes("\0"));
  const abstract = fc.string({ unit, maxLength: 100 }).map((text) => `\0${text}`);
  const buffer = new SockaddrBuffer();
  fc.assert(
    fc.property(fc.oneof(path, abstract), (address) => {
      try {
        checkUnixAddress(address, "path");
      } catch {
        return; // too long in UTF-8
      }
      expect(buffer.encodeUnix(address).decodeUnix()).toBe(address.toWellFormed());
      expect(buffer.family).toBe(AF_UNIX);
    }),
  );
});

test("the length of an address of a unix socket, whatever the kernel says, stays in its memory", () => {
  const buffer = new SockaddrBuffer();
  for (let length = 0; length < 200; length++) {
    buffer.encodeUnix("\0x");
    buffer.length[0] = length;
    expect(buffer.decodeUnix().length).toBeLessThanOrEqual(126);
  }
  expect(buffer.encode({ hostname: "::1", port: 9 }).decode()).toEqual({
    hostname: "::1",
    port: 9,
  });
});
