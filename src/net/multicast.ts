// Multicast: which groups a UDP socket receives. See MCAST_JOIN_GROUP in ip(7), RFC 3678.
//
// The structs of RFC 3678 serve IPv4 and IPv6, and name the interface by its index.

import { checkObject, invalidType } from "../base/check.ts";
import { describe } from "../base/describe.ts";
import type { Source } from "../io/source.ts";
import { check } from "../sys/errno.ts";
import { familyOf, SockaddrBuffer } from "../sys/sockaddr.ts";
import { IPPROTO_IP, IPPROTO_IPV6 } from "../sys/socket.ts";
import { interfaceIndex, openSys } from "./socket.ts";

/** Which multicast group, or which part of it. */
export interface MulticastOptions {
  /** The network interface to receive on, such as `"eth0"`. Default: the one that the routing table names. */
  readonly interface?: string;
  /** Only datagrams from this IP address (source-specific multicast, RFC 4607). Default: from any. */
  readonly source?: string;
}

const IP_MULTICAST_IF = 32;
const IPV6_MULTICAST_IF = 17;
/** On by default: a socket then receives the groups that any socket of the machine has joined. */
const IP_MULTICAST_ALL = 49;
const IPV6_MULTICAST_ALL = 29;
const MCAST_JOIN_GROUP = 42;
const MCAST_LEAVE_GROUP = 45;
const MCAST_JOIN_SOURCE_GROUP = 46;
const MCAST_LEAVE_SOURCE_GROUP = 47;
/** The size of struct sockaddr_storage; in struct group_req it begins at byte 8. */
const ADDRESS_BYTES = 128;

const levelOf = (family: 4 | 6): number => (family === 4 ? IPPROTO_IP : IPPROTO_IPV6);

/** Joins or leaves a group. `family` is that of the socket. Throws SysError, ClosedError, and TypeError. */
export function changeMembership(
  source: Source,
  family: 4 | 6,
  isJoin: boolean,
  group: string,
  options: MulticastOptions = {},
): void {
  const what = isJoin ? "joinMulticast" : "leaveMulticast";
  checkObject(options, `${what}: options`);
  checkLiteral(group, family, `${what}: group`);
  if (options.source !== undefined) checkLiteral(options.source, family, `${what}: source`);
  const sys = openSys(source);
  const request = new Uint8Array(8 + ADDRESS_BYTES * (options.source === undefined ? 1 : 2));
  const name = options.interface;
  const device = name === undefined ? 0 : interfaceIndex(sys, name, what); // 0: any
  new DataView(request.buffer).setUint32(0, device, true);
  for (const [index, ip] of [group, options.source].entries()) {
    if (ip === undefined) continue;
    const { bytes } = new SockaddrBuffer().encode({ hostname: ip, port: 0 });
    request.set(bytes, 8 + index * ADDRESS_BYTES);
  }
  const [join, leave] =
    options.source === undefined
      ? [MCAST_JOIN_GROUP, MCAST_LEAVE_GROUP]
      : [MCAST_JOIN_SOURCE_GROUP, MCAST_LEAVE_SOURCE_GROUP];
  const result = sys.setsockoptBytes(source.fd, levelOf(family), isJoin ? join : leave, request);
  check(result, "setsockopt", { hostname: group, port: 0 });
  // Only the groups of this socket. (Without the option, before Linux 4.20 for IPv6, it stays as it is.)
  const all = family === 4 ? IP_MULTICAST_ALL : IPV6_MULTICAST_ALL;
  if (isJoin) sys.setsockopt(source.fd, levelOf(family), all, 0);
}

/** Sets the interface that multicast leaves by. Throws SysError, ClosedError, and TypeError. */
export function setMulticastInterface(source: Source, family: 4 | 6, name: string): void {
  const sys = openSys(source);
  const index = interfaceIndex(sys, name, "setMulticastInterface");
  // IPv6: an int. IPv4: struct ip_mreqn, two addresses and the index.
  const value = new Uint8Array(new Int32Array(family === 4 ? [0, 0, index] : [index]).buffer);
  const option = family === 4 ? IP_MULTICAST_IF : IPV6_MULTICAST_IF;
  check(sys.setsockoptBytes(source.fd, levelOf(family), option, value), "setsockopt");
}

function checkLiteral(ip: unknown, family: 4 | 6, what: string): void {
  if (typeof ip === "string" && familyOf(ip) === family && !ip.includes("%")) return;
  throw invalidType(
    `${what} must be an IPv${family} literal, as the socket's address is; got ${describe(ip)}`,
  );
}
