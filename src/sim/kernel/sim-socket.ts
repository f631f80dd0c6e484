// SimSocket: what TCP and UDP sockets share: options, addresses, and the bind.

import { EAFNOSUPPORT, EINVAL, ENOPROTOOPT, EOPNOTSUPP } from "../../sys/errno.ts";
import { AF_INET, AF_INET6, type SocketAddress } from "../../sys/sockaddr.ts";
import { O_NONBLOCK, SO_ERROR, SO_REUSEADDR, SO_REUSEPORT, SOL_SOCKET } from "../../sys/socket.ts";
import { EADDRNOTAVAIL } from "./errno.ts";
import { concatenate, SimFile } from "./file.ts";
import {
  ANY_IPV4,
  ANY_IPV6,
  type Bound,
  isAny,
  mappedFor,
  type NetStack,
  unmapped,
} from "./stack.ts";

const O_RDWR = 2;

/** sk_shutdown: which directions are shut down. */
export const SHUT_RECEIVE = 1;
export const SHUT_SEND = 2;
export const SHUT_BOTH = 3;

export abstract class SimSocket extends SimFile implements Bound {
  readonly stack: NetStack;
  readonly domain: number;
  /** The local address; the wildcard while unbound. */
  ip: string;
  /** 0 before the socket is first bound. Stays when the kernel releases the port. */
  port = 0;
  isBound: boolean = false;
  protected isAddressChosenByUser: boolean = false;
  protected isPortChosenByUser = false;
  isReusingAddress: boolean = false;
  isReusingPort: boolean = false;
  /** The pending error, a positive errno: the next call that asks for it gets it and clears it. */
  protected error: number = 0;
  protected shutdownBits: number = 0;
  protected readonly options: Map<number, number> = new Map();

  constructor(stack: NetStack, domain: number) {
    super(O_RDWR | O_NONBLOCK);
    this.stack = stack;
    this.domain = domain;
    this.ip = domain === AF_INET ? ANY_IPV4 : ANY_IPV6;
  }

  abstract get isListening(): boolean;
  /** The address of the connected peer; null if there is none. */
  abstract get peerName(): SocketAddress | null;
  abstract bind(address: SocketAddress, family: number): number;
  abstract connect(address: SocketAddress, family: number): number;
  abstract recv(buffer: Uint8Array, flags: number): number;
  abstract send(data: Uint8Array): number;

  listen(_backlog: number): number {
    return -EOPNOTSUPP;
  }

  override read(buffer: Uint8Array): number {
    return this.recv(buffer, 0);
  }

  override write(data: Uint8Array): number {
    return this.send(data);
  }

  override writev(pieces: readonly Uint8Array[]): number {
    return this.send(concatenate(pieces));
  }

  /** Returns the address as the socket's family shows it. */
  get localAddress(): SocketAddress {
    return {
      hostname: isAny(this.ip) ? this.ip : mappedFor(this.domain, this.ip),
      port: this.port,
    };
  }

  /** Returns the pending error as a negative errno and clears it; 0 if there is none. */
  protected takeError(): number {
    const { error } = this;
    this.error = 0;
    return error === 0 ? 0 : -error;
  }

  /** Checks the family of an address that the user passes. Returns 0 or the negative errno. */
  protected checkFamily(family: number): number {
    if (family === this.domain) return 0;
    return this.domain === AF_INET6 ? -EINVAL : -EAFNOSUPPORT;
  }

  /** Checks an address to bind to. Returns 0 or the negative errno. */
  protected checkBind({ hostname }: SocketAddress, family: number): number {
    const wrong = this.checkFamily(family);
    if (wrong !== 0) return wrong;
    if (!isAny(hostname) && !this.stack.isLocal(unmapped(hostname))) return -EADDRNOTAVAIL;
    return this.isBound ? -EINVAL : 0;
  }

  getsockopt(level: number, option: number): number {
    if (level === SOL_SOCKET && option === SO_ERROR) return -this.takeError();
    if (level === SOL_SOCKET && option === SO_REUSEADDR) return Number(this.isReusingAddress);
    if (level === SOL_SOCKET && option === SO_REUSEPORT) return Number(this.isReusingPort);
    return this.options.get(optionKey(level, option)) ?? this.defaultOption(level, option);
  }

  setsockopt(level: number, option: number, value: number): number {
    if (this.defaultOption(level, option) < 0) return -ENOPROTOOPT;
    if (level === SOL_SOCKET && option === SO_REUSEADDR) this.isReusingAddress = value !== 0;
    else if (level === SOL_SOCKET && option === SO_REUSEPORT) this.isReusingPort = value !== 0;
    else this.options.set(optionKey(level, option), value);
    return 0;
  }

  /** Returns the value of an option that nobody has set, or the negative errno of an unknown option. */
  protected abstract defaultOption(level: number, option: number): number;

  protected option(level: number, option: number): number {
    return this.options.get(optionKey(level, option)) ?? this.defaultOption(level, option);
  }
}

function optionKey(level: number, option: number): number {
  return level * 1024 + option;
}
