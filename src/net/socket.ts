// What sockets share: opening one, setting its options, reading its address, and the memory of a message.

import { invalidType } from "../base/check.ts";
import { describe } from "../base/describe.ts";
import { freeFds } from "../io/fd-shortage.ts";
import { Source } from "../io/source.ts";
import { check, EINVAL, SysError } from "../sys/errno.ts";
import { Message } from "../sys/message.ts";
import { AF_INET, AF_INET6, SockaddrBuffer, type SocketAddress } from "../sys/sockaddr.ts";
import { checkBuffer, SO_LINGER, SOCK_DGRAM, SOL_SOCKET } from "../sys/socket.ts";
import type { Sys } from "../sys/sys.ts";

let incomingAddress: SockaddrBuffer | null = null;
let outgoingAddress: SockaddrBuffer | null = null;
let message: Message | null = null;

/**
 * Returns the buffer that the kernel fills with an address. One per thread is enough: a caller reads the address
 * before it suspends. Created lazily, because the first typed-array views of a process cost a third of a millisecond.
 */
export function incoming(): SockaddrBuffer {
  incomingAddress ??= new SockaddrBuffer();
  return incomingAddress;
}

/** Returns the buffer for an address that the kernel reads. One per thread, like `incoming`. */
export function outgoing(): SockaddrBuffer {
  outgoingAddress ??= new SockaddrBuffer();
  return outgoingAddress;
}

/** Returns the message of sendmsg and recvmsg for `data`. One per thread: an attempt fills it, makes its call and reads it. */
export function sharedMessage(data: Uint8Array): Message {
  message ??= new Message();
  return message.reset(data);
}

/** Throws unless `data` is a Uint8Array that is not detached. It may be empty. */
export function checkSendable(data: unknown): asserts data is Uint8Array {
  const isEmpty = data instanceof Uint8Array && data.length === 0;
  if (!isEmpty || (data.buffer as ArrayBuffer).detached) checkBuffer(data, "data");
}

/** Returns the index of a network interface. Throws SysError (`ENODEV`), and TypeError. `what` names the function. */
export function interfaceIndex(sys: Sys, name: unknown, what: string): number {
  if (typeof name !== "string" || name === "" || name.includes("\0")) {
    throw invalidType(`${what}: interface must be the name of one; got ${describe(name)}`);
  }
  return check(sys.interfaceIndex(name), "if_nametoindex", name);
}

/**
 * Returns `address` with the index of its interface as its scope, as `SockaddrBuffer.encode` needs it. Throws SysError
 * (`ENODEV`) if there is no such interface.
 */
export function resolveScope(sys: Sys, address: SocketAddress): SocketAddress {
  const { hostname, port } = address;
  const at = hostname.indexOf("%");
  const scope = hostname.slice(at + 1);
  if (at < 0 || Number(scope) > 0) return address;
  const index = check(sys.interfaceIndex(scope), "if_nametoindex", address);
  return { hostname: `${hostname.slice(0, at)}%${index}`, port };
}

/**
 * Returns the error of a call about the address `at`. The kernel answers EINVAL to a link-local address without a scope:
 * the error says what is missing.
 */
export function addressError(errno: number, syscall: string, at: SocketAddress): SysError {
  const lacksScope = errno === -EINVAL && /^fe[89ab][^%]*$/i.test(at.hostname);
  const hint = "a link-local address needs its interface, as in fe80::1%eth0";
  return new SysError(errno, syscall, at, lacksScope ? hint : undefined);
}

/** Returns `result` if it is >= 0. Throws the error of a call about the address `at`. */
export function checkCall(result: number, syscall: string, at: SocketAddress): number {
  if (result < 0) throw addressError(result, syscall, at);
  return result;
}

/** Makes the close of a TCP socket send a reset, and discard what was not sent. See SO_LINGER in socket(7). */
export function resetOnClose({ sys, fd }: Source): void {
  // struct linger: on, seconds.
  sys.setsockoptBytes(fd, SOL_SOCKET, SO_LINGER, new Uint8Array(new Int32Array([1, 0]).buffer));
}

/**
 * Calls socket(2). If the process is out of fds, closes the sockets that nobody can use any more, and tries again. Returns
 * the fd or the negative errno.
 */
export function openFd(sys: Sys, domain: number, type: number, protocol?: number): number {
  const fd = sys.socket(domain, type, protocol);
  return fd < 0 && freeFds(sys, fd) ? sys.socket(domain, type, protocol) : fd;
}

/** Opens a socket of the family of `address`. `type` is SOCK_STREAM or SOCK_DGRAM. Throws SysError. */
export function openSocket(sys: Sys, type: number, address: SocketAddress): Source {
  const domain = address.hostname.includes(":") ? AF_INET6 : AF_INET;
  return new Source(sys, check(openFd(sys, domain, type), "socket", address), type === SOCK_DGRAM);
}

/** Sets a boolean or integer socket option. Throws SysError, ClosedError. */
export function setOption(
  source: Source,
  level: number,
  option: number,
  value: boolean | number = true,
): void {
  check(openSys(source).setsockopt(source.fd, level, option, Number(value)), "setsockopt");
}

/** Returns the address that the socket is bound to. Throws SysError, ClosedError. */
export function localAddressOf(source: Source): SocketAddress {
  check(openSys(source).getsockname(source.fd, incoming()), "getsockname");
  return incoming().decode();
}

/** Returns the address of the peer. Throws SysError (`ENOTCONN`), ClosedError. */
export function peerAddressOf(source: Source): SocketAddress {
  check(openSys(source).getpeername(source.fd, incoming()), "getpeername");
  return incoming().decode();
}

/** Returns the source's Sys, for a direct syscall on its fd. Throws ClosedError if the source is closed. */
export function openSys(source: Source): Sys {
  if (source.isClosed) throw source.closedError();
  return source.sys;
}
