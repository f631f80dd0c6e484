// Sockets from fds that other code opened: the checks that fromFd makes. See getsockopt(2).

import { invalidType } from "../base/check.ts";
import { describe } from "../base/describe.ts";
import { fdOf, OwnedFd } from "../io/owned-fd.ts";
import { Source } from "../io/source.ts";
import { currentSys } from "../reactor/reactor.ts";
import { check } from "../sys/errno.ts";
import { AF_INET, AF_INET6, AF_UNIX } from "../sys/sockaddr.ts";
import {
  F_GETFL,
  F_SETFL,
  O_NONBLOCK,
  SO_ACCEPTCONN,
  SO_DOMAIN,
  SO_TYPE,
  SOCK_DGRAM,
  SOCK_SEQPACKET,
  SOCK_STREAM,
  SOL_SOCKET,
} from "../sys/socket.ts";
import type { Sys } from "../sys/sys.ts";

/** What a socket is. */
export interface SocketKind {
  readonly family: "ipv4" | "ipv6" | "unix" | "other";
  readonly type: "stream" | "datagram" | "seqpacket" | "other";
  /** True if `listen` was called on it. */
  readonly isListening: boolean;
}

const FAMILIES = new Map<number, SocketKind["family"]>([
  [AF_INET, "ipv4"],
  [AF_INET6, "ipv6"],
  [AF_UNIX, "unix"],
]);
const TYPES = new Map<number, SocketKind["type"]>([
  [SOCK_STREAM, "stream"],
  [SOCK_DGRAM, "datagram"],
  [SOCK_SEQPACKET, "seqpacket"],
]);

/** Returns what the socket `fd` is. Throws SysError (`ENOTSOCK`, `EBADF`). */
export function kindOf(sys: Sys, fd: number): SocketKind {
  const read = (option: number): number =>
    check(sys.getsockopt(fd, SOL_SOCKET, option), "getsockopt");
  return {
    family: FAMILIES.get(read(SO_DOMAIN)) ?? "other",
    type: TYPES.get(read(SO_TYPE)) ?? "other",
    isListening: read(SO_ACCEPTCONN) === 1,
  };
}

/** What `fromFd` of a class accepts. */
interface Expected {
  /** The class, for messages. */
  readonly name: string;
  readonly isUnix: boolean;
  readonly type: SocketKind["type"];
  readonly isListening: boolean;
}

/**
 * Takes ownership of a socket that other code opened, and makes it non-blocking. Throws SysError, and TypeError if it is
 * not a socket of the expected kind; then the caller still owns it.
 */
export function adoptSocket(fd: number | OwnedFd, expected: Expected): Source {
  const number = fdOf(fd, `${expected.name}.fromFd: fd`);
  const sys = currentSys();
  const kind = kindOf(sys, number);
  const { family, type, isListening } = kind;
  const isIp = family === "ipv4" || family === "ipv6";
  const isFamily = expected.isUnix ? family === "unix" : isIp;
  if (!isFamily || type !== expected.type || isListening !== expected.isListening) {
    const listening = (is: boolean): string => (is ? "a listening" : "a connected or unbound");
    throw invalidType(
      `${expected.name}.fromFd: fd must be ${listening(expected.isListening)} ${expected.isUnix ? "unix" : "IP"} ${expected.type} socket; got ${listening(isListening)} ${family} ${type} socket`,
    );
  }
  const flags = check(sys.fcntl(number, F_GETFL, 0), "fcntl");
  if ((flags & O_NONBLOCK) === 0) check(sys.fcntl(number, F_SETFL, flags | O_NONBLOCK), "fcntl");
  if (typeof fd === "object") {
    if (!(fd instanceof OwnedFd)) {
      throw invalidType(
        `${expected.name}.fromFd: fd must be a number or an OwnedFd; got ${describe(fd)}`,
      );
    }
    fd.release();
  }
  return new Source(sys, number, type === "datagram");
}
