// Sockets from fds that other code opened: the checks that fromFd makes. See socket(7), getsockopt(2).
//
// The kernel says what an fd is (SO_DOMAIN, SO_TYPE, SO_PROTOCOL, SO_ACCEPTCONN). Until all checks have passed, the caller
// owns the fd.

import { invalidType } from "../base/check.ts";
import { describe } from "../base/describe.ts";
import { fdOf, OwnedFd } from "../io/owned-fd.ts";
import { Source } from "../io/source.ts";
import { currentSys } from "../reactor/reactor.ts";
import { check, SysError } from "../sys/errno.ts";
import { AF_CAN, AF_INET, AF_INET6, AF_NETLINK, AF_UNIX, AF_VSOCK } from "../sys/sockaddr.ts";
import {
  F_GETFL,
  F_SETFD,
  F_SETFL,
  FD_CLOEXEC,
  IPPROTO_MPTCP,
  IPPROTO_TCP,
  IPPROTO_UDP,
  O_NONBLOCK,
  SO_ACCEPTCONN,
  SO_DOMAIN,
  SO_PROTOCOL,
  SO_TYPE,
  SOCK_DGRAM,
  SOCK_RAW,
  SOCK_SEQPACKET,
  SOCK_STREAM,
  SOL_SOCKET,
} from "../sys/socket.ts";
import type { Sys } from "../sys/sys.ts";

/** What a socket is. */
export interface SocketKind {
  readonly family: "ipv4" | "ipv6" | "unix" | "vsock" | "netlink" | "can" | "other";
  readonly type: "stream" | "datagram" | "seqpacket" | "raw" | "other";
  /** The protocol within the family, as a number of the kernel's headers: 6 is TCP. See SO_PROTOCOL in socket(7). */
  readonly protocol: number;
  /** True if `listen` was called on it. */
  readonly isListening: boolean;
}

const FAMILIES = new Map<number, SocketKind["family"]>([
  [AF_INET, "ipv4"],
  [AF_INET6, "ipv6"],
  [AF_UNIX, "unix"],
  [AF_VSOCK, "vsock"],
  [AF_NETLINK, "netlink"],
  [AF_CAN, "can"],
]);
const TYPES = new Map<number, SocketKind["type"]>([
  [SOCK_STREAM, "stream"],
  [SOCK_DGRAM, "datagram"],
  [SOCK_SEQPACKET, "seqpacket"],
  [SOCK_RAW, "raw"],
]);

/** Returns what the socket `fd` is. Throws SysError (`ENOTSOCK`, `EBADF`). */
export function kindOf(sys: Sys, fd: number): SocketKind {
  const read = (option: number): number => {
    const value = sys.getsockopt(fd, SOL_SOCKET, option);
    if (value < 0) throw new SysError(value, "getsockopt", undefined, `fd ${fd}`);
    return value;
  };
  return {
    family: FAMILIES.get(read(SO_DOMAIN)) ?? "other",
    type: TYPES.get(read(SO_TYPE)) ?? "other",
    protocol: read(SO_PROTOCOL),
    isListening: read(SO_ACCEPTCONN) === 1,
  };
}

/** What `fromFd` of a class accepts. */
interface Expected {
  /** The class, for messages. */
  readonly name: string;
  /** Default: any but unix, whose classes own the fds that they receive. */
  readonly families?: readonly SocketKind["family"][];
  /** Default: any. */
  readonly types?: readonly SocketKind["type"][];
  /** Default: any. */
  readonly protocols?: readonly number[];
  readonly isListening: boolean;
}

/** The families of TCP and UDP. */
export const IP: readonly SocketKind["family"][] = ["ipv4", "ipv6"];
/** Multipath TCP has the interface of TCP, and is what other programs may listen with by default. See RFC 8684. */
export const TCP_PROTOCOLS: readonly number[] = [IPPROTO_TCP, IPPROTO_MPTCP];
export const UDP_PROTOCOLS: readonly number[] = [IPPROTO_UDP];

/**
 * Takes ownership of a socket that other code opened, and makes it non-blocking and close-on-exec. Returns what `make`
 * returns, and throws what it throws. Throws SysError, and TypeError if it is not a socket of the expected kind. After any
 * error the caller still owns the fd.
 */
export function adoptSocket<S>(
  fd: number | OwnedFd,
  make: (source: Source, kind: SocketKind) => S,
  expected: Expected,
): S {
  const name = `${expected.name}.fromFd: fd`;
  const number = fdOf(fd, name);
  if (typeof fd === "object" && !(fd instanceof OwnedFd)) {
    throw invalidType(`${name} must be a number or an OwnedFd; got ${describe(fd)}`);
  }
  const sys = currentSys();
  const kind = kindOf(sys, number);
  if (!isExpected(kind, expected)) {
    throw invalidType(`${name} must be a socket of ${kindText(expected)}; got ${textOf(kind)}`);
  }
  const flags = check(sys.fcntl(number, F_GETFL, 0), "fcntl");
  if ((flags & O_NONBLOCK) === 0) check(sys.fcntl(number, F_SETFL, flags | O_NONBLOCK), "fcntl");
  check(sys.fcntl(number, F_SETFD, FD_CLOEXEC), "fcntl"); // its only flag
  const source = new Source(sys, number, kind.type !== "stream" && kind.type !== "seqpacket");
  try {
    const socket = make(source, kind);
    if (typeof fd === "object") fd.release();
    return socket;
  } catch (error) {
    source.release();
    throw error;
  }
}

function isExpected(kind: SocketKind, { families, types, protocols, isListening }: Expected) {
  return (
    (families?.includes(kind.family) ?? kind.family !== "unix") &&
    (types?.includes(kind.type) ?? true) &&
    (protocols?.includes(kind.protocol) ?? true) &&
    kind.isListening === isListening
  );
}

/** `family ipv4 or ipv6, type stream, protocol 6, not listening` */
function kindText({ families, types, protocols, isListening }: Expected): string {
  const parts = [`family ${families?.join(" or ") ?? "other than unix"}`];
  if (types !== undefined) parts.push(`type ${types.join(" or ")}`);
  if (protocols !== undefined) parts.push(`protocol ${protocols.join(" or ")}`);
  return [...parts, isListening ? "listening" : "not listening"].join(", ");
}

function textOf({ family, type, protocol, isListening }: SocketKind): string {
  return kindText({
    name: "",
    families: [family],
    types: [type],
    protocols: [protocol],
    isListening,
  });
}
