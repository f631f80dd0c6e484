// Datagrams together with their packet info: the address that a datagram was sent to and its network interface; and the
// address and the interface to send from. See IP_PKTINFO in ip(7), IPV6_PKTINFO in ipv6(7), RFC 3542. And many datagrams as
// one message: UDP_SEGMENT, UDP_GRO in udp(7).

import { invalidType, outOfRange } from "../base/check.ts";
import { describe } from "../base/describe.ts";
import type { Context } from "../core/context.ts";
import type { Again, Poll } from "../core/poll.ts";
import { Operation } from "../io/operation.ts";
import { READ, type Source, WRITE } from "../io/source.ts";
import { SysError } from "../sys/errno.ts";
import type { ControlMessage } from "../sys/message.ts";
import {
  type AddressLike,
  familyOf,
  parseAddress,
  SockaddrBuffer,
  type SocketAddress,
} from "../sys/sockaddr.ts";
import {
  checkBuffer,
  IP_PKTINFO,
  IPPROTO_IP,
  IPPROTO_IPV6,
  IPV6_PKTINFO,
  MSG_TRUNC,
  SOL_UDP,
  UDP_GRO,
} from "../sys/socket.ts";
import type { Sys } from "../sys/sys.ts";
import type { Inbox } from "./inbox.ts";
import {
  checkSendable,
  interfaceIndex,
  localAddressOf,
  resolveScope,
  sharedMessage,
} from "./socket.ts";

/**
 * Where to send a datagram, and where from. null means the default, like undefined: so a reply may pass on what a received
 * message says.
 */
export interface SendMessageOptions {
  /** Where to send it: an address without a name. Default: the connected peer. */
  readonly address?: AddressLike | undefined;
  /**
   * The IP address to send from: a literal of the socket's family, and one of this machine's. Default: the one that the
   * socket is bound to, or else the routing table names.
   */
  readonly source?: string | null | undefined;
  /** The network interface to send by: its name, such as `"eth0"`, or its index. Default: the one that the routing table names. */
  readonly interface?: string | number | null | undefined;
  /**
   * Splits the data into datagrams of this many bytes; the last one may be shorter. An integer from 1 to 65535. Each datagram
   * must fit into a packet of the network. The data is at most 65507 bytes and 64 datagrams (128 in newer kernels). Needs
   * Linux 4.18. Default: one datagram. See UDP_SEGMENT in udp(7).
   */
  readonly segmentBytes?: number | null | undefined;
}

/** A received datagram, with what is known of its way. The data itself is in the caller's buffer. */
export interface UdpMessage {
  /** The number of bytes of the buffer that the datagram fills. */
  readonly bytes: number;
  /** True if the datagram was longer than the buffer. The rest is lost. */
  readonly isTruncated: boolean;
  /** The sender's address. */
  readonly address: SocketAddress;
  /** The IP address that the datagram was sent to: of this machine, of a multicast group, or of a broadcast. null: unknown. */
  readonly destination: string | null;
  /** The index of the network interface that the datagram arrived by. null: unknown. */
  readonly interfaceIndex: number | null;
  /** If the kernel has merged several datagrams (`options.gro`): the bytes of each; the last may be shorter. null: it is one. */
  readonly segmentBytes: number | null;
}

/** What a control message says about a datagram. */
type PacketInfo = Pick<UdpMessage, "destination" | "interfaceIndex" | "segmentBytes">;

const NO_INFO: PacketInfo = { destination: null, interfaceIndex: null, segmentBytes: null };
const UDP_SEGMENT = 103;
/** struct in_pktinfo: interface, source, destination. struct in6_pktinfo: address, interface. */
const INFO_BYTES = 12;
const INFO6_BYTES = 20;

/** Converts IP addresses. One per thread is enough: each use fills it. */
let scratch: SockaddrBuffer | null = null;

/** Returns the IP address in `bytes`, which are 4 or 16. `scope` is the interface of a link-local one. */
function ipOf(bytes: Uint8Array, scope: number | null): string {
  scratch ??= new SockaddrBuffer();
  if (bytes.length === 4) {
    scratch.encode({ hostname: "0.0.0.0", port: 0 }).bytes.set(bytes, 4);
  } else {
    const isLinkLocal = bytes[0] === 0xfe && (bytes[1]! & 0xc0) === 0x80;
    const hostname = isLinkLocal && scope !== null ? `::%${scope}` : "::";
    scratch.encode({ hostname, port: 0 }).bytes.set(bytes, 8);
  }
  return scratch.decode().hostname;
}

/** Returns what a control message says about a datagram: nothing, if it is of another kind or cut. */
function packetInfoIn({ level, type, data }: ControlMessage): Partial<PacketInfo> {
  const view = new DataView(data.buffer, data.byteOffset, data.length);
  if (level === SOL_UDP && type === UDP_GRO && data.length >= 4) {
    return { segmentBytes: view.getInt32(0, true) };
  }
  const isV4 = level === IPPROTO_IP && type === IP_PKTINFO && data.length >= INFO_BYTES;
  const isV6 = level === IPPROTO_IPV6 && type === IPV6_PKTINFO && data.length >= INFO6_BYTES;
  if (!isV4 && !isV6) return {};
  // 0 if the datagram arrived before the option was set.
  const index = view.getUint32(isV4 ? 0 : 16, true) || null;
  const ip = isV4 ? data.subarray(8, 12) : data.subarray(0, 16);
  return { destination: ipOf(ip, index), interfaceIndex: index };
}

/** Returns the address that leaves the choice to the kernel, of the family that `peer` has on the wire. */
function anyLike(family: 4 | 6, peer: SocketAddress): string {
  if (family === 4) return "0.0.0.0";
  scratch ??= new SockaddrBuffer();
  const { hostname } = scratch.encode(peer).decode(); // a user may write `::FFFF:7f00:1`
  const isV4 = /^(::ffff:)?[\d.]+$/.test(hostname);
  return isV4 ? "::ffff:0.0.0.0" : "::";
}

/** Returns the control message that splits the data; none by default. Throws RangeError. */
function segmentsOf({ segmentBytes }: SendMessageOptions): ControlMessage[] {
  if (segmentBytes === undefined || segmentBytes === null) return [];
  if (!Number.isInteger(segmentBytes) || segmentBytes < 1 || segmentBytes > 65_535) {
    throw outOfRange(
      `sendMessage: segmentBytes must be an integer from 1 to 65535; got ${describe(segmentBytes)}`,
    );
  }
  const data = new Uint8Array(new Uint16Array([segmentBytes]).buffer);
  return [{ level: SOL_UDP, type: UDP_SEGMENT, data }];
}

/** Returns the control message for where to send from; none by default. Throws SysError, TypeError and RangeError. */
function packetInfoOf(
  socket: Source,
  family: 4 | 6,
  to: SocketAddress | null,
  options: SendMessageOptions,
): ControlMessage[] {
  const { sys } = socket;
  const { source } = options;
  const index = checkInterface(sys, options.interface);
  if (source === undefined || source === null) {
    if (index === 0) return [];
  } else if (typeof source !== "string" || familyOf(source) !== family) {
    throw invalidType(
      `sendMessage: source must be an IPv${family} literal, as the socket's address is; got ${describe(source)}`,
    );
  }
  scratch ??= new SockaddrBuffer();
  // The local address of a connected socket is like its peer's.
  const hostname = source ?? anyLike(family, to ?? localAddressOf(socket));
  const { bytes } = scratch.encode(resolveScope(sys, { hostname, port: 0 }));
  const data = new Uint8Array(family === 4 ? INFO_BYTES : INFO6_BYTES);
  const view = new DataView(data.buffer);
  if (family === 4) {
    view.setUint32(0, index, true);
    data.set(bytes.subarray(4, 8), 4);
    return [{ level: IPPROTO_IP, type: IP_PKTINFO, data }];
  }
  data.set(bytes.subarray(8, 24));
  if (index === 0)
    data.set(bytes.subarray(24, 28), 16); // its scope
  else view.setUint32(16, index, true);
  return [{ level: IPPROTO_IPV6, type: IPV6_PKTINFO, data }];
}

/** Returns the index of an interface; 0 for none. Throws SysError, TypeError and RangeError. */
function checkInterface(sys: Sys, device: unknown): number {
  if (device === undefined || device === null) return 0;
  if (typeof device !== "number") return interfaceIndex(sys, device, "sendMessage");
  if (Number.isInteger(device) && device > 0 && device <= 0x7fffffff) return device;
  throw outOfRange(`sendMessage: interface must be a positive integer; got ${describe(device)}`);
}

/** Sends one datagram with control messages. */
export class SendUdpMessage extends Operation<number> {
  /** null: send to the connected peer. */
  private readonly to: SocketAddress | null;
  private readonly controls: readonly ControlMessage[];

  /** `family` is that of the socket. Throws SysError, TypeError and RangeError. */
  constructor(source: Source, family: 4 | 6, data: Uint8Array, options: SendMessageOptions) {
    super(source);
    const { address } = options;
    this.to =
      address === undefined ? null : resolveScope(source.sys, parseAddress(address, family));
    this.controls = [...packetInfoOf(source, family, this.to, options), ...segmentsOf(options)];
    this.buffer = data;
  }

  protected override get direction(): typeof WRITE {
    return WRITE;
  }

  protected override attempt(cx: Context): Poll<number> | Again {
    const { source, buffer, to } = this;
    if ((source.ready & WRITE) === 0) return source.wait(WRITE, this, cx);
    checkSendable(buffer); // user code may have detached it
    const message = sharedMessage(buffer);
    for (const { level, type, data } of this.controls) message.addControl(level, type, data);
    if (to !== null) {
      message.hasAddress = true;
      message.address.encode(to);
    }
    const count = source.sys.sendmsg(source.fd, message, 0);
    message.clear();
    return count < 0 ? this.onErrno(count, cx) : count;
  }

  protected override errorOf(errno: number): Error {
    return this.to === null ? super.errorOf(errno) : new SysError(errno, this.syscall, this.to);
  }

  protected override get syscall(): string {
    return "sendmsg";
  }
}

/** Receives one datagram with its control messages. One that the inbox holds comes first, and has none. */
export class ReceiveUdpMessage extends Operation<UdpMessage> {
  private readonly inbox: Inbox;

  constructor(source: Source, inbox: Inbox, buffer: Uint8Array) {
    super(source);
    this.inbox = inbox;
    this.buffer = buffer;
  }

  protected override get direction(): typeof READ {
    return READ;
  }

  protected override attempt(cx: Context): Poll<UdpMessage> | Again {
    const { source, buffer, inbox } = this;
    const isReceived = !inbox.isEmpty && !source.isClosed;
    if (!isReceived && (source.ready & READ) === 0) return source.wait(READ, this, cx);
    checkBuffer(buffer); // user code may have detached it
    if (isReceived) {
      const length = inbox.receive(source, buffer);
      return this.received(length, inbox.address!, []); // set by the receive
    }
    const message = sharedMessage(buffer);
    const length = source.sys.recvmsg(source.fd, message, MSG_TRUNC);
    message.clear();
    if (length < 0) return this.onErrno(length, cx);
    return this.received(length, message.address.decode(), message.controls());
  }

  private received(
    length: number,
    address: SocketAddress,
    controls: readonly ControlMessage[],
  ): UdpMessage {
    const { length: room } = this.buffer;
    const message = { bytes: Math.min(length, room), isTruncated: length > room, address };
    return Object.assign(message, NO_INFO, ...controls.map(packetInfoIn));
  }

  protected override get syscall(): string {
    return "recvmsg";
  }
}
