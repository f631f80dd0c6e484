// SimSocket: what all sockets share: the error that waits, the directions that are shut down, and options.

import { EINVAL, ENOPROTOOPT, EOPNOTSUPP } from "../../sys/errno.ts";
import type { SockaddrBuffer } from "../../sys/sockaddr.ts";
import {
  O_NONBLOCK,
  SO_ACCEPTCONN,
  SO_DOMAIN,
  SO_ERROR,
  SO_PROTOCOL,
  SO_TYPE,
  SOL_SOCKET,
} from "../../sys/socket.ts";
import { concatenate, SimFile } from "./file.ts";
import type { NetStack } from "./stack.ts";

const O_RDWR = 2;

/** sk_shutdown: which directions are shut down. */
export const SHUT_RECEIVE = 1;
export const SHUT_SEND = 2;
export const SHUT_BOTH = 3;

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
    const current = this.defaultOption(level, option);
    if (current < 0) return current;
    if (level === SOL_SOCKET && READ_ONLY.has(option)) return -ENOPROTOOPT;
    this.options.set(optionKey(level, option), value);
    return 0;
  }

  /** Checks the argument of shutdown(2). Returns the bits, or -EINVAL. */
  protected shutdownBitsOf(how: number): number {
    return how < 0 || how > 2 ? -EINVAL : how + 1;
  }

  /** Returns the value of an option that nobody has set, or the negative errno of an unknown option. */
  protected abstract defaultOption(level: number, option: number): number;

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

function optionKey(level: number, option: number): number {
  return level * 1024 + option;
}
