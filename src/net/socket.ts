// What all sockets share before they are streams or listeners: how one is made, and asked for its name.

import { Source } from "../io/source.ts";
import { check } from "../sys/errno.ts";
import { AF_INET, AF_INET6, SockaddrBuffer, type SocketAddress } from "../sys/sockaddr.ts";
import { SOCK_DGRAM } from "../sys/socket.ts";
import type { Sys } from "../sys/sys.ts";

let received: SockaddrBuffer | null = null;
let sent: SockaddrBuffer | null = null;

/**
 * Filled and used within one call, which nothing interrupts: one of each is enough for a thread. Made
 * on first use: the first views of memory that a process makes cost it a third of a millisecond.
 */
export function incoming(): SockaddrBuffer {
  received ??= new SockaddrBuffer();
  return received;
}

export function outgoing(): SockaddrBuffer {
  sent ??= new SockaddrBuffer();
  return sent;
}

export function openSocket(sys: Sys, type: number, address: SocketAddress): Source {
  const domain = address.hostname.includes(":") ? AF_INET6 : AF_INET;
  return new Source(sys, check(sys.socket(domain, type), "socket", address), type === SOCK_DGRAM);
}

/** Sets an option that is on or off, or a number. */
export function setOption(
  source: Source,
  level: number,
  option: number,
  value: boolean | number = true,
): void {
  check(openSys(source).setsockopt(source.fd, level, option, Number(value)), "setsockopt");
}

export function localAddressOf(source: Source): SocketAddress {
  check(openSys(source).getsockname(source.fd, incoming()), "getsockname");
  return incoming().decode();
}

/** The kernel for a direct call on a socket that must be open. */
export function openSys(source: Source): Sys {
  if (source.isClosed) throw source.closedError();
  return source.sys;
}
