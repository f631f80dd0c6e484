// The options of sockets: each a property that reads and writes the kernel's value. See socket(7), ip(7), ipv6(7).
//
// The values are those of the kernel when they are read: it may round them, double them (buffer sizes), or cap them.

import { checkBoolean, checkObject, checkString, invalidType, outOfRange } from "../base/check.ts";
import { cold } from "../base/cold.ts";
import { describe } from "../base/describe.ts";
import type { Source } from "../io/source.ts";
import { EPERM, SysError } from "../sys/errno.ts";
import { AF_INET6 } from "../sys/sockaddr.ts";
import {
  IP_PKTINFO,
  IP_RECVERR,
  IPPROTO_IP,
  IPPROTO_IPV6,
  IPV6_RECVERR,
  SO_BROADCAST,
  SO_DOMAIN,
  SO_REUSEADDR,
  SO_REUSEPORT,
  SOL_SOCKET,
  SOL_UDP,
  UDP_GRO,
} from "../sys/socket.ts";
import { openSys } from "./socket.ts";

/** Returns the kernel's error, with the capability that the option needs. */
function optionError(syscall: string, errno: number, name: string, capability?: string): SysError {
  const needs = errno === -EPERM && capability !== undefined ? `${name} needs ${capability}` : name;
  return new SysError(errno, syscall, undefined, needs);
}

/** An option whose value is an int: its numbers, its name in messages, its range, and what a process needs to set it. */
export interface IntOption {
  readonly level: number;
  readonly option: number;
  readonly name: string;
  readonly min?: number;
  readonly max?: number;
  readonly capability?: string;
}

const SO_BINDTODEVICE = 25;

const PRIORITY: IntOption = {
  ...{ level: SOL_SOCKET, option: 12, name: "priority", min: 0, max: 0x7fffffff },
  capability: "CAP_NET_ADMIN for a value above 6",
};
const MARK: IntOption = {
  ...{ level: SOL_SOCKET, option: 36, name: "mark", min: 0, max: 0xffffffff },
  capability: "CAP_NET_ADMIN or CAP_NET_RAW",
};
const BUFFER = { level: SOL_SOCKET, min: 1, max: 0x7fffffff } as const;
const SEND_BUFFER: IntOption = { ...BUFFER, option: 7, name: "sendBufferBytes" };
const RECEIVE_BUFFER: IntOption = { ...BUFFER, option: 8, name: "receiveBufferBytes" };
const REUSE_ADDRESS: IntOption = { level: SOL_SOCKET, option: SO_REUSEADDR, name: "reuseAddress" };
const REUSE_PORT: IntOption = { level: SOL_SOCKET, option: SO_REUSEPORT, name: "reusePort" };
const BROADCAST: IntOption = { level: SOL_SOCKET, option: SO_BROADCAST, name: "broadcast" };

/** Sets an option of `source`. Throws what the properties of SocketOptions throw. */
function setInt(source: Source, option: IntOption, value: number): void {
  const { level, name, min = 0, max = 1, capability } = option;
  if (typeof value !== "number") {
    throw invalidType(`${name} must be a number; got ${describe(value)}`);
  }
  if (!Number.isInteger(value) || value < min || value > max) {
    throw outOfRange(`${name} must be an integer from ${min} to ${max}; got ${describe(value)}`);
  }
  const result = openSys(source).setsockopt(source.fd, level, option.option, value | 0);
  if (result < 0) throw optionError("setsockopt", result, name, capability);
}

/** Like `setInt`, for a boolean. */
export function setFlag(source: Source, option: IntOption, value: boolean): void {
  checkBoolean(value, option.name);
  setInt(source, option, Number(value));
}
cold(setFlag);

/**
 * The options of any socket. Reading or writing one throws SysError (`ENOPROTOOPT` where the family lacks it, `EPERM` with
 * the name of the missing capability), ClosedError, and TypeError or RangeError for an invalid value. See socket(7).
 */
export class SocketOptions {
  readonly #source: Source;

  /** @internal */
  constructor(source: Source) {
    this.#source = source;
  }

  /** @internal */
  getInt({ level, option, name }: IntOption): number {
    const { fd } = this.#source;
    // Not `getsockopt`, which returns a negative value as an error.
    const value = new Int32Array(1);
    const bytes = new Uint8Array(value.buffer);
    const result = openSys(this.#source).getsockoptBytes(fd, level, option, bytes);
    if (result < 0) throw optionError("getsockopt", result, name);
    return result === 1 ? bytes[0]! : value[0]!;
  }

  /** @internal */
  setInt(option: IntOption, value: number): void {
    setInt(this.#source, option, value);
  }

  /** @internal */
  getFlag(option: IntOption): boolean {
    return this.getInt(option) !== 0;
  }

  /** @internal */
  setFlag(option: IntOption, value: boolean): void {
    setFlag(this.#source, option, value);
  }

  /** @internal */
  getBytes({ level, option, name }: IntOption, maxBytes: number): Uint8Array {
    const value = new Uint8Array(maxBytes);
    const { fd } = this.#source;
    const length = openSys(this.#source).getsockoptBytes(fd, level, option, value);
    if (length < 0) throw optionError("getsockopt", length, name);
    return value.subarray(0, length);
  }

  /** @internal */
  setBytes({ level, option, name, capability }: IntOption, value: Uint8Array): void {
    const { fd } = this.#source;
    const result = openSys(this.#source).setsockoptBytes(fd, level, option, value);
    if (result < 0) throw optionError("setsockopt", result, name, capability);
  }

  /** The size of the send buffer. The kernel doubles the value that it is given, up to net.core.wmem_max. SO_SNDBUF. */
  get sendBufferBytes(): number {
    return this.getInt(SEND_BUFFER);
  }
  set sendBufferBytes(value: number) {
    this.setInt(SEND_BUFFER, value);
  }

  /**
   * The size of the receive buffer. The kernel doubles the value that it is given, up to net.core.rmem_max. For a large
   * TCP window set it before the connection exists. SO_RCVBUF.
   */
  get receiveBufferBytes(): number {
    return this.getInt(RECEIVE_BUFFER);
  }
  set receiveBufferBytes(value: number) {
    this.setInt(RECEIVE_BUFFER, value);
  }

  /** Allows to bind to an address that earlier connections still use; for UDP, several sockets per address. SO_REUSEADDR. */
  get reuseAddress(): boolean {
    return this.getFlag(REUSE_ADDRESS);
  }
  set reuseAddress(value: boolean) {
    this.setFlag(REUSE_ADDRESS, value);
  }

  /** Lets several sockets bind to one address; the kernel distributes connections or datagrams. SO_REUSEPORT. */
  get reusePort(): boolean {
    return this.getFlag(REUSE_PORT);
  }
  set reusePort(value: boolean) {
    this.setFlag(REUSE_PORT, value);
  }

  /** The priority of outgoing packets in the queue of the device. Above 6 it needs CAP_NET_ADMIN. SO_PRIORITY. */
  get priority(): number {
    return this.getInt(PRIORITY);
  }
  set priority(value: number) {
    this.setInt(PRIORITY, value);
  }

  /** The mark of outgoing packets, for routing and the firewall. Needs CAP_NET_ADMIN or CAP_NET_RAW. SO_MARK. */
  get mark(): number {
    return this.getInt(MARK) >>> 0;
  }
  set mark(value: number) {
    this.setInt(MARK, value);
  }

  /** The network interface to use exclusively, such as `"eth0"`; `""` for any. SO_BINDTODEVICE. */
  get device(): string {
    const bytes = this.getBytes(DEVICE, 16);
    const end = bytes.indexOf(0);
    return Buffer.from(bytes.subarray(0, end < 0 ? bytes.length : end)).toString();
  }
  set device(value: string) {
    checkString(value, "device");
    this.setBytes(DEVICE, Buffer.from(`${value}\0`));
  }
}

const DEVICE: IntOption = {
  ...{ level: SOL_SOCKET, option: SO_BINDTODEVICE, name: "device" },
  capability: "CAP_NET_RAW to change it",
};
const DOMAIN: IntOption = { level: SOL_SOCKET, option: SO_DOMAIN, name: "the address family" };

const byte = { min: 0, max: 255 } as const;
const TTL: IntOption = { level: IPPROTO_IP, option: 2, name: "ttl", min: 1, max: 255 };
const HOPS: IntOption = { level: IPPROTO_IPV6, option: 16, name: "ttl", min: 1, max: 255 };
const TOS: IntOption = { level: IPPROTO_IP, option: 1, name: "trafficClass", ...byte };
const CLASS: IntOption = { level: IPPROTO_IPV6, option: 67, name: "trafficClass", ...byte };
const V6_ONLY: IntOption = { level: IPPROTO_IPV6, option: 26, name: "v6Only" };
const FREEBIND: IntOption = { level: IPPROTO_IP, option: 15, name: "freebind" };
const FREEBIND6: IntOption = { level: IPPROTO_IPV6, option: 78, name: "freebind" };
const TRANSPARENT_NEEDS = { name: "transparent", capability: "CAP_NET_ADMIN or CAP_NET_RAW" };
const TRANSPARENT: IntOption = { level: IPPROTO_IP, option: 19, ...TRANSPARENT_NEEDS };
const TRANSPARENT6: IntOption = { level: IPPROTO_IPV6, option: 75, ...TRANSPARENT_NEEDS };

/** The options of IP sockets, and those of SocketOptions. See ip(7), ipv6(7). */
export class IpOptions extends SocketOptions {
  #isV6: boolean | null = null;

  /** @internal Returns the option for the family of the socket. */
  pick(v4: IntOption, v6: IntOption): IntOption {
    this.#isV6 ??= this.getInt(DOMAIN) === AF_INET6;
    return this.#isV6 ? v6 : v4;
  }

  /** How many routers a packet may pass: 1 to 255. IP_TTL, IPV6_UNICAST_HOPS. */
  get ttl(): number {
    return this.getInt(this.pick(TTL, HOPS));
  }
  set ttl(value: number) {
    this.setInt(this.pick(TTL, HOPS), value);
  }

  /** The DSCP and ECN bits of packets: 0 to 255. IP_TOS, IPV6_TCLASS. */
  get trafficClass(): number {
    return this.getInt(this.pick(TOS, CLASS));
  }
  set trafficClass(value: number) {
    this.setInt(this.pick(TOS, CLASS), value);
  }

  /** Whether an IPv6 socket refuses IPv4. Set it before the bind. IPV6_V6ONLY. */
  get v6Only(): boolean {
    return this.getFlag(V6_ONLY);
  }
  set v6Only(value: boolean) {
    this.setFlag(V6_ONLY, value);
  }

  /** Allows to bind to an address that this machine does not have yet. Set it before the bind. IP_FREEBIND. */
  get freebind(): boolean {
    return this.getFlag(this.pick(FREEBIND, FREEBIND6));
  }
  set freebind(value: boolean) {
    this.setFlag(this.pick(FREEBIND, FREEBIND6), value);
  }

  /** Allows to use addresses of other machines, for transparent proxies. Needs CAP_NET_ADMIN or CAP_NET_RAW. IP_TRANSPARENT. */
  get transparent(): boolean {
    return this.getFlag(this.pick(TRANSPARENT, TRANSPARENT6));
  }
  set transparent(value: boolean) {
    this.setFlag(this.pick(TRANSPARENT, TRANSPARENT6), value);
  }
}

const MULTICAST_TTL: IntOption = { level: IPPROTO_IP, option: 33, name: "multicastTtl", ...byte };
const MULTICAST_HOPS: IntOption = {
  level: IPPROTO_IPV6,
  option: 18,
  name: "multicastTtl",
  ...byte,
};
const MULTICAST_LOOP: IntOption = { level: IPPROTO_IP, option: 34, name: "multicastLoop" };
const MULTICAST_LOOP6: IntOption = { level: IPPROTO_IPV6, option: 19, name: "multicastLoop" };
const PACKET_INFO: IntOption = { level: IPPROTO_IP, option: IP_PKTINFO, name: "packetInfo" };
const GRO: IntOption = { level: SOL_UDP, option: UDP_GRO, name: "gro" };
const RECEIVE_ERRORS: IntOption = { level: IPPROTO_IP, option: IP_RECVERR, name: "receiveErrors" };
const RECEIVE_ERRORS6: IntOption = {
  level: IPPROTO_IPV6,
  option: IPV6_RECVERR,
  name: "receiveErrors",
};
const IPV6_RECVPKTINFO = 49;
const PACKET_INFO6: IntOption = {
  level: IPPROTO_IPV6,
  option: IPV6_RECVPKTINFO,
  name: "packetInfo",
};

/** The options of UDP sockets, and those of IpOptions. See udp(7). */
export class UdpSocketOptions extends IpOptions {
  /** Allows sending to broadcast addresses. SO_BROADCAST. */
  get broadcast(): boolean {
    return this.getFlag(BROADCAST);
  }
  set broadcast(value: boolean) {
    this.setFlag(BROADCAST, value);
  }

  /** How many routers a multicast datagram may pass: 0 to 255. Default 1. IP_MULTICAST_TTL, IPV6_MULTICAST_HOPS. */
  get multicastTtl(): number {
    return this.getInt(this.pick(MULTICAST_TTL, MULTICAST_HOPS));
  }
  set multicastTtl(value: number) {
    this.setInt(this.pick(MULTICAST_TTL, MULTICAST_HOPS), value);
  }

  /** Whether sockets of this machine receive the multicast datagrams that this one sends. Default true. IP_MULTICAST_LOOP. */
  get multicastLoop(): boolean {
    return this.getFlag(this.pick(MULTICAST_LOOP, MULTICAST_LOOP6));
  }
  set multicastLoop(value: boolean) {
    this.setFlag(this.pick(MULTICAST_LOOP, MULTICAST_LOOP6), value);
  }

  /**
   * Whether `recvMessage` returns the address that a datagram was sent to, and the interface that it arrived by. Set it
   * before the bind, so that it holds for the first datagram. IP_PKTINFO, IPV6_RECVPKTINFO.
   */
  get packetInfo(): boolean {
    return this.getFlag(this.pick(PACKET_INFO, PACKET_INFO6));
  }
  set packetInfo(value: boolean) {
    this.setFlag(this.pick(PACKET_INFO, PACKET_INFO6), value);
  }

  /**
   * Whether the kernel keeps the errors of sent datagrams for `recvError`. Then an error that `recvError` has not returned
   * yet also fails the next send or receive, once, whatever its address: send again. IP_RECVERR, IPV6_RECVERR.
   */
  get receiveErrors(): boolean {
    return this.getFlag(this.pick(RECEIVE_ERRORS, RECEIVE_ERRORS6));
  }
  set receiveErrors(value: boolean) {
    this.setFlag(this.pick(RECEIVE_ERRORS, RECEIVE_ERRORS6), value);
    this.setFlag(RECEIVE_ERRORS, value); // for IPv4 on an IPv6 socket, too
  }

  /**
   * Whether the kernel may merge datagrams of one sender that arrive together, so that one call receives up to 64 of them.
   * Then receive with `recvMessage` only: `segmentBytes` says where one ends, and other receives would return several
   * as one. Needs Linux 5.0. UDP_GRO.
   */
  get gro(): boolean {
    return this.getFlag(GRO);
  }
  set gro(value: boolean) {
    this.setFlag(GRO, value);
  }
}

/** The values of options to set at once: the writable properties of `O`. */
export type OptionValues<O> = Partial<Omit<O, "info">>;

/** Sets options, in the order of the keys. Throws what they throw, and TypeError for an unknown option. */
export function setOptions<O extends SocketOptions>(
  options: O,
  values: OptionValues<O> | undefined,
  what: string,
): void {
  if (values === undefined) return;
  checkObject(values, what);
  for (const [name, value] of Object.entries(values)) {
    if (value === undefined) continue;
    if (!isOption(options, name)) {
      throw invalidType(`${what} must name options of this socket; got ${describe(name)}`);
    }
    Reflect.set(options, name, value);
  }
}

function isOption(options: object, name: string): boolean {
  for (let at: object | null = options; at !== null; at = Object.getPrototypeOf(at)) {
    if (Object.getOwnPropertyDescriptor(at, name)?.set !== undefined) return name !== "__proto__";
  }
  return false;
}
