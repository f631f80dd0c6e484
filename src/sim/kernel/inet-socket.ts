// InetSocket: what TCP and UDP sockets share: IP addresses, and the bind.
//
// Facts about Linux, and what they mean for this code:
// - An IPv6 socket also speaks IPv4, with mapped addresses (::ffff:1.2.3.4). The kernel keeps IPv4 addresses in both forms;
//   this code keeps them as IPv4, and shows them mapped.
// - An IPv6 socket that is bound to an address other than :: and a mapped one speaks IPv6 only.
// - An IPv6 socket that is bound to a mapped address cannot reach IPv6 addresses: EAFNOSUPPORT.

import { EAFNOSUPPORT, EINVAL, ENETUNREACH, ENOPROTOOPT, ENOTCONN } from "../../sys/errno.ts";
import { AF_INET, AF_INET6, type SockaddrBuffer, type SocketAddress } from "../../sys/sockaddr.ts";
import {
  IPPROTO_IP,
  IPPROTO_IPV6,
  SO_REUSEADDR,
  SO_REUSEPORT,
  SOL_SOCKET,
} from "../../sys/socket.ts";
import { EADDRNOTAVAIL } from "./errno.ts";
import { isMulticast } from "./multicast.ts";
import { SimSocket } from "./sim-socket.ts";
import {
  ANY_IPV4,
  ANY_IPV6,
  type Bound,
  isAny,
  isIPv6,
  LOOPBACK_IPV4,
  LOOPBACK_IPV6,
  mappedFor,
  type NetStack,
  unmapped,
} from "./stack.ts";

const IPV6_V6ONLY = 26;

export abstract class InetSocket extends SimSocket implements Bound {
  /** The local address; the wildcard while unbound. */
  ip: string;
  /** 0 before the socket is first bound. Stays when the kernel releases the port. */
  port = 0;
  isBound: boolean = false;
  isIPv6Only: boolean = false;
  protected isAddressChosenByUser: boolean = false;
  protected isPortChosenByUser = false;

  constructor(stack: NetStack, domain: number, type: number) {
    super(stack, domain, type);
    this.ip = this.wildcard;
  }

  protected get wildcard(): string {
    return this.domain === AF_INET ? ANY_IPV4 : ANY_IPV6;
  }

  get isReusingAddress(): boolean {
    return this.option(SOL_SOCKET, SO_REUSEADDR) !== 0;
  }

  get isReusingPort(): boolean {
    return this.option(SOL_SOCKET, SO_REUSEPORT) !== 0;
  }

  protected override checkLevel(level: number): number {
    const isIPv6 = level === IPPROTO_IPV6 && this.domain === AF_INET6;
    return isIPv6 || level === SOL_SOCKET || level === IPPROTO_IP ? 0 : -ENOPROTOOPT;
  }

  /** The address of the connected peer; null if there is none. */
  abstract get peerName(): SocketAddress | null;
  protected abstract bindTo(ip: string, port: number): number;
  protected abstract connectTo(address: SocketAddress, family: number): number;

  override getsockopt(level: number, option: number): number {
    const isOwn = level === IPPROTO_IPV6 && option === IPV6_V6ONLY && this.domain === AF_INET6;
    return isOwn ? Number(this.isIPv6Only) : super.getsockopt(level, option);
  }

  override setsockopt(level: number, option: number, value: number): number {
    if (level === IPPROTO_IPV6 && option === IPV6_V6ONLY && this.domain === AF_INET6) {
      if (this.isBound) return -EINVAL;
      this.isIPv6Only = value !== 0;
      return 0;
    }
    const isFlag = level === SOL_SOCKET && (option === SO_REUSEADDR || option === SO_REUSEPORT);
    return super.setsockopt(level, option, isFlag ? Number(value !== 0) : value);
  }

  override bind(address: SockaddrBuffer): number {
    const { hostname, port } = address.decode();
    const wrong = this.checkBind(hostname, address.family);
    if (wrong !== 0) return wrong;
    const ip = unmapped(hostname);
    const bound = this.bindTo(ip, port);
    if (bound === 0 && isIPv6(ip) && !isAny(ip)) this.isIPv6Only = true;
    return bound;
  }

  override connect(address: SockaddrBuffer): number {
    return this.connectTo(address.decode(), address.family);
  }

  override writeName(address: SockaddrBuffer): void {
    const hostname = isAny(this.ip) ? this.ip : mappedFor(this.domain, this.ip);
    address.reset().encode({ hostname, port: this.port });
  }

  override writePeerName(address: SockaddrBuffer): number {
    const { peerName } = this;
    if (peerName === null) return -ENOTCONN;
    address.reset().encode(peerName);
    return 0;
  }

  /** Returns the IP address that `hostname` stands for as a destination: a wildcard is the host itself. */
  protected destination(hostname: string): string {
    const ip = unmapped(hostname);
    if (!isAny(ip)) return ip;
    const isMapped = !isAny(this.ip) && !isIPv6(this.ip);
    return isIPv6(ip) && !isMapped ? LOOPBACK_IPV6 : LOOPBACK_IPV4;
  }

  /** The address that the socket sends from; the wildcard while it has none. */
  protected get sourceIp(): string {
    return this.ip;
  }

  /** Returns the address from which this socket reaches `ip`, or the negative errno. */
  protected sourceFor(ip: string): string | number {
    const needsIPv6 = isIPv6(ip);
    if (!needsIPv6 && this.isIPv6Only) return -ENETUNREACH;
    const { sourceIp } = this;
    if (!isAny(sourceIp)) {
      if (isIPv6(sourceIp) === needsIPv6) return sourceIp;
      if (needsIPv6) return -EAFNOSUPPORT;
    }
    return this.stack.sourceFor(ip) ?? -ENETUNREACH;
  }

  /** Checks the family of an address that the user passes. Returns 0 or the negative errno. */
  protected checkFamily(family: number): number {
    if (family === this.domain) return 0;
    return this.domain === AF_INET6 ? -EINVAL : -EAFNOSUPPORT;
  }

  /** Checks an address to bind to. Returns 0 or the negative errno. */
  private checkBind(hostname: string, family: number): number {
    const wrong = this.checkFamily(family);
    if (wrong !== 0) return wrong;
    if (this.isIPv6Only && !isIPv6(unmapped(hostname))) return -EINVAL;
    const ip = unmapped(hostname);
    if (!(isAny(ip) || isMulticast(ip) || this.stack.isLocal(ip))) return -EADDRNOTAVAIL;
    return this.isBound ? -EINVAL : 0;
  }
}
