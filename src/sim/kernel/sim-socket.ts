// SimSocket: what all sockets share: the error that waits, the directions that are shut down, and options.
//
// Facts about Linux's options, and what they mean for this code:
// - The size of a buffer reads as twice the number that was set, within limits: the kernel adds room for its structures.
//   Here that changes what the program reads, and not how much a buffer holds.

import { EINVAL, ENOPROTOOPT, EOPNOTSUPP } from "../../sys/errno.ts";
import type { SockaddrBuffer } from "../../sys/sockaddr.ts";
import {
  IPPROTO_IP,
  IPPROTO_IPV6,
  IPPROTO_TCP,
  O_NONBLOCK,
  SO_ACCEPTCONN,
  SO_DOMAIN,
  SO_ERROR,
  SO_PROTOCOL,
  SO_RCVBUF,
  SO_SNDBUF,
  SO_TYPE,
  SOL_SOCKET,
  TCP_KEEPIDLE,
  TCP_KEEPINTVL,
} from "../../sys/socket.ts";
import { concatenate, SimFile } from "./file.ts";
import type { NetStack } from "./stack.ts";

const O_RDWR = 2;

/** sk_shutdown: which directions are shut down. */
export const SHUT_RECEIVE = 1;
export const SHUT_SEND = 2;
export const SHUT_BOTH = 3;

/** net.core.rmem_default and wmem_default, which are also the largest sizes that may be set (rmem_max, wmem_max). */
export const BUFFER_BYTES = 212_992;
/** The smallest sizes. */
const MIN_SEND_BYTES = 4608;
const MIN_RECEIVE_BYTES = 2304;
export const TCP_MAXSEG = 2;
export const TCP_KEEPCNT = 6;
export const IP_MULTICAST_TTL = 33;
export const IP_MULTICAST_LOOP = 34;
export const IP_MULTICAST_ALL = 49;

/** What the kernel sets: the options that are not 0 before a program sets them. */
const DEFAULTS: ReadonlyMap<number, number> = new Map(
  (
    [
      [SOL_SOCKET, SO_SNDBUF, BUFFER_BYTES],
      [SOL_SOCKET, SO_RCVBUF, BUFFER_BYTES],
      [IPPROTO_IP, 2, 64], // IP_TTL
      [IPPROTO_IP, IP_MULTICAST_TTL, 1],
      [IPPROTO_IP, IP_MULTICAST_LOOP, 1],
      [IPPROTO_IP, IP_MULTICAST_ALL, 1],
      [IPPROTO_IPV6, 16, 64], // IPV6_UNICAST_HOPS
      [IPPROTO_IPV6, 18, 1], // IPV6_MULTICAST_HOPS
      [IPPROTO_IPV6, 19, 1], // IPV6_MULTICAST_LOOP
      [IPPROTO_TCP, TCP_MAXSEG, 536],
      [IPPROTO_TCP, TCP_KEEPIDLE, 7200],
      [IPPROTO_TCP, TCP_KEEPINTVL, 75],
      [IPPROTO_TCP, TCP_KEEPCNT, 9],
      [IPPROTO_TCP, 12, 1], // TCP_QUICKACK
    ] as const
  ).map(([level, option, value]) => [optionKey(level, option), value]),
);

export abstract class SimSocket extends SimFile {
  readonly stack: NetStack;
  readonly domain: number;
  /** SOCK_STREAM, SOCK_DGRAM or SOCK_SEQPACKET. */
  readonly type: number;
  /** The pending error, a positive errno: the next call that asks for it gets it and clears it. */
  protected error: number = 0;
  protected shutdownBits: number = 0;
  protected readonly options: Map<number, number> = new Map();

  constructor(stack: NetStack, domain: number, type: number) {
    super(O_RDWR | O_NONBLOCK);
    this.stack = stack;
    this.domain = domain;
    this.type = type;
  }

  /** IPPROTO_TCP, IPPROTO_UDP, or 0 for unix sockets. */
  abstract readonly protocol: number;
  abstract get isListening(): boolean;
  abstract bind(address: SockaddrBuffer): number;
  abstract connect(address: SockaddrBuffer): number;
  /** Writes the local address to `address`. */
  abstract writeName(address: SockaddrBuffer): void;
  /** Writes the address of the peer to `address`. Returns -ENOTCONN without a peer. */
  abstract writePeerName(address: SockaddrBuffer): number;
  /** Receives, and writes the sender to `from`, if the socket names senders. */
  abstract receiveFrom(buffer: Uint8Array, flags: number, from: SockaddrBuffer | null): number;
  /** Sends to `to`; null is the connected peer. */
  abstract sendTo(data: Uint8Array, to: SockaddrBuffer | null): number;

  listen(_backlog: number): number {
    return -EOPNOTSUPP;
  }

  /** Returns the oldest connection that waits, or a negative errno. */
  accept(): SimSocket | number {
    return -EOPNOTSUPP;
  }

  override read(buffer: Uint8Array): number {
    return buffer.length === 0 ? 0 : this.receiveFrom(buffer, 0, null);
  }

  override write(data: Uint8Array): number {
    return this.sendTo(data, null);
  }

  override writev(pieces: readonly Uint8Array[]): number {
    return this.sendTo(concatenate(pieces), null);
  }

  /** Returns the pending error as a negative errno and clears it; 0 if there is none. */
  protected takeError(): number {
    const { error } = this;
    this.error = 0;
    return error === 0 ? 0 : -error;
  }

  getsockopt(level: number, option: number): number {
    if (level === SOL_SOCKET) {
      if (option === SO_ERROR) return -this.takeError();
      if (option === SO_TYPE) return this.type;
      if (option === SO_DOMAIN) return this.domain;
      if (option === SO_PROTOCOL) return this.protocol;
      if (option === SO_ACCEPTCONN) return Number(this.isListening);
    }
    return this.option(level, option);
  }

  setsockopt(level: number, option: number, value: number): number {
    const wrong = this.checkLevel(level);
    if (wrong !== 0) return wrong;
    if (level === SOL_SOCKET && READ_ONLY.has(option)) return -ENOPROTOOPT;
    this.options.set(optionKey(level, option), adjusted(level, option, value));
    return 0;
  }

  /** Checks the argument of shutdown(2). Returns the bits, or -EINVAL. */
  protected shutdownBitsOf(how: number): number {
    return how < 0 || how > 2 ? -EINVAL : how + 1;
  }

  /** Returns 0 if the socket has options of `level`, or the negative errno. */
  protected abstract checkLevel(level: number): number;

  /** Returns the value of an option that nobody has set, or the negative errno of an unknown option. */
  protected defaultOption(level: number, option: number): number {
    return this.checkLevel(level) || (DEFAULTS.get(optionKey(level, option)) ?? 0);
  }

  protected option(level: number, option: number): number {
    return this.options.get(optionKey(level, option)) ?? this.defaultOption(level, option);
  }
}

const READ_ONLY: ReadonlySet<number> = new Set([
  SO_ERROR,
  SO_TYPE,
  SO_DOMAIN,
  SO_PROTOCOL,
  SO_ACCEPTCONN,
]);

/** Returns what an option reads as after `value` was set. */
function adjusted(level: number, option: number, value: number): number {
  if (level !== SOL_SOCKET || (option !== SO_SNDBUF && option !== SO_RCVBUF)) return value;
  const least = option === SO_SNDBUF ? MIN_SEND_BYTES : MIN_RECEIVE_BYTES;
  return Math.max(2 * Math.min(value >>> 0, BUFFER_BYTES), least);
}

function optionKey(level: number, option: number): number {
  return level * 1024 + option;
}
