// Socket addresses: struct sockaddr_in and sockaddr_in6 (ip(7), ipv6(7)), and their text form (RFC 4291, RFC 5952); struct
// sockaddr_un (unix(7)).

import { checkString, invalidType, outOfRange } from "../base/check.ts";
import { describe } from "../base/describe.ts";

/** node:net. Loaded on first use, because it takes longer to load than this library. */
let net: typeof import("node:net") | null = null;

export const AF_UNIX = 1;
export const AF_INET = 2;
export const AF_INET6 = 10;
export const AF_NETLINK = 16;
export const AF_CAN = 29;
export const AF_VSOCK = 40;

/** The address of a socket. */
export interface SocketAddress {
  /**
   * An IP literal. Where a function says so, also a name. A link-local IPv6 literal has the interface as its scope:
   * `fe80::1%eth0`, or `fe80::1%2` by its index, which is how the library returns it.
   */
  readonly hostname: string;
  readonly port: number;
}

/**
 * The address of a unix socket: a path; `"\0name"` for an abstract name, which exists without a file; or `""` for a
 * socket without a name. See unix(7).
 */
export type UnixAddress = string;

/** The address of a vsock socket. See vsock(7). */
export interface VsockAddress {
  /** The context: a virtual machine, or 2 for the host. An integer from 0 to 4294967295. */
  readonly cid: number;
  /** An integer from 0 to 4294967295. */
  readonly port: number;
}

/** The longest path, in bytes of UTF-8. The kernel's struct holds one more, but other programs need a NUL there. */
export const MAX_PATH_BYTES = 107;

/**
 * Checks the address of a unix socket. Throws TypeError if it is not a string, or a path with a NUL character in it, and
 * RangeError if it is too long. `name` names the argument.
 */
export function checkUnixAddress(address: unknown, name: string): asserts address is UnixAddress {
  checkString(address, name);
  const isPath = !address.startsWith("\0");
  if (isPath && address.includes("\0")) {
    throw invalidType(
      `${name} must be a path without NUL characters, or start with one; got ${describe(address)}`,
    );
  }
  const bytes = Buffer.byteLength(address);
  const maxBytes = isPath ? MAX_PATH_BYTES : MAX_PATH_BYTES + 1;
  if (bytes > maxBytes) {
    throw outOfRange(
      `${name} must be at most ${maxBytes} bytes long; got ${bytes} bytes: use a shorter or a relative path`,
    );
  }
}

/**
 * The forms of an address that functions accept: `{ hostname, port }`, `"127.0.0.1:7000"`, `"[::1]:7000"`, and where
 * names are resolved, `"example.com:7000"`.
 */
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

/** Returns an address as text: `127.0.0.1:7000`, `[::1]:7000`, `vsock:2:5000`. */
export function formatAddress(address: SocketAddress | VsockAddress): string {
  if ("cid" in address) return `vsock:${address.cid}:${address.port}`;
  const { hostname, port } = address;
  return hostname.includes(":") ? `[${hostname}]:${port}` : `${hostname}:${port}`;
}

/** Returns a frozen address that later calls recognize as valid. */
function known(hostname: string, port: number): SocketAddress {
  const address = Object.freeze({ hostname, port });
  decoded.add(address);
  return address;
}

/** Returns true for an address that the library has returned: it is valid, and its scope is an index. */
export function isKnown(address: AddressLike): address is SocketAddress {
  return typeof address === "object" && decoded.has(address);
}

/** Returns the parts of an address, whose hostname may be a name. Throws TypeError and RangeError. */
export function parseEndpoint(address: AddressLike): SocketAddress {
  if (isKnown(address)) return address;
  let hostname: unknown;
  let port: unknown;
  if (typeof address === "string") {
    const match = /^(?:\[([^\]]*:[^\]]*)\]|([^:[\]]+)):(\d+)$/.exec(address);
    if (match === null) {
      throw invalidType(
        `address must have a host and a port, such as "127.0.0.1:7000" or "[::1]:7000"; got ${describe(address)}`,
      );
    }
    hostname = match[1] ?? match[2];
    port = Number(match[3]);
  } else if (typeof address === "object" && address !== null) {
    ({ hostname, port } = address);
  } else {
    throw invalidType(
      `address must be { hostname, port } or a string such as "127.0.0.1:7000"; got ${describe(address)}`,
    );
  }
  checkString(hostname, "address.hostname");
  if (typeof port !== "number") {
    throw invalidType(`address.port must be a number; got ${describe(port)}`);
  }
  if (!Number.isInteger(port) || port < 0 || port > 65535) {
    throw outOfRange(`address.port must be an integer from 0 to 65535; got ${port}`);
  }
  return { hostname, port };
}

/** Returns 4 or 6 for an IP literal, and 0 for any other text. An IPv6 literal may have a scope: `fe80::1%eth0`. */
export function familyOf(hostname: string): 0 | 4 | 6 {
  net ??= process.getBuiltinModule("node:net");
  return net.isIP(hostname) as 0 | 4 | 6;
}

/**
 * Checks an address whose hostname must be an IP literal, and replaces `localhost` by the loopback address of `family`
 * (RFC 6761, section 6.3). Throws TypeError if `address` is not such an address, and RangeError if its port is not an
 * integer from 0 to 65535.
 */
export function parseAddress(address: AddressLike, family: 4 | 6 = 4): SocketAddress {
  if (isKnown(address)) return address;
  const { hostname, port } = parseEndpoint(address);
  if (hostname === "localhost") return { hostname: family === 4 ? "127.0.0.1" : "::1", port };
  if (familyOf(hostname) === 0) {
    throw invalidType(
      `address.hostname must be an IPv4 or IPv6 literal, or "localhost" (resolve other names with lookup()); got ${describe(hostname)}`,
    );
  }
  return { hostname, port };
}

/**
 * Memory for one socket address in the kernel's layout, and its length. A `Sys` without libc reads the caller's
 * address with `decode` and returns an address with `encode`.
 */
export class SockaddrBuffer {
  /** The struct: 128 bytes, as struct sockaddr_storage, which is enough for any. Explicit ArrayBuffers have stable addresses. */
  readonly bytes: Uint8Array = new Uint8Array(new ArrayBuffer(128));
  /** One integer: the length of the struct in bytes. */
  readonly length: Uint32Array = new Uint32Array(new ArrayBuffer(4));
  readonly #view: DataView = new DataView(this.bytes.buffer);
  /** The memory of an IP address as 32-bit integers, which compare faster. */
  readonly #ints: Uint32Array = new Uint32Array(this.bytes.buffer, 0, 7);
  /** The frozen address that `encode` wrote to `bytes` last; null if `bytes` may differ from it. */
  #encoded: SocketAddress | null = null;
  /** The address that `decode` returned last; `#decodedInts` is a copy of `#ints` then. Senders often repeat. */
  #decoded: SocketAddress | null = null;
  readonly #decodedInts: Uint32Array = new Uint32Array(7);

  /** AF_INET, AF_INET6 or AF_UNIX. */
  get family(): number {
    return this.#view.getUint16(0, true);
  }

  /** Makes room for an address of any length. Must be called before each syscall that writes an address. */
  reset(): this {
    this.length[0] = this.bytes.length;
    this.#encoded = null;
    return this;
  }

  /**
   * Writes `address`, whose `hostname` must be a valid IP literal: `encode` does not check it. The scope of an IPv6
   * literal must be the index of an interface, as `Sys.interfaceIndex` returns it: `fe80::1%2`.
   */
  encode(address: SocketAddress): this {
    if (address === this.#encoded) return this;
    this.#encoded = decoded.has(address) ? address : null;
    const { hostname, port } = address;
    this.bytes.fill(0, 0, 28);
    this.#view.setUint16(2, port); // network order
    if (hostname.includes(":")) {
      this.#view.setUint16(0, AF_INET6, true);
      const [literal = "", scope = "0"] = hostname.split("%");
      for (const [index, group] of groupsOf(literal).entries()) {
        this.#view.setUint16(8 + index * 2, group);
      }
      this.#view.setUint32(24, Number(scope), true);
      this.length[0] = 28;
    } else {
      this.#view.setUint16(0, AF_INET, true);
      for (const [index, part] of hostname.split(".").entries())
        this.bytes[4 + index] = Number(part);
      this.length[0] = 16;
    }
    return this;
  }

  /** Writes the address of a unix socket, which `checkUnixAddress` accepts. */
  encodeUnix(address: UnixAddress): this {
    this.#encoded = null;
    this.#view.setUint16(0, AF_UNIX, true);
    const { written } = new TextEncoder().encodeInto(address, this.bytes.subarray(2));
    const isPath = address !== "" && !address.startsWith("\0");
    if (isPath) this.bytes[2 + written] = 0;
    this.length[0] = 2 + written + Number(isPath);
    return this;
  }

  /** Returns the address of a unix socket in `bytes`, which has `length` bytes of them. */
  decodeUnix(): UnixAddress {
    const name = this.bytes.subarray(2, Math.max(2, Math.min(this.length[0]!, this.bytes.length)));
    const end = name[0] === 0 ? name.length : name.indexOf(0); // an abstract name may contain NUL bytes
    return Buffer.from(end < 0 ? name : name.subarray(0, end)).toString();
  }

  /** Writes an address of any family: a struct of at most 128 bytes. */
  encodeBytes(address: Uint8Array): this {
    this.#encoded = null;
    this.bytes.set(address);
    this.length[0] = address.length;
    return this;
  }

  /** Returns a copy of the struct in `bytes`. */
  toBytes(): Uint8Array {
    return this.bytes.slice(0, Math.min(this.length[0]!, this.bytes.length));
  }

  /** Returns the address in `bytes`. */
  decode(): SocketAddress {
    if (this.#decoded !== null && this.#isEqual(this.#decodedInts)) return this.#decoded;
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

  /** @internal The port of an IP address. */
  get port(): number {
    return this.#view.getUint16(2);
  }

  /** Returns true if both buffers hold the same address. */
  isSameAs(other: SockaddrBuffer): boolean {
    return this.#isEqual(other.#ints);
  }

  #isEqual(ints: Uint32Array): boolean {
    const count = this.family === AF_INET6 ? 7 : 2; // padding follows an IPv4 address
    for (let index = 0; index < count; index++) {
      if (this.#ints[index] !== ints[index]) return false;
    }
    return true;
  }

  #decodeIPv6(): SocketAddress {
    const groups: number[] = [];
    for (let index = 0; index < 8; index++) groups.push(this.#view.getUint16(8 + index * 2));
    const scope = this.#view.getUint32(24, true);
    const suffix = scope === 0 ? "" : `%${scope}`;
    return known(formatIPv6(groups) + suffix, this.#view.getUint16(2));
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
