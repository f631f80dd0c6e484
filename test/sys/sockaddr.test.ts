// Socket addresses: their struct, their text form, and the check of users' addresses. libc is the reference.

import { dlopen, ptr } from "bun:ffi";
import { describe, expect, test } from "bun:test";
import { isIPv6 } from "node:net";
import fc from "fast-check";
import {
  type AddressLike,
  AF_INET,
  AF_INET6,
  parseAddress,
  SockaddrBuffer,
} from "../../src/sys/sockaddr.ts";

const { symbols } = dlopen("libc.so.6", {
  inet_pton: { args: ["i32", "ptr", "ptr"], returns: "i32" },
  inet_ntop: { args: ["i32", "ptr", "ptr", "u32"], returns: "ptr" },
});

/** Returns libc's text of an address. */
function inetNtop(family: number, bytes: Uint8Array): string {
  const input = new Uint8Array(new ArrayBuffer(16));
  input.set(bytes);
  const output = new Uint8Array(new ArrayBuffer(64));
  symbols.inet_ntop(family, ptr(input), ptr(output), output.length);
  return Buffer.from(output.subarray(0, output.indexOf(0))).toString();
}

/** Returns libc's bytes of an address's text. */
function inetPton(family: number, text: string): Uint8Array {
  const bytes = new Uint8Array(new ArrayBuffer(16));
  expect(symbols.inet_pton(family, Buffer.from(`${text}\0`), ptr(bytes))).toBe(1);
  return bytes;
}

const roundTrip = (hostname: string, port = 0) =>
  new SockaddrBuffer().encode({ hostname, port }).decode();

/** IPv6 groups, many of them zero: runs of zeros decide where `::` goes. */
const groups = fc.array(
  fc.oneof(fc.constant(0), fc.constant(0xffff), fc.integer({ min: 0, max: 0xffff })),
  { minLength: 8, maxLength: 8 },
);

describe("IPv4", () => {
  test("any address and port decodes to the address and port that were encoded", () => {
    fc.assert(
      fc.property(fc.ipV4(), fc.integer({ min: 0, max: 65535 }), (hostname, port) => {
        expect(roundTrip(hostname, port)).toEqual({ hostname, port });
      }),
    );
  });

  test("an encoded address has the layout of struct sockaddr_in", () => {
    const buffer = new SockaddrBuffer().encode({ hostname: "1.2.3.4", port: 0x1234 });
    expect([...buffer.bytes.subarray(0, 8)]).toEqual([AF_INET, 0, 0x12, 0x34, 1, 2, 3, 4]);
    expect(buffer.length[0]).toBe(16);
  });
});

describe("IPv6", () => {
  test("any address decodes to the text that inet_ntop writes", () => {
    fc.assert(
      fc.property(groups, (parts) => {
        const text = parts.map((part) => part.toString(16)).join(":");
        const buffer = new SockaddrBuffer().encode({ hostname: text, port: 1 });
        const canonical = inetNtop(AF_INET6, buffer.bytes.subarray(8, 24));
        expect(buffer.decode()).toEqual({ hostname: canonical, port: 1 });
        expect(isIPv6(canonical)).toBe(true);
      }),
      { numRuns: 2000 },
    );
  });

  test("every text form of an address encodes to the bytes that inet_pton writes", () => {
    fc.assert(
      fc.property(fc.ipV6(), (text) => {
        const bytes = inetPton(AF_INET6, text);
        const of = (hostname: string) =>
          new SockaddrBuffer().encode({ hostname, port: 0 }).bytes.subarray(8, 24);
        expect(of(text)).toEqual(bytes);
        expect(of(text.toUpperCase())).toEqual(bytes);
        expect(of(roundTrip(text).hostname)).toEqual(bytes);
      }),
      { numRuns: 2000 },
    );
  });

  test.each([
    ["::", "::"],
    ["::1", "::1"],
    ["1::", "1::"],
    ["0:0:0:0:0:0:0:1", "::1"],
    ["2001:DB8::00A", "2001:db8::a"],
    ["1:0:0:2:0:0:0:3", "1:0:0:2::3"],
    ["1:0:2:3:4:5:6:7", "1:0:2:3:4:5:6:7"],
    ["1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:0"],
    ["::2:3:4:5:6:7:8", "0:2:3:4:5:6:7:8"],
    ["::ffff:1.2.3.4", "::ffff:1.2.3.4"],
    ["::ffff:102:304", "::ffff:1.2.3.4"],
    ["64:ff9b::1.2.3.4", "64:ff9b::102:304"],
    ["::1.2.3.4", "::1.2.3.4"],
  ])("%s decodes to %s", (text, canonical) => {
    expect(roundTrip(text).hostname).toBe(canonical);
  });

  test("an encoded address has the layout of struct sockaddr_in6", () => {
    const buffer = new SockaddrBuffer().encode({ hostname: "102::fe", port: 0x1234 });
    expect([...buffer.bytes.subarray(0, 10)]).toEqual([AF_INET6, 0, 0x12, 0x34, 0, 0, 0, 0, 1, 2]);
    expect(buffer.bytes[23]).toBe(0xfe);
    expect(buffer.length[0]).toBe(28);
  });

  test("a scope is the index of an interface, and 0 is no scope", () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 0xffffffff }), (scope) => {
        const decoded = roundTrip(`fe80::1%${scope}`).hostname;
        expect(decoded).toBe(scope === 0 ? "fe80::1" : `fe80::1%${scope}`);
        expect(roundTrip(decoded).hostname).toBe(decoded);
      }),
    );
  });

  test("a buffer that is encoded again keeps nothing of its previous address", () => {
    const buffer = new SockaddrBuffer().encode({ hostname: "ffff:ffff:ffff:ffff::ffff", port: 9 });
    buffer.encode({ hostname: "1.2.3.4", port: 5 });
    expect(buffer.decode()).toEqual({ hostname: "1.2.3.4", port: 5 });
    expect([...buffer.bytes.subarray(8, 28)]).toEqual(new Array(20).fill(0));
  });
});

describe("an address that was decoded before", () => {
  test("decodes to the same frozen object", () => {
    const buffer = new SockaddrBuffer().encode({ hostname: "1.2.3.4", port: 5 });
    const first = buffer.decode();
    expect(buffer.decode()).toBe(first);
    expect(() => Object.assign(first, { port: 6 })).toThrow(TypeError);
    expect(parseAddress(first)).toBe(first);
    for (const other of [
      { hostname: "1.2.3.4", port: 6 },
      { hostname: "1.2.3.5", port: 5 },
      { hostname: "fe80::1", port: 5 },
    ]) {
      expect(buffer.encode(other).decode()).toEqual(other);
    }
    expect(buffer.encode(first).decode()).toEqual(first);
  });

  test("is encoded again when the buffer or the address may have changed", () => {
    const address = { hostname: "1.2.3.4", port: 5 };
    const buffer = new SockaddrBuffer().encode(address);
    const known = buffer.decode();
    buffer.encode(known).encode({ hostname: "9.9.9.9", port: 9 }).encode(known);
    expect(buffer.decode()).toEqual(known);
    address.port = 6;
    expect(buffer.encode(address).decode()).toEqual({ hostname: "1.2.3.4", port: 6 });
  });
});

describe("parseAddress", () => {
  test.each<[AddressLike, string, number]>([
    ["127.0.0.1:7000", "127.0.0.1", 7000],
    ["[::1]:7000", "::1", 7000],
    ["localhost:0", "127.0.0.1", 0],
    [{ hostname: "::", port: 65535 }, "::", 65535],
    [{ hostname: "localhost", port: 1 }, "127.0.0.1", 1],
    [{ hostname: "fe80::1%lo", port: 1 }, "fe80::1%lo", 1],
    ["[fe80::1%2]:1", "fe80::1%2", 1],
  ])("accepts %p", (address, hostname, port) => {
    expect(parseAddress(address)).toEqual({ hostname, port });
  });

  // The message names the argument, the rule and the value.
  test.each<[unknown, typeof TypeError | typeof RangeError, string[]]>([
    ["127.0.0.1", TypeError, ["address", "127.0.0.1:7000", '"127.0.0.1"']],
    ["::1:7000", TypeError, ["address", "[::1]:7000", '"::1:7000"']],
    ["1.2.3.4:-1", TypeError, ["address", '"1.2.3.4:-1"']],
    ["", TypeError, ["address", '""']],
    [undefined, TypeError, ["address", "{ hostname, port }", "undefined"]],
    [null, TypeError, ["address", "{ hostname, port }", "null"]],
    [7000, TypeError, ["address", "{ hostname, port }", "7000"]],
    [{ port: 1 }, TypeError, ["address.hostname", "string", "undefined"]],
    [{ hostname: "example.com", port: 1 }, TypeError, ["address.hostname", "lookup()", "example"]],
    [{ hostname: "1.2.3.256", port: 1 }, TypeError, ["address.hostname", '"1.2.3.256"']],
    [{ hostname: "1.2.3.04", port: 1 }, TypeError, ["address.hostname", '"1.2.3.04"']],
    [{ hostname: "[::1]", port: 1 }, TypeError, ["address.hostname", '"[::1]"']],
    [{ hostname: "127.0.0.1%lo", port: 1 }, TypeError, ["address.hostname", '"127.0.0.1%lo"']],
    [{ hostname: "::1", port: "80" }, TypeError, ["address.port", "number", '"80"']],
    [{ hostname: "::1" }, TypeError, ["address.port", "number", "undefined"]],
    [{ hostname: "::1", port: 65536 }, RangeError, ["address.port", "0 to 65535", "65536"]],
    [{ hostname: "::1", port: -1 }, RangeError, ["address.port", "0 to 65535", "-1"]],
    [{ hostname: "::1", port: 1.5 }, RangeError, ["address.port", "integer", "1.5"]],
    [{ hostname: "::1", port: Number.NaN }, RangeError, ["address.port", "integer", "NaN"]],
    ["1.2.3.4:65536", RangeError, ["address.port", "0 to 65535", "65536"]],
  ])("rejects %p", (address, kind, parts) => {
    let error: unknown;
    try {
      parseAddress(address as AddressLike);
    } catch (caught) {
      error = caught;
    }
    expect(error).toBeInstanceOf(kind);
    for (const part of parts) expect((error as Error).message).toContain(part);
  });
});
