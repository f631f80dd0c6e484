// ping(): an ICMP echo by an unprivileged datagram socket. See icmp(7), RFC 792, RFC 4443.
//
// Facts about Linux's ICMP datagram sockets, and what they mean for this code:
// - The kernel writes the identifier and the checksum of what a socket sends, and delivers only replies with that
//   identifier. So a socket per ping receives only its own replies, and those to a socket that had its identifier before:
//   the sequence number tells those apart.
// - With IP_RECVERR, a router's "unreachable" makes the next receive fail. Without it, the ping would wait for its timeout.

import { checkMilliseconds, checkObject, outOfRange } from "../base/check.ts";
import { describe } from "../base/describe.ts";
import { timeout } from "../combine/timeout.ts";
import type { Coroutine, Future } from "../core/future.ts";
import { intoFuture } from "../core/into-future.ts";
import type { Source } from "../io/source.ts";
import { currentClock, currentSys } from "../reactor/reactor.ts";
import { EACCES, EAFNOSUPPORT, EHOSTUNREACH, ENETUNREACH, EPERM, SysError } from "../sys/errno.ts";
import { AF_INET, AF_INET6, SockaddrBuffer } from "../sys/sockaddr.ts";
import {
  IPPROTO_ICMP,
  IPPROTO_ICMPV6,
  IPPROTO_IP,
  IPPROTO_IPV6,
  SOCK_DGRAM,
} from "../sys/socket.ts";
import { checkName, type LookupAddress, lookup } from "./lookup.ts";
import { IpOptions } from "./options.ts";
import { openRaw, type RawMessage, ReceiveRaw, SendRaw } from "./raw-operations.ts";
import { resolveScope, setOption } from "./socket.ts";

/** How to ping. */
export interface PingOptions {
  /** The limit, with the lookup of a name, in milliseconds. Default 5000. */
  readonly timeoutMs?: number | undefined;
  /** Only IPv4 addresses of a name (4), or only IPv6 addresses (6). Default: the first address of either family. */
  readonly family?: 4 | 6 | undefined;
  /** The length of the data that the host sends back, from 0 to 65000 bytes. Default 56, as in ping(8). */
  readonly dataBytes?: number | undefined;
  /** How many routers the request may pass: 1 to 255. Default: that of the system. */
  readonly ttl?: number | undefined;
}

/** The reply to a ping. */
export interface PingReply {
  /** The address that replied: an IP literal. */
  readonly address: string;
  /** The time from the send of the request to the receipt of the reply, in milliseconds. */
  readonly rttMs: number;
  /** The TTL, or hop limit, of the reply; null if the kernel did not report it. */
  readonly ttl: number | null;
  /** The length of the data that came back, in bytes. */
  readonly dataBytes: number;
}

/** What differs between the families. */
interface Family {
  readonly domain: number;
  readonly protocol: number;
  readonly request: number;
  readonly reply: number;
  readonly level: number;
  /** IP_RECVERR, IPV6_RECVERR; IP_RECVTTL, IPV6_RECVHOPLIMIT; IP_TTL, IPV6_HOPLIMIT. */
  readonly receiveErrors: number;
  readonly receiveTtl: number;
  readonly ttl: number;
}

const IPV4: Family = {
  ...{ domain: AF_INET, protocol: IPPROTO_ICMP, request: 8, reply: 0 },
  ...{ level: IPPROTO_IP, receiveErrors: 11, receiveTtl: 12, ttl: 2 },
};
const IPV6: Family = {
  ...{ domain: AF_INET6, protocol: IPPROTO_ICMPV6, request: 128, reply: 129 },
  ...{ level: IPPROTO_IPV6, receiveErrors: 25, receiveTtl: 51, ttl: 52 },
};

/** Type, code, checksum, identifier, sequence number. */
const HEADER_BYTES = 8;
const MAX_DATA_BYTES = 65_000;

let lastSequence = 0;

/**
 * Sends an ICMP echo request to `host`, an IP literal or a name, and waits for the reply. Needs no privilege, but the
 * system must allow it: the group of the process must be in the range of the sysctl net.ipv4.ping_group_range, which
 * serves IPv6, too. Throws SysError with the address, whose message also names the host and what to do (`EACCES` if the
 * system does not allow it, `ENETUNREACH` without a route, `EHOSTUNREACH` if a router cannot reach the host or the ttl ends
 * on the way, `EMSGSIZE`), LookupError, TimeoutError if no reply comes in time, and TypeError or RangeError for invalid
 * arguments. Cancel safe: a dropped ping ignores the reply. See icmp(7).
 *
 * @example
 * try {
 *   const { address, rttMs } = yield* ping("127.0.0.1", { timeoutMs: 1000 });
 *   console.log(`${address} replied after ${rttMs.toFixed(2)} ms`);
 * } catch (error) {
 *   console.log((error as SysError).code); // EACCES, if the system does not allow it
 * }
 */
export function ping(host: string, options: PingOptions = {}): Future<PingReply> {
  checkObject(options, "ping: options");
  const { timeoutMs = 5000, family, dataBytes = 56, ttl } = options;
  checkMilliseconds(timeoutMs, "ping: timeoutMs");
  checkRange(dataBytes, 0, MAX_DATA_BYTES, "ping: dataBytes");
  if (ttl !== undefined) checkRange(ttl, 1, 255, "ping: ttl");
  if (family !== undefined && family !== 4 && family !== 6) {
    throw outOfRange(`ping: family must be 4, 6 or undefined; got ${describe(family)}`);
  }
  const addresses = lookup(checkName(host, "ping: host"), { family });
  const work = intoFuture(function* () {
    const [first] = yield* addresses;
    return yield* echo(host, first!, dataBytes, ttl); // a name without an address throws LookupError
  });
  return timeout(timeoutMs, work);
}

function checkRange(value: unknown, min: number, max: number, name: string): void {
  if (Number.isInteger(value) && (value as number) >= min && (value as number) <= max) return;
  throw outOfRange(`${name} must be an integer from ${min} to ${max}; got ${describe(value)}`);
}

function* echo(
  host: string,
  { address, family }: LookupAddress,
  dataBytes: number,
  ttl: number | undefined,
): Coroutine<PingReply> {
  const kind = family === 4 ? IPV4 : IPV6;
  const sys = currentSys();
  const clock = currentClock();
  let source: Source | null = null;
  try {
    source = openRaw(sys, kind.domain, SOCK_DGRAM, kind.protocol);
    setOption(source, kind.level, kind.receiveErrors);
    setOption(source, kind.level, kind.receiveTtl);
    if (ttl !== undefined) new IpOptions(source).ttl = ttl;
    const to = new SockaddrBuffer().encode(resolveScope(sys, { hostname: address, port: 0 }));
    lastSequence = (lastSequence + 1) & 0xffff;
    const sequence = lastSequence;
    const sentMs = clock.now();
    yield* new SendRaw(source, request(kind, sequence, dataBytes), to.toBytes(), []);
    const buffer = new Uint8Array(HEADER_BYTES + dataBytes);
    for (;;) {
      const message = yield* new ReceiveRaw(source, buffer, false);
      if (!isReply(kind, sequence, buffer, message)) continue;
      return {
        address,
        rttMs: clock.now() - sentMs,
        ttl: ttlIn(kind, message),
        dataBytes: message.bytes - HEADER_BYTES,
      };
    }
  } catch (error) {
    throw error instanceof SysError ? errorOf(error, host, address) : error;
  } finally {
    source?.close();
  }
}

/** Returns the error of a ping, which says whom it concerns and what to do. */
function errorOf({ errno, syscall }: SysError, host: string, address: string): SysError {
  const hint = syscall === "socket" ? SOCKET_HINTS.get(errno) : HINTS.get(errno);
  const parts = [host === address ? null : `host ${host}`, hint].filter((part) => part != null);
  return new SysError(errno, syscall, address, parts.length > 0 ? parts.join("; ") : undefined);
}

const SOCKET_HINTS: ReadonlyMap<number, string> = new Map([
  [
    -EACCES,
    "the group of this process must be in the range of the sysctl net.ipv4.ping_group_range; " +
      "to allow every group: sysctl -w 'net.ipv4.ping_group_range=0 2147483647'",
  ],
  [
    -EAFNOSUPPORT,
    "the system lacks the family of the address; the option `family` chooses another",
  ],
]);

const HINTS: ReadonlyMap<number, string> = new Map([
  [-EACCES, "a broadcast address, or a firewall or route that forbids it; ping one host"],
  [-EPERM, "a firewall of this machine forbids it; see its rules for outgoing ICMP"],
  [-ENETUNREACH, "no route to the address; see `ip route`, or ping the other `family` of the host"],
  [-EHOSTUNREACH, "a router cannot reach the host, or the ttl ended on the way; see traceroute(8)"],
]);

/** Returns an echo request. The kernel fills in the identifier and the checksum. */
function request({ request: type }: Family, sequence: number, dataBytes: number): Uint8Array {
  const bytes = new Uint8Array(HEADER_BYTES + dataBytes);
  bytes[0] = type;
  new DataView(bytes.buffer).setUint16(6, sequence);
  for (let index = 0; index < dataBytes; index++) bytes[HEADER_BYTES + index] = index & 255;
  return bytes;
}

function isReply(
  { reply }: Family,
  sequence: number,
  buffer: Uint8Array,
  { bytes }: RawMessage,
): boolean {
  return (
    bytes >= HEADER_BYTES &&
    buffer[0] === reply &&
    new DataView(buffer.buffer).getUint16(6) === sequence
  );
}

function ttlIn({ level, ttl }: Family, { control }: RawMessage): number | null {
  const found = control.find((message) => message.level === level && message.type === ttl);
  const { data } = found ?? {};
  if (data === undefined || data.length < 4) return null;
  return new DataView(data.buffer, data.byteOffset).getInt32(0, true);
}
