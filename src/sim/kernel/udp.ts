// UdpSocket of the simulated kernel. See udp(7).
//
// Facts about Linux, and what they mean for this code:
// - Only a connected socket learns that its peer's port is closed: the next call fails with ECONNREFUSED, once.
// - A datagram that finds the receive queue full is lost, and neither side learns of it.
// - Each datagram that has left the socket wakes those that wait for writability.

import { EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLPRI, EPOLLRDHUP } from "../../sys/epoll.ts";
import {
  EACCES,
  EADDRINUSE,
  EAFNOSUPPORT,
  EAGAIN,
  ECONNREFUSED,
  EINVAL,
  ENETUNREACH,
  ENOTCONN,
  EPIPE,
} from "../../sys/errno.ts";
import { AF_INET, AF_INET6, type SockaddrBuffer, type SocketAddress } from "../../sys/sockaddr.ts";
import {
  IPPROTO_IP,
  IPPROTO_UDP,
  MSG_PEEK,
  MSG_TRUNC,
  SO_BROADCAST,
  SOCK_DGRAM,
  SOL_SOCKET,
} from "../../sys/socket.ts";
import { EADDRNOTAVAIL, EDESTADDRREQ, EMSGSIZE, ENODEV } from "./errno.ts";
import { ANY } from "./file.ts";
import { InetSocket } from "./inet-socket.ts";
import { isBroadcast, isMulticast, Memberships } from "./multicast.ts";
import type { Datagram, Packet } from "./packet.ts";
import {
  BUFFER_BYTES,
  IP_MULTICAST_ALL,
  IP_MULTICAST_LOOP,
  IP_MULTICAST_TTL,
  SHUT_BOTH,
  SHUT_RECEIVE,
  SHUT_SEND,
} from "./sim-socket.ts";
import {
  ANY_IPV4,
  ETHERNET,
  isAny,
  isIPv6,
  LOOPBACK,
  LOOPBACK_IPV4,
  mappedFor,
  type NetStack,
  type UdpEndpoint,
  unmapped,
} from "./stack.ts";

export const IP_MULTICAST_IF = 32;
export const MCAST_JOIN_GROUP = 42;
const MCAST_LEAVE_GROUP = 45;
const MCAST_JOIN_SOURCE_GROUP = 46;
export const MCAST_LEAVE_SOURCE_GROUP = 47;

/** The longest datagrams: 65,535 bytes without the headers of UDP and IPv4, or without that of UDP. */
const MAX_IPV4_DATAGRAM = 65_507;
const MAX_IPV6_DATAGRAM = 65_527;
/** What the kernel adds for each datagram in a receive queue. */
const OVERHEAD_BYTES = 768;

interface Received {
  readonly data: Uint8Array;
  readonly from: SocketAddress;
}

export class SimUdpSocket extends InetSocket implements UdpEndpoint {
  override readonly protocol: number = IPPROTO_UDP;
  peer: SocketAddress | null = null;
  rank = 0;
  private readonly queue: Received[] = [];
  private queuedBytes = 0;
  private readonly groups = new Memberships();
  /** Of a socket that is bound to a group: what its first connect has chosen to send from. */
  private connectedIp = ANY_IPV4;
  /** IP_MULTICAST_IF. */
  private multicastDevice = 0;

  constructor(stack: NetStack, domain: number) {
    super(stack, domain, SOCK_DGRAM);
  }

  get isListening(): boolean {
    return false;
  }

  get peerName(): SocketAddress | null {
    return this.peer;
  }

  protected override bindTo(ip: string, port: number): number {
    const previousPort = this.port;
    this.ip = ip;
    this.port = port === 0 ? this.stack.freePort("udp") : port;
    if (this.port < 0 || this.stack.isInUse(this)) {
      this.ip = this.wildcard; // also after an earlier connection
      this.port = previousPort;
      return -EADDRINUSE;
    }
    this.isBound = true;
    this.stack.bind(this);
    return 0;
  }

  protected override connectTo(address: SocketAddress, family: number): number {
    if (!this.bindToSend()) return -EAGAIN;
    const wrong = this.checkPeerFamily(family);
    if (wrong !== 0) return wrong === -ENETUNREACH ? -EAFNOSUPPORT : wrong;
    const ip = this.destination(address.hostname);
    const source = this.sourceFor(ip);
    if (typeof source === "number") return source;
    if (isBroadcast(ip) && this.option(SOL_SOCKET, SO_BROADCAST) === 0) return -EACCES;
    if (isAny(this.ip)) this.ip = source;
    if (isAny(this.connectedIp)) this.connectedIp = source;
    if (this.peer === null) this.rank = this.stack.nextRank();
    this.peer = { hostname: mappedFor(this.domain, ip), port: address.port };
    return 0;
  }

  override receiveFrom(buffer: Uint8Array, flags: number, from: SockaddrBuffer | null): number {
    if (this.error !== 0) return this.takeError();
    const received = this.queue[0];
    if (received === undefined) return -EAGAIN;
    const { data } = received;
    const length = Math.min(data.length, buffer.length);
    buffer.set(data.subarray(0, length));
    from?.reset().encode(received.from);
    if ((flags & MSG_PEEK) === 0) {
      this.queue.shift();
      this.queuedBytes -= data.length + OVERHEAD_BYTES;
    }
    return (flags & MSG_TRUNC) !== 0 ? data.length : length;
  }

  override sendTo(data: Uint8Array, to: SockaddrBuffer | null): number {
    if (!this.bindToSend()) return -EAGAIN;
    if (to === null) return this.peer === null ? -EDESTADDRREQ : this.transmit(data, this.peer);
    const wrong = this.checkPeerFamily(to.family);
    if (wrong !== 0) return wrong;
    const address = to.decode();
    if (this.isIPv6Only && !isIPv6(unmapped(address.hostname))) return -ENETUNREACH;
    return address.port === 0 ? -EINVAL : this.transmit(data, address);
  }

  /** Binds an unbound socket, before anything else about a send or a connect is checked. */
  private bindToSend(): boolean {
    return this.isBound || this.bindTo(this.ip, 0) === 0;
  }

  /** Checks the family of a destination: unlike TCP, an IPv6 socket also accepts IPv4 addresses. */
  private checkPeerFamily(family: number): number {
    if (this.domain !== AF_INET6 || family !== AF_INET) return this.checkFamily(family);
    return this.isIPv6Only ? -ENETUNREACH : 0;
  }

  /** A group is only an address to receive at. */
  protected override get sourceIp(): string {
    return isMulticast(this.ip) ? this.connectedIp : this.ip;
  }

  protected override sourceFor(ip: string): string | number {
    if (!isMulticast(ip)) return super.sourceFor(ip);
    const { sourceIp } = this;
    const device = this.deviceFor(sourceIp);
    if (device === 0) return -ENETUNREACH;
    if (!isAny(sourceIp) && !isIPv6(sourceIp)) return sourceIp;
    // Also by loopback, whose own addresses are not for others.
    return this.stack.addresses.find((own) => !isIPv6(own)) ?? LOOPBACK_IPV4;
  }

  /** Returns the interface by which a multicast leaves: the chosen one, that of the source, or the default. */
  private deviceFor(source: string): number {
    if (this.multicastDevice !== 0) return this.multicastDevice;
    if (source.startsWith("127.")) return LOOPBACK.index;
    return this.stack.addresses.includes(source) ? ETHERNET.index : this.stack.multicastDevice;
  }

  /** Joins or leaves a group, or a source of it. Device 0 is the default. Returns 0 or the negative errno. */
  changeGroup(option: number, device: number, group: string, source: string): number {
    const { groups, stack } = this;
    const index = device === 0 ? stack.multicastDevice : device;
    if (option === MCAST_LEAVE_GROUP && index !== 0) return groups.leave(group, index);
    if (!isMulticast(group)) return -EINVAL;
    if (!stack.hasDevice(index)) return -ENODEV;
    stack.memberships.add(groups);
    if (option === MCAST_JOIN_GROUP) return groups.join(group, index);
    if (option === MCAST_JOIN_SOURCE_GROUP) return groups.joinSource(group, index, source);
    return groups.leaveSource(group, index, source);
  }

  /** Chooses the interface of multicasts; 0 is the default. Returns 0 or the negative errno. */
  setMulticastDevice(device: number): number {
    if (device !== 0 && !this.stack.hasDevice(device)) return -EADDRNOTAVAIL;
    this.multicastDevice = device;
    return 0;
  }

  allows({ from, to, device = 0 }: Packet): boolean {
    return this.groups.allows(to, device, from) ?? this.option(IPPROTO_IP, IP_MULTICAST_ALL) !== 0;
  }

  private transmit(data: Uint8Array, to: SocketAddress): number {
    const ip = this.destination(to.hostname);
    if (isBroadcast(ip) && this.option(SOL_SOCKET, SO_BROADCAST) === 0) return -EACCES;
    const source = this.sourceFor(ip);
    if (typeof source === "number") return source;
    if (data.length > (isIPv6(ip) ? MAX_IPV6_DATAGRAM : MAX_IPV4_DATAGRAM)) return -EMSGSIZE;
    if (this.error !== 0) return this.takeError();
    if ((this.shutdownBits & SHUT_SEND) !== 0) return -EPIPE;
    const body: Datagram = { kind: "udp", data: new Uint8Array(data) };
    this.wake(EPOLLOUT);
    const packet = { from: source, fromPort: this.port, to: ip, toPort: to.port, body };
    if (!isMulticast(ip)) this.stack.send(packet);
    else {
      const loops = this.option(IPPROTO_IP, IP_MULTICAST_LOOP) !== 0;
      const leaves = this.option(IPPROTO_IP, IP_MULTICAST_TTL) !== 0;
      this.stack.sendMulticast({ ...packet, device: this.deviceFor(source) }, loops, leaves);
    }
    return data.length;
  }

  override shutdown(how: number): number {
    const bits = this.shutdownBitsOf(how);
    if (bits < 0) return bits;
    this.shutdownBits |= bits;
    this.wake(ANY);
    return this.peer === null ? -ENOTCONN : 0;
  }

  override close(): void {
    if (this.isBound) this.stack.unbind(this);
    this.isBound = false;
    this.queue.length = 0;
    this.groups.leaveAll();
    this.stack.memberships.delete(this.groups);
  }

  override poll(): number {
    const { shutdownBits } = this;
    let events = EPOLLOUT;
    if (this.queue.length > 0) events |= EPOLLIN;
    if ((shutdownBits & SHUT_RECEIVE) !== 0) events |= EPOLLIN | EPOLLRDHUP;
    if (shutdownBits === SHUT_BOTH) events |= EPOLLHUP;
    if (this.error !== 0) events |= EPOLLERR;
    return events;
  }

  receive({ from, fromPort }: Packet, { data }: Datagram): void {
    if (this.queuedBytes > BUFFER_BYTES) return;
    this.queuedBytes += data.length + OVERHEAD_BYTES;
    this.queue.push({
      data,
      from: { hostname: mappedFor(this.domain, from), port: fromPort },
    });
    this.wake(EPOLLIN | EPOLLPRI);
  }

  onUnreachable(): void {
    this.error = ECONNREFUSED;
    this.wake(EPOLLERR);
  }

  override setsockopt(level: number, option: number, value: number): number {
    const isTtl = level === IPPROTO_IP && option === IP_MULTICAST_TTL;
    if (isTtl && (value < -1 || value > 255)) return -EINVAL;
    const isAll = level === IPPROTO_IP && option === IP_MULTICAST_ALL;
    if (isAll && value !== 0 && value !== 1) return -EINVAL;
    const isLoop = level === IPPROTO_IP && option === IP_MULTICAST_LOOP;
    if (isLoop) return super.setsockopt(level, option, Number(value !== 0));
    return super.setsockopt(level, option, isTtl && value === -1 ? 1 : value);
  }

  protected override defaultOption(level: number, option: number): number {
    const isAll = level === IPPROTO_IP && option === IP_MULTICAST_ALL;
    return isAll ? Number(this.domain === AF_INET) : super.defaultOption(level, option);
  }
}
