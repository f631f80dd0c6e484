import { expect, test } from "bun:test";
import fc from "fast-check";
import { serverNameOf } from "../../src/net/client-hello.ts";

const u16 = (value: number): number[] => [value >> 8, value & 255];

/** A ClientHello with the given extensions, split into records of at most `recordSize` bytes. */
function hello(extensions: number[], recordSize = 65_535, sessionIdLength = 32): Uint8Array {
  const body = [3, 3, ...new Array(32).fill(7)]; // version, random
  body.push(sessionIdLength, ...new Array(sessionIdLength).fill(8));
  body.push(...u16(4), 0x13, 0x01, 0x13, 0x02, 1, 0); // cipher suites, compression
  body.push(...u16(extensions.length), ...extensions);
  const message = [1, 0, ...u16(body.length), ...body];
  const records: number[] = [];
  for (let at = 0; at < message.length; at += recordSize) {
    const part = message.slice(at, at + recordSize);
    records.push(22, 3, 1, ...u16(part.length), ...part);
  }
  return new Uint8Array(records);
}

function serverName(name: string): number[] {
  const bytes = [...Buffer.from(name)];
  const entry = [0, ...u16(bytes.length), ...bytes];
  return [...u16(0), ...u16(entry.length + 2), ...u16(entry.length), ...entry];
}

const OTHER = [...u16(43), ...u16(3), 2, 3, 4];

test("the name is found among other extensions, in lower case", () => {
  expect(serverNameOf(hello([...OTHER, ...serverName("A.Example.com"), ...OTHER]))).toBe(
    "a.example.com",
  );
});

test("a hello without a name, or without extensions, has none", () => {
  expect(serverNameOf(hello(OTHER))).toBeNull();
  expect(serverNameOf(hello([]))).toBeNull();
});

test("every proper prefix needs more, for any size of the records", () => {
  for (const recordSize of [1, 5, 64, 65_535]) {
    const bytes = hello(serverName("example.com"), recordSize);
    for (let length = 0; length < bytes.length; length++) {
      expect(serverNameOf(bytes.subarray(0, length))).toBeUndefined();
    }
    expect(serverNameOf(bytes)).toBe("example.com");
  }
});

test("what is not a ClientHello has no name", () => {
  expect(serverNameOf(Buffer.from("GET / HTTP/1.1\r\n"))).toBeNull();
  expect(serverNameOf(new Uint8Array([22, 3, 1, 0, 4, 2, 0, 0, 0]))).toBeNull(); // a ServerHello
  expect(serverNameOf(new Uint8Array([22, 3, 1, 0, 0]))).toBeNull(); // an empty record
});

test("any bytes give an answer, and never more than 16 KiB are asked for", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (noise) => {
      serverNameOf(noise);
      const bytes = hello(serverName("example.com"));
      bytes.set(noise.subarray(0, bytes.length - 9), 9); // in place of the fields
      serverNameOf(bytes);
    }),
  );
  const endless = new Uint8Array(16_384);
  for (let at = 0; at + 5 <= endless.length; at += 4101) endless.set([22, 3, 1, 0x10, 0], at);
  endless.set([1, 255, 255, 255], 5);
  expect(serverNameOf(endless)).toBeNull();
  expect(serverNameOf(endless.subarray(0, -1))).toBeUndefined();
});
