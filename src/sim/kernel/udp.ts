// UdpSocket of the simulated kernel. See udp(7).
//
// Facts about Linux, and what they mean for this code:
// - Only a connected socket learns that its peer's port is closed: the next call fails with ECONNREFUSED, once.
// - A datagram that finds the receive queue full is lost, and neither side learns of it.
// - Each datagram that has left the socket wakes those that wait for writability.

import { EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLPRI, EPOLLRDHUP } from "../../sys/epoll.ts";
import {
  EADDRINUSE,
  EAGAIN,
  ECONNREFUSED,
  EINVAL,
  ENETUNREACH,
  ENOPROTOOPT,
  ENOTCONN,
  EPIPE,
} from "../../sys/errno.ts";
import type { SocketAddress } from "../../sys/sockaddr.ts";
import { IPPROTO_IP, MSG_TRUNC, SHUT_RDWR, SO_BROADCAST, SOL_SOCKET } from "../../sys/socket.ts";
import { EACCES, EDESTADDRREQ, EMSGSIZE } from "./errno.ts";
import { ANY } from "./file.ts";
import type { Datagram, Packet } from "./packet.ts";
import { SHUT_BOTH, SHUT_RECEIVE, SHUT_SEND, SimSocket } from "./sim-socket.ts";
import {
  isAny,
  isIPv6,
  LOOPBACK_IPV4,
  LOOPBACK_IPV6,
  mappedFor,
  type UdpEndpoint,
  unmapped,
} from "./stack.ts";

const MAX_DATAGRAM = 65_507;
/** The receive queue in bytes (net.core.rmem_default), and what the kernel adds for each datagram. */
const QUEUE_BYTES = 212_992;
const OVERHEAD_BYTES = 768;
const isBroadcast = (ip: string): boolean => ip === "255.255.255.255" || ip === "127.255.255.255";

interface Received {
  readonly data: Uint8Array;
  readonly from: SocketAddress;
}

export class SimUdpSocket extends SimSocket implements UdpEndpoint {
  peer: SocketAddress | null = null;
  private readonly queue: Received[] = [];
  private queuedBytes = 0;

  get isListening(): boolean {
    return false;
  }

  get peerName(): SocketAddress | null {
    return this.peer;
  }

  override bind(address: SocketAddress, family: number): number {
    const wrong = this.checkBind(address, family);
    return wrong === 0 ? this.bindTo(unmapped(address.hostname), address.port) : wrong;
  }

  private bindTo(ip: string, port: number): number {
    const previous = { ip: this.ip, port: this.port };
    this.ip = ip;
    this.port = port === 0 ? this.stack.freePort("udp") : port;
    if (this.port < 0 || this.stack.isInUse(this)) {
      this.ip = previous.ip;
      this.port = previous.port;
      return -EADDRINUSE;
    }
    this.isBound = true;
    this.stack.bind(this);
    return 0;
  }

  override connect(address: SocketAddress, family: number): number {
    const wrong = this.checkFamily(family);
    if (wrong !== 0) return wrong;
    let ip = unmapped(address.hostname);
    if (isAny(ip)) ip = isIPv6(ip) ? LOOPBACK_IPV6 : LOOPBACK_IPV4;
    const source = this.stack.sourceFor(ip);
    if (source === null) return -ENETUNREACH;
    if (isBroadcast(ip) && this.option(SOL_SOCKET, SO_BROADCAST) === 0) return -EACCES;
    if (!this.isBound) {
      const bound = this.bindTo(this.ip, 0);
      if (bound < 0) return bound;
    }
    if (isAny(this.ip)) this.ip = source;
    this.peer = { hostname: mappedFor(this.domain, ip), port: address.port };
    return 0;
  }

  override recv(buffer: Uint8Array, flags: number): number {
    return this.recvFrom(buffer, flags, () => {});
  }

  /** Receives one datagram and passes its sender to `onFrom`. */
  recvFrom(buffer: Uint8Array, flags: number, onFrom: (from: SocketAddress) => void): number {
    if (this.error !== 0) return this.takeError();
    const received = this.queue.shift();
    if (received === undefined) return -EAGAIN;
    const { data, from } = received;
    this.queuedBytes -= data.length + OVERHEAD_BYTES;
    const length = Math.min(data.length, buffer.length);
    buffer.set(data.subarray(0, length));
    onFrom(from);
    return (flags & MSG_TRUNC) !== 0 ? data.length : length;
  }

  override send(data: Uint8Array): number {
    if (!this.bindForSend()) return -EAGAIN;
    if (data.length > MAX_DATAGRAM) return -EMSGSIZE;
    return this.peer === null ? -EDESTADDRREQ : this.transmit(data, this.peer);
  }

  sendTo(data: Uint8Array, to: SocketAddress, family: number): number {
    if (!this.bindForSend()) return -EAGAIN;
    if (data.length > MAX_DATAGRAM) return -EMSGSIZE;
    const wrong = this.checkFamily(family);
    if (wrong !== 0) return wrong;
    return to.port === 0 ? -EINVAL : this.transmit(data, to);
  }

  /** Binds an unbound socket, before anything else about a send is checked. */
  private bindForSend(): boolean {
    return this.isBound || this.bindTo(this.ip, 0) === 0;
  }

  private transmit(data: Uint8Array, to: SocketAddress): number {
    let ip = unmapped(to.hostname);
    if (isAny(ip)) ip = isIPv6(ip) ? LOOPBACK_IPV6 : LOOPBACK_IPV4;
    if (isBroadcast(ip) && this.option(SOL_SOCKET, SO_BROADCAST) === 0) return -EACCES;
    const source = isAny(this.ip) ? this.stack.sourceFor(ip) : this.ip;
    if (source === null) return -ENETUNREACH;
    if (this.error !== 0) return this.takeError();
    if ((this.shutdownBits & SHUT_SEND) !== 0) return -EPIPE;
    const body: Datagram = { kind: "udp", data: data.slice() };
    this.wake(EPOLLOUT);
    this.stack.send({ from: source, fromPort: this.port, to: ip, toPort: to.port, body });
    return data.length;
  }

  override shutdown(how: number): number {
    if (how < 0 || how > SHUT_RDWR) return -EINVAL;
    this.shutdownBits |= how + 1;
    this.wake(ANY);
    return this.peer === null ? -ENOTCONN : 0;
  }

  override close(): void {
    if (this.isBound) this.stack.unbind(this);
    this.isBound = false;
    this.queue.length = 0;
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
    if (this.queuedBytes > QUEUE_BYTES) return;
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

  protected override defaultOption(level: number): number {
    return level === SOL_SOCKET || level === IPPROTO_IP ? 0 : -ENOPROTOOPT;
  }
}
