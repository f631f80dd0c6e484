// NetStack: the network stack of one host. It owns the ports and the names of unix sockets, and delivers packets to
// sockets. Sockets know it; it knows IP sockets only by the two interfaces below.
//
// The kernel delivers a packet to an address of the host itself during the system call that sends it. Only the socket
// that the call holds receives its packets later, when the call ends (`hold`, `release`). Files whose last reference
// was in a message close then, too.

import { AF_INET6, type SocketAddress } from "../../sys/sockaddr.ts";
import type { Agenda } from "./agenda.ts";
import type { SimFile } from "./file.ts";
import { isMulticast, type Memberships } from "./multicast.ts";
import type { Datagram, Packet, PortUnreachable, Segment } from "./packet.ts";
import { UnixFiles, UnixNames } from "./unix-names.ts";

/** A bound socket, as the port table knows it. */
export interface Bound {
  readonly domain: number;
  readonly ip: string;
  readonly port: number;
  readonly isReusingAddress: boolean;
  readonly isReusingPort: boolean;
  readonly isListening: boolean;
  /** True for an IPv6 socket that does not speak IPv4. */
  readonly isIPv6Only: boolean;
}

export interface TcpEndpoint extends Bound {
  receive(packet: Packet, segment: Segment): void;
}

export interface UdpEndpoint extends Bound {
  /** The peer; null if the socket is not connected. */
  readonly peer: SocketAddress | null;
  /** Grows with each connect of a socket of the host: of equal sockets the latest one receives. */
  readonly rank: number;
  /** Returns true if the socket receives the multicasts of this packet. */
  allows(packet: Packet): boolean;
  receive(packet: Packet, datagram: Datagram): void;
  onUnreachable(): void;
}

/** Carries packets between hosts. */
export interface Wire {
  send(packet: Packet, from: NetStack): void;
}

export interface StackOptions {
  readonly agenda: Agenda;
  /** The addresses of the host, without loopback. */
  readonly addresses?: readonly string[];
  readonly wire?: Wire;
  /** The files of the host's unix sockets, which outlive the stack. Default: none yet. */
  readonly files?: UnixFiles;
  /** How many bytes a connection holds for sending, and for receiving. */
  readonly sendBufferBytes?: number;
  readonly receiveBufferBytes?: number;
  /** Returns how many of `bytes` a TCP segment carries, or a send accepts: from 1 to all. Default: all. */
  readonly split?: (kind: "segment" | "short write", bytes: number) => number;
}

/** The interfaces of a host: the second one only if it is on a network. */
export const LOOPBACK = { name: "lo", index: 1 } as const;
export const ETHERNET = { name: "eth0", index: 2 } as const;

const FIRST_EPHEMERAL = 32_768;
const LAST_EPHEMERAL = 60_999;

export const ANY_IPV4 = "0.0.0.0";
export const ANY_IPV6 = "::";
export const LOOPBACK_IPV4 = "127.0.0.1";
export const LOOPBACK_IPV6 = "::1";

export const isAny = (ip: string): boolean => ip === ANY_IPV4 || ip === ANY_IPV6;
export const isIPv6 = (ip: string): boolean => ip.includes(":");

/** IPv4 on an IPv6 socket: `::ffff:1.2.3.4`. */
const MAPPED = "::ffff:";
export const unmapped = (ip: string): string =>
  ip.startsWith(MAPPED) && ip.includes(".") ? ip.slice(MAPPED.length) : ip;
export const mappedFor = (domain: number, ip: string): string =>
  domain === AF_INET6 && !isIPv6(ip) ? MAPPED + ip : ip;

/** Returns true if two sockets with these addresses would receive the same packets. `::` includes IPv4. */
function overlaps(a: string, b: string): boolean {
  if (a === b || a === ANY_IPV6 || b === ANY_IPV6) return true;
  if (a === ANY_IPV4) return !isIPv6(b);
  return b === ANY_IPV4 && !isIPv6(a);
}

/** Returns true if `socket` may not be bound to the port of `other`, unless they share it. */
function collides(other: Bound, socket: Bound): boolean {
  // An IPv6 socket has an IPv4 address, too, which only the wildcard of IPv4 meets.
  if (socket.ip === ANY_IPV4 && isIPv6(other.ip)) return !other.isIPv6Only;
  const isSplit = (a: Bound, b: Bound): boolean => a.isIPv6Only && !isIPv6(b.ip);
  return overlaps(other.ip, socket.ip) && !isSplit(socket, other) && !isSplit(other, socket);
}

/** Returns true if a socket receives what is sent to `ip`. */
function receives(socket: Bound, ip: string): boolean {
  return overlaps(socket.ip, ip) && (!socket.isIPv6Only || isIPv6(ip));
}

type Ports<E extends Bound> = Map<number, E[]>;

export class NetStack {
  readonly agenda: Agenda;
  readonly addresses: readonly string[];
  readonly sendBufferBytes: number;
  readonly receiveBufferBytes: number;
  readonly split: (kind: "segment" | "short write", bytes: number) => number;
  readonly unix: UnixNames;
  /** The multicast groups of all sockets. */
  readonly memberships: Set<Memberships> = new Set();
  private readonly wire: Wire | null;
  private readonly tcpPorts: Ports<TcpEndpoint> = new Map();
  private readonly udpPorts: Ports<UdpEndpoint> = new Map();
  /** Connected TCP sockets by both addresses. */
  private readonly connections = new Map<string, TcpEndpoint>();
  private readonly loopback: Packet[] = [];
  private isDelivering = false;
  /** The socket that a system call holds, and the packets that wait for it. */
  private held: object | null = null;
  private readonly backlog: Packet[] = [];
  /** Files to close when the call ends. */
  private released: SimFile[] = [];
  private lastRank = 0;
  private lastEphemeral = FIRST_EPHEMERAL - 1;
  /** False once the host is down: nothing is sent or delivered. */
  private isUp = true;

  constructor(options: StackOptions) {
    this.agenda = options.agenda;
    this.addresses = options.addresses ?? [];
    this.wire = options.wire ?? null;
    this.unix = new UnixNames(options.files ?? new UnixFiles());
    this.split = options.split ?? ((_, bytes) => bytes);
    this.sendBufferBytes = options.sendBufferBytes ?? 262_144;
    this.receiveBufferBytes = options.receiveBufferBytes ?? 131_072;
  }

  /** The host loses power: its sockets are gone, and its peers receive nothing. */
  powerOff(): void {
    this.isUp = false;
    this.tcpPorts.clear();
    this.udpPorts.clear();
    this.connections.clear();
    this.loopback.length = this.backlog.length = this.released.length = 0;
    this.memberships.clear();
  }

  isLocal(ip: string): boolean {
    return ip.startsWith("127.") || ip === LOOPBACK_IPV6 || this.addresses.includes(ip);
  }

  /** The address from which the host reaches `ip`; null if it cannot. */
  sourceFor(ip: string): string | null {
    if (ip.startsWith("127.")) return LOOPBACK_IPV4;
    if (this.isLocal(ip)) return ip;
    if (this.wire === null) return null;
    return this.addresses.find((own) => isIPv6(own) === isIPv6(ip)) ?? null;
  }

  /** The interface that the routing table names for multicasts; 0 if there is none. */
  get multicastDevice(): number {
    return this.hasDevice(ETHERNET.index) ? ETHERNET.index : 0;
  }

  hasDevice(index: number): boolean {
    return index === LOOPBACK.index || (index === ETHERNET.index && this.wire !== null);
  }

  /** The index of a network interface; 0 if there is none of that name. */
  deviceNamed(name: string): number {
    const device = [LOOPBACK, ETHERNET].find((device) => device.name === name);
    return device !== undefined && this.hasDevice(device.index) ? device.index : 0;
  }

  /** Returns a rank above all earlier ones. */
  nextRank(): number {
    return ++this.lastRank;
  }

  /** Sends a multicast by its interface: to this host if it `loops`, and to the others if it `leaves`. */
  sendMulticast(packet: Packet, loops: boolean, leaves: boolean): void {
    if (packet.device === LOOPBACK.index || loops) this.loop(packet);
    if (packet.device !== LOOPBACK.index && leaves && this.isUp) this.wire?.send(packet, this);
  }

  /** Adds a socket to the table of its port. */
  bind(socket: TcpEndpoint | UdpEndpoint): void {
    const ports = this.portsOf(socket);
    const list = ports.get(socket.port);
    if (list === undefined) ports.set(socket.port, [socket]);
    else list.push(socket);
  }

  unbind(socket: TcpEndpoint | UdpEndpoint): void {
    const ports = this.portsOf(socket);
    const list = ports.get(socket.port);
    const index = list?.indexOf(socket) ?? -1;
    if (list === undefined || index < 0) return;
    list.splice(index, 1);
    if (list.length === 0) ports.delete(socket.port);
  }

  /** Returns true if `socket`, which is about to be bound or to listen, may not share its address. */
  isInUse(socket: TcpEndpoint | UdpEndpoint): boolean {
    const isTcp = !("peer" in socket);
    return (this.portsOf(socket).get(socket.port) ?? []).some((other) => {
      if (other === socket || !collides(other, socket)) return false;
      if (other.isReusingPort && socket.isReusingPort) return false;
      const bothReuse = other.isReusingAddress && socket.isReusingAddress;
      return !bothReuse || (isTcp && other.isListening);
    });
  }

  /** Returns a port that no socket of the kind uses; -1 if there is none. */
  freePort(kind: "tcp" | "udp"): number {
    const ports = kind === "tcp" ? this.tcpPorts : this.udpPorts;
    for (let tries = FIRST_EPHEMERAL; tries <= LAST_EPHEMERAL; tries++) {
      this.lastEphemeral++;
      if (this.lastEphemeral > LAST_EPHEMERAL) this.lastEphemeral = FIRST_EPHEMERAL;
      if (!ports.has(this.lastEphemeral)) return this.lastEphemeral;
    }
    return -1;
  }

  addConnection(key: string, socket: TcpEndpoint): void {
    this.connections.set(key, socket);
  }

  hasConnection(key: string): boolean {
    return this.connections.has(key);
  }

  removeConnection(key: string, socket: TcpEndpoint): void {
    if (this.connections.get(key) === socket) this.connections.delete(key);
  }

  /** Sends a packet: to this host at once, else over the wire. */
  send(packet: Packet): void {
    if (!this.isUp) return;
    if (!this.isLocal(packet.to)) {
      this.wire?.send(packet, this);
      return;
    }
    this.loop(packet);
  }

  private loop(packet: Packet): void {
    this.loopback.push(packet);
    if (this.isDelivering) return; // the loop below continues with it
    this.isDelivering = true;
    for (let index = 0; index < this.loopback.length; index++) this.receive(this.loopback[index]!);
    this.loopback.length = 0;
    this.isDelivering = false;
  }

  /** Receives a packet from the wire. */
  deliver(packet: Packet): void {
    if (this.isUp) this.receive(packet);
  }

  /** A system call on `socket` begins: packets for it wait until the call ends. */
  hold(socket: object): void {
    this.held = socket;
  }

  /** The system call ends. */
  release(): void {
    this.receiveBacklog();
    while (this.released.length > 0) {
      for (const file of this.released.splice(0)) {
        this.held = file;
        file.dropReference();
        this.receiveBacklog();
      }
    }
  }

  /** Ends references of messages. The kernel closes files after the call during which their last reference ended. */
  releaseLater(files: readonly SimFile[]): void {
    const last = files.filter((file) => !file.dropSharedReference());
    if (last.length > 0) this.released = [...last, ...this.released]; // task_work(): the latest batch first
  }

  private receiveBacklog(): void {
    this.held = null;
    for (let index = 0; index < this.backlog.length; index++) this.receive(this.backlog[index]!);
    this.backlog.length = 0;
  }

  private portsOf(socket: TcpEndpoint | UdpEndpoint): Ports<TcpEndpoint | UdpEndpoint> {
    const ports: unknown = "peer" in socket ? this.udpPorts : this.tcpPorts;
    return ports as Ports<TcpEndpoint | UdpEndpoint>;
  }

  private receive(packet: Packet): void {
    const { body } = packet;
    if (body.kind === "tcp") this.receiveTcp(packet, body);
    else if (body.kind === "udp") this.receiveUdp(packet, body);
    else this.receiveIcmp(packet, body);
  }

  private receiveTcp(packet: Packet, segment: Segment): void {
    const { from, fromPort, to, toPort } = packet;
    const connected = this.connections.get(connectionKey(to, toPort, from, fromPort));
    if (connected !== undefined) {
      if (connected === this.held) this.backlog.push(packet);
      else connected.receive(packet, segment);
      return;
    }
    const listeners = (this.tcpPorts.get(toPort) ?? []).filter(
      (socket) => socket.isListening && receives(socket, to),
    );
    const listener = mostSpecific(listeners, to, fromPort);
    if (listener !== null) listener.receive(packet, segment);
    else this.refuse(packet, segment);
  }

  /** Answers a segment that belongs to no connection with a reset. */
  refuse(packet: Packet, segment: Segment): void {
    if (segment.isReset) return;
    const { from, fromPort, to, toPort } = packet;
    const length = (segment.data?.length ?? 0) + Number(segment.isSyn) + Number(segment.isFin);
    const body: Segment = {
      kind: "tcp",
      seq: Math.max(segment.ack, 0),
      ack: segment.seq + length,
      isSyn: false,
      isFin: false,
      isReset: true,
      data: null,
      window: 0,
    };
    this.send({ from: to, fromPort: toPort, to: from, toPort: fromPort, body });
  }

  private receiveUdp(packet: Packet, datagram: Datagram): void {
    const { from, fromPort, to, toPort } = packet;
    const sockets = (this.udpPorts.get(toPort) ?? []).filter((socket) => {
      const { peer } = socket;
      return (
        receives(socket, to) &&
        (peer === null || (unmapped(peer.hostname) === from && peer.port === fromPort))
      );
    });
    if (isMulticast(to)) {
      this.receiveMulticast(packet, datagram, sockets);
      return;
    }
    const connected = byRank(sockets.filter(({ peer }) => peer !== null));
    const socket = mostSpecific(connected.length > 0 ? connected : sockets, to, fromPort);
    if (socket !== null) socket.receive(packet, datagram);
    else
      this.send({ from: to, fromPort: toPort, to: from, toPort: fromPort, body: { kind: "icmp" } });
  }

  /** Passes a multicast to each socket that receives it. */
  private receiveMulticast(packet: Packet, datagram: Datagram, sockets: UdpEndpoint[]): void {
    const { from, to, device = 0 } = packet;
    if (![...this.memberships].some((groups) => groups.allows(to, device, from))) return;
    // The kernel goes from the latest socket to the oldest, but the first one that it finds gets its copy last.
    const [first, ...others] = sockets.filter((socket) => socket.allows(packet)).reverse();
    for (const socket of others) socket.receive(packet, datagram);
    first?.receive(packet, datagram);
  }

  private receiveIcmp(packet: Packet, _body: PortUnreachable): void {
    const senders = (this.udpPorts.get(packet.toPort) ?? []).filter((socket) => {
      const { peer } = socket;
      if (peer === null || peer.port !== packet.fromPort) return false;
      return unmapped(peer.hostname) === packet.from && receives(socket, packet.to);
    });
    mostSpecific(byRank(senders), packet.to, packet.fromPort)?.onUnreachable();
  }
}

/** The key of a connection, as the host of the first address knows it. */
export function connectionKey(
  ip: string,
  port: number,
  remoteIp: string,
  remotePort: number,
): string {
  return `${ip} ${port} ${remoteIp} ${remotePort}`;
}

function byRank(sockets: UdpEndpoint[]): UdpEndpoint[] {
  return sockets.length <= 1 ? sockets : sockets.sort((a, b) => a.rank - b.rank);
}

/** Prefers a socket that is bound to the address itself; among equal ones by the sender's port if they share it. */
function mostSpecific<E extends Bound>(
  sockets: readonly E[],
  ip: string,
  fromPort: number,
): E | null {
  if (sockets.length <= 1) return sockets[0] ?? null;
  const score = (socket: E): number => (socket.ip === ip ? 2 : socket.ip === ANY_IPV6 ? 0 : 1);
  const best = Math.max(...sockets.map(score));
  const equal = sockets.filter((socket) => score(socket) === best);
  const isShared = equal.every((socket) => socket.isReusingPort);
  return (isShared ? equal[fromPort % equal.length] : equal.at(-1)) ?? null;
}
