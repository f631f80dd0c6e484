// Socket addresses: struct sockaddr_in and sockaddr_in6 (ip(7), ipv6(7)), and their text form (RFC 4291, RFC 5952).

import { invalidType, outOfRange } from "../base/check.ts";
import { describe } from "../base/describe.ts";

/** node:net. Loaded on first use, because it takes longer to load than this library. */
let net: typeof import("node:net") | null = null;

export const AF_INET = 2;
export const AF_INET6 = 10;

/** The address of a socket: an IP literal and a port. */
export interface SocketAddress {
  readonly hostname: string;
  readonly port: number;
}

/** The forms of an address that functions accept: `{ hostname, port }`, `"127.0.0.1:7000"`, `"[::1]:7000"`. */
export type AddressLike = SocketAddress | string;

/** Addresses that we decoded: frozen and known to be valid. Most replies go to such an address. */
const decoded: WeakSet<object> = new WeakSet();

/**
 * An address that is decoded only if the caller reads it. An IPv4 address and its port are one number of 48 bits.
 * Decoding it costs an object, three strings and an entry in `decoded`.
 */
export type PackedAddress = number | SocketAddress;

/** Returns the decoded address. */
export function unpack(packed: PackedAddress): SocketAddress {
  if (typeof packed !== "number") return packed;
  const ip = Math.floor(packed / 0x10000);
  return known(`${ip >>> 24}.${(ip >> 16) & 255}.${(ip >> 8) & 255}.${ip & 255}`, packed % 0x10000);
}

/** Returns a frozen address that later calls recognize as valid. */
function known(hostname: string, port: number): SocketAddress {
  const address = Object.freeze({ hostname, port });
  decoded.add(address);
  return address;
}

/**
 * Checks an address and resolves `localhost` to `127.0.0.1`. Throws TypeError if `address` is not an address, and
 * RangeError if its port is not an integer from 0 to 65535.
 */
export function parseAddress(address: AddressLike): SocketAddress {
  if (typeof address === "object" && decoded.has(address)) return address;
  let host: unknown;
  let port: unknown;
  if (typeof address === "string") {
    const match = /^(?:\[([^\]]*:[^\]]*)\]|([^:[\]]+)):(\d+)$/.exec(address);
    if (match === null) {
      throw invalidType(
        `address must look like "127.0.0.1:7000" or "[::1]:7000"; got ${describe(address)}`,
      );
    }
    host = match[1] ?? match[2];
    port = Number(match[3]);
  } else if (typeof address === "object" && address !== null) {
    ({ hostname: host, port } = address);
  } else {
    throw invalidType(`address must be { hostname, port } or a string; got ${describe(address)}`);
  }
  if (typeof host !== "string") {
    throw invalidType(`address.hostname must be a string; got ${describe(host)}`);
  }
  const hostname = host === "localhost" ? "127.0.0.1" : host;
  net ??= process.getBuiltinModule("node:net");
  if (!net.isIPv4(hostname) && (!net.isIPv6(hostname) || hostname.includes("%"))) {
    throw invalidType(
      `address.hostname must be an IPv4 or IPv6 literal, or "localhost" (resolve other names with Bun.dns.lookup); got ${describe(hostname)}`,
    );
  }
  if (typeof port !== "number") {
    throw invalidType(`address.port must be a number; got ${describe(port)}`);
  }
  if (!Number.isInteger(port) || port < 0 || port > 65535) {
    throw outOfRange(`address.port must be an integer from 0 to 65535; got ${port}`);
  }
  return { hostname, port };
}

/**
 * Memory for one socket address in the kernel's layout, and its length. A `Sys` without libc reads the caller's
 * address with `decode` and returns an address with `encode`.
 */
export class SockaddrBuffer {
  /** The struct: 28 bytes, as sockaddr_in6 needs. Explicit ArrayBuffers have stable addresses. */
  readonly bytes: Uint8Array = new Uint8Array(new ArrayBuffer(28));
  /** One integer: the length of the struct in bytes. */
  readonly length: Uint32Array = new Uint32Array(new ArrayBuffer(4));
  readonly #view: DataView = new DataView(this.bytes.buffer);
  /** The same memory as 32-bit integers, which compare faster. */
  readonly #ints: Uint32Array = new Uint32Array(this.bytes.buffer);
  /** The frozen address that `encode` wrote to `bytes` last; null if `bytes` may differ from it. */
  #encoded: SocketAddress | null = null;
  /** The address that `decode` returned last; `#decodedInts` is a copy of `#ints` then. Senders often repeat. */
  #decoded: SocketAddress | null = null;
  readonly #decodedInts: Uint32Array = new Uint32Array(7);

  /** AF_INET or AF_INET6. */
  get family(): number {
    return this.#view.getUint16(0, true);
  }

  /** Makes room for an address of any length. Must be called before each syscall that writes an address. */
  reset(): this {
    this.length[0] = this.bytes.length;
    this.#encoded = null;
    return this;
  }

  /** Writes `address`, whose `hostname` must be a valid IP literal: `encode` does not check it. */
  encode(address: SocketAddress): this {
    if (address === this.#encoded) return this;
    this.#encoded = decoded.has(address) ? address : null;
    const { hostname, port } = address;
    this.bytes.fill(0);
    this.#view.setUint16(2, port); // network order
    if (hostname.includes(":")) {
      this.#view.setUint16(0, AF_INET6, true);
      for (const [index, group] of groupsOf(hostname).entries()) {
        this.#view.setUint16(8 + index * 2, group);
      }
      this.length[0] = 28;
    } else {
      this.#view.setUint16(0, AF_INET, true);
      for (const [index, part] of hostname.split(".").entries())
        this.bytes[4 + index] = Number(part);
      this.length[0] = 16;
    }
    return this;
  }

  /** Returns the address in `bytes`. */
  decode(): SocketAddress {
    if (this.#decoded !== null && this.#isAsDecoded()) return this.#decoded;
    const address = this.family === AF_INET6 ? this.#decodeIPv6() : unpack(this.pack());
    this.#decoded = address;
    this.#decodedInts.set(this.#ints);
    return address;
  }

  /** @internal Returns the address in a form that is cheap to keep; see `unpack`. */
  pack(): PackedAddress {
    if (this.family === AF_INET6) return this.decode();
    return this.#view.getUint32(4) * 0x10000 + this.#view.getUint16(2);
  }

  #isAsDecoded(): boolean {
    const count = this.family === AF_INET6 ? 7 : 2; // padding follows an IPv4 address
    for (let index = 0; index < count; index++) {
      if (this.#ints[index] !== this.#decodedInts[index]) return false;
    }
    return true;
  }

  #decodeIPv6(): SocketAddress {
    const groups: number[] = [];
    for (let index = 0; index < 8; index++) groups.push(this.#view.getUint16(8 + index * 2));
    return known(formatIPv6(groups), this.#view.getUint16(2));
  }
}

/** Returns the eight groups of a valid IPv6 literal. */
function groupsOf(literal: string): number[] {
  let text = literal;
  const dotted = /(\d+)\.(\d+)\.(\d+)\.(\d+)$/.exec(text);
  if (dotted !== null) {
    const [, a, b, c, d] = dotted.map(Number);
    const tail = `${((a! << 8) | b!).toString(16)}:${((c! << 8) | d!).toString(16)}`;
    text = text.slice(0, dotted.index) + tail;
  }
  const [left = "", right] = text.split("::");
  const parse = (part: string): number[] =>
    part === "" ? [] : part.split(":").map((group) => Number.parseInt(group, 16));
  const head = parse(left);
  if (right === undefined) return head;
  const tail = parse(right);
  return [...head, ...new Array<number>(8 - head.length - tail.length).fill(0), ...tail];
}

/**
 * Formats an IPv6 address per RFC 5952: the longest run of two or more zero groups becomes `::`, the first of equally
 * long ones. An embedded IPv4 address (`::ffff:a.b.c.d`, or the deprecated `::a.b.c.d`) stays dotted, as in
 * inet_ntop(3).
 */
function formatIPv6(groups: readonly number[]): string {
  let best = { start: -1, length: 1 };
  for (let start = 0; start < 8; start++) {
    let length = 0;
    while (start + length < 8 && groups[start + length] === 0) length++;
    if (length > best.length) best = { start, length };
  }
  const isMapped = best.length === 5 && groups[5] === 0xffff;
  if (best.start === 0 && (best.length === 6 || isMapped)) {
    const [high, low] = [groups[6]!, groups[7]!];
    return `::${isMapped ? "ffff:" : ""}${high >> 8}.${high & 255}.${low >> 8}.${low & 255}`;
  }
  const hex = groups.map((group) => group.toString(16));
  if (best.start < 0) return hex.join(":");
  return `${hex.slice(0, best.start).join(":")}::${hex.slice(best.start + best.length).join(":")}`;
}
