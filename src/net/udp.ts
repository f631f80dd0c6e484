// UdpSocket: datagrams over UDP. See udp(7).

import {
  checkBoolean,
  checkConstructor,
  checkObject,
  invalidType,
  outOfRange,
} from "../base/check.ts";
import { codedError } from "../base/coded-error.ts";
import { describe } from "../base/describe.ts";
import { AsyncIteration } from "../core/async-iteration.ts";
import type { Context } from "../core/context.ts";
import { current, currentContext } from "../core/current.ts";
import type { Future } from "../core/future.ts";
import { intoFuture } from "../core/into-future.ts";
import { kept } from "../core/leaf.ts";
import type { Again, Poll } from "../core/poll.ts";
import { Operation } from "../io/operation.ts";
import type { OwnedFd } from "../io/owned-fd.ts";
import { READ, Source, WRITE } from "../io/source.ts";
import { currentSys } from "../reactor/reactor.ts";
import { check, ENOTCONN, SysError } from "../sys/errno.ts";
import {
  type AddressLike,
  familyOf,
  formatAddress,
  isKnown,
  parseAddress,
  parseEndpoint,
  type SocketAddress,
} from "../sys/sockaddr.ts";
import { checkBuffer, SO_REUSEADDR, SO_REUSEPORT, SOCK_DGRAM, SOL_SOCKET } from "../sys/socket.ts";
import { Socket } from "./base-socket.ts";
import { adoptSocket, IP, UDP_PROTOCOLS } from "./from-fd.ts";
import { Inbox } from "./inbox.ts";
import { ByName } from "./lookup.ts";
import { changeMembership, type MulticastOptions, setMulticastInterface } from "./multicast.ts";
import { type OptionValues, setOptions, UdpSocketOptions } from "./options.ts";
import {
  checkCall,
  checkSendable,
  incoming,
  localAddressOf,
  openSocket,
  openSys,
  outgoing,
  resolveScope,
  setOption,
} from "./socket.ts";
import { MAX_SEND_MANY, ReceiveMany, SendMany } from "./udp-batch.ts";
import { ReceiveSendError, type UdpSendError } from "./udp-error.ts";
import {
  ReceiveUdpMessage,
  type SendMessageOptions,
  SendUdpMessage,
  type UdpMessage,
} from "./udp-message.ts";

/** The address to bind to, and options. */
export interface UdpOptions extends SocketAddress {
  /** SO_REUSEADDR: several sockets may bind to the address, each receiving broadcasts. Default false. */
  readonly reuseAddress?: boolean;
  /** SO_REUSEPORT: the kernel distributes datagrams over all sockets of the address. Default false. */
  readonly reusePort?: boolean;
  /** More options, set before the bind: `{ v6Only: true }`. */
  readonly options?: OptionValues<UdpSocketOptions>;
}

/** A datagram for `sendMany`. */
export interface OutgoingDatagram {
  readonly data: Uint8Array;
  /** Where to send it: an address without a name. Default: the connected peer. */
  readonly address?: AddressLike;
}

/** The result of a receive. The data itself is in the caller's buffer. */
export interface ReceivedDatagram {
  /** The number of bytes of the buffer that the datagram fills. */
  readonly bytes: number;
  /** True if the datagram was longer than the buffer. The rest is lost. */
  readonly isTruncated: boolean;
  /** The sender's address. */
  readonly address: SocketAddress;
}

/** A datagram, as `for await` of a UdpSocket returns it. */
export interface Datagram {
  /** The bytes of the datagram, in an array of exactly their length. It belongs to the caller. */
  readonly data: Uint8Array;
  /** The sender's address. */
  readonly address: SocketAddress;
}

/** No datagram over IP is longer. */
const MAX_DATAGRAM_BYTES = 65_535;

/**
 * A UDP socket. Each datagram arrives whole or not at all. Several tasks may send and receive at once. The socket
 * owns its fd; close it with `using` or `close`.
 *
 * @example
 * using socket = UdpSocket.bind("127.0.0.1:7000");
 * const buffer = new Uint8Array(65536);
 * const { bytes, address } = yield* socket.recvFrom(buffer);
 * yield* socket.sendTo(buffer.subarray(0, bytes), address);
 */
export class UdpSocket extends Socket implements AsyncIterable<Datagram> {
  readonly #family: 4 | 6;
  readonly #inbox = new Inbox();
  /** The latest operation of each kind, for reuse. */
  #send: SendDatagram | null = null;
  #receive: ReceiveDatagram | null = null;

  private constructor(source: Source, family: 4 | 6) {
    checkConstructor(source, Source, "UdpSocket", "UdpSocket.bind(address)");
    super(source);
    this.#family = family;
  }

  /**
   * Binds to `address`: `"127.0.0.1:7000"`, `"[::1]:7000"`, or an object. For port 0 the kernel picks a free port,
   * which `localAddress` contains. Throws SysError (`EADDRINUSE`, `EACCES`, ...), and TypeError or RangeError for
   * an invalid argument. See bind(2).
   *
   * @example
   * using socket = UdpSocket.bind("127.0.0.1:0");
   */
  static override bind(address: UdpOptions | string): UdpSocket {
    const at = parseAddress(address);
    const {
      reuseAddress = false,
      reusePort = false,
      options,
    } = typeof address === "string" ? {} : (address as Partial<UdpOptions>);
    const source = openSocket(currentSys(), SOCK_DGRAM, at);
    const { sys, fd } = source;
    try {
      if (reuseAddress) setOption(source, SOL_SOCKET, SO_REUSEADDR);
      if (reusePort) setOption(source, SOL_SOCKET, SO_REUSEPORT);
      setOptions(new UdpSocketOptions(source), options, "address.options");
      checkCall(sys.bind(fd, outgoing().encode(resolveScope(sys, at))), "bind", at);
      return new UdpSocket(source, at.hostname.includes(":") ? 6 : 4);
    } catch (error) {
      source.close();
      throw error;
    }
  }

  /**
   * Makes a UDP socket of a socket that other code opened, and takes ownership of it. Throws SysError (`EBADF`,
   * `ENOTSOCK`), and TypeError for a socket of another kind. After an error the caller still owns the fd. See
   * socket(7).
   */
  static fromFd(fd: number | OwnedFd): UdpSocket {
    return adoptSocket(
      fd,
      (source, { family }) => new UdpSocket(source, family === "ipv6" ? 6 : 4),
      {
        name: "UdpSocket",
        families: IP,
        types: ["datagram"],
        protocols: UDP_PROTOCOLS,
        isListening: false,
      },
    );
  }

  /**
   * Same as `bind`, for an address with a name, such as `"example.com:7000"`: binds to the first address of the name.
   * Throws what `bind` throws, and LookupError (`ENOTFOUND`, `EAI_AGAIN`). Cancel safe: a dropped bind has bound nothing.
   * See getaddrinfo(3).
   *
   * @example
   * using socket = yield* UdpSocket.bindByName("localhost:0");
   */
  static bindByName(address: UdpOptions | string): Future<UdpSocket> {
    const options = typeof address === "string" ? {} : address;
    return new ByName(address, undefined, (at) => UdpSocket.bind({ ...options, ...at }));
  }

  /**
   * The bound address, with the port that the kernel chose for port 0. Throws ClosedError once the socket is closed,
   * and SysError. See getsockname(2).
   */
  get localAddress(): SocketAddress {
    return localAddressOf(this.source);
  }

  /**
   * The peer of the latest `connect`; null if there is none. Throws SysError, ClosedError. See getpeername(2).
   *
   * @example
   * using socket = UdpSocket.bind("127.0.0.1:0");
   * socket.connect("127.0.0.1:7000");
   * console.log(socket.remoteAddress?.port); // 7000
   */
  get remoteAddress(): SocketAddress | null {
    const result = openSys(this.source).getpeername(this.source.fd, incoming());
    if (result === -ENOTCONN) return null;
    check(result, "getpeername");
    return incoming().decode();
  }

  /**
   * Sets the peer: `send` sends to it, and the socket receives only its datagrams. (Datagrams from others that arrived
   * earlier are still received.) Sends nothing and returns at once. Throws SysError, ClosedError, and
   * TypeError or RangeError for an invalid address. See connect(2).
   *
   * @example
   * using socket = UdpSocket.bind("127.0.0.1:0");
   * socket.connect("127.0.0.1:7000");
   * yield* socket.send(new Uint8Array([1, 2, 3]));
   */
  connect(address: AddressLike): void {
    const sys = openSys(this.source);
    const to = resolveScope(sys, parseAddress(address, this.#family));
    checkCall(sys.connect(this.source.fd, outgoing().encode(to)), "connect", to);
  }

  /**
   * Same as `connect`, for an address with a name: connects to its first address of the socket's family. Throws what
   * `connect` throws, and LookupError (`ENOTFOUND`, `EAI_AGAIN`). Cancel safe: a dropped connect has connected nothing.
   *
   * @example
   * using socket = UdpSocket.bind("127.0.0.1:0");
   * yield* socket.connectByName({ hostname: "localhost", port });
   */
  connectByName(address: AddressLike): Future<void> {
    return new ByName(address, this.#family, (to) => this.connect(to));
  }

  /**
   * The options of the socket, to read and to set.
   *
   * @example
   * using socket = UdpSocket.bind("127.0.0.1:0");
   * socket.options.ttl = 1;
   */
  get options(): UdpSocketOptions {
    return new UdpSocketOptions(this.source);
  }

  /**
   * Allows sending to a broadcast address. Off by default: such a send throws `EACCES`. Throws SysError,
   * ClosedError. See SO_BROADCAST in socket(7).
   */
  setBroadcast(isOn = true): void {
    checkBoolean(isOn, "setBroadcast: isOn");
    this.options.broadcast = isOn;
  }

  /**
   * Receives the datagrams that are sent to a multicast group, an IP literal of the socket's family. Bind to the wildcard
   * address (`0.0.0.0`, `::`) or to the group, and to the port of the group; with `reuseAddress`, several sockets receive
   * each datagram. After the first join, the socket receives only the groups that it has joined itself. Throws SysError
   * (`EADDRINUSE` if it is a member already, `ENODEV` without a route or such an interface), ClosedError, and TypeError
   * for invalid arguments. See MCAST_JOIN_GROUP in ip(7), RFC 3678.
   *
   * @example
   * using socket = UdpSocket.bind({ hostname: "0.0.0.0", port: 0, reuseAddress: true });
   * socket.joinMulticast("239.1.2.3", { interface: "lo" });
   * socket.options.multicastTtl = 1; // for what it sends
   */
  joinMulticast(group: string, options?: MulticastOptions): void {
    changeMembership(this.source, this.#family, true, group, options);
  }

  /**
   * Leaves the group that `joinMulticast` joined with the same arguments. Closing the socket leaves all groups. Throws
   * SysError (`EADDRNOTAVAIL` if it is not a member), ClosedError, and TypeError for invalid arguments. See RFC 3678.
   */
  leaveMulticast(group: string, options?: MulticastOptions): void {
    changeMembership(this.source, this.#family, false, group, options);
  }

  /**
   * Sends multicast datagrams by the network interface `name`, rather than by the one that the routing table names. Throws
   * SysError (`ENODEV`), ClosedError, and TypeError. See IP_MULTICAST_IF in ip(7), ipv6(7).
   */
  setMulticastInterface(name: string): void {
    setMulticastInterface(this.source, this.#family, name);
  }

  /**
   * Sends one datagram, which may be empty, to the connected peer. Returns its length in bytes. Throws SysError
   * (`EDESTADDRREQ` without `connect`, `ECONNREFUSED` if the peer refused an earlier datagram, `EMSGSIZE`),
   * ClosedError, TypeError if `data` is not a Uint8Array, and RangeError if it is detached. Cancel safe: a dropped
   * send has sent nothing. See send(2).
   */
  send(data: Uint8Array): Future<number> {
    checkSendable(data);
    return this.#startSend(data, null);
  }

  /**
   * Sends one datagram to `address`. If that has a name, resolves the name first, each time, and sends to its first
   * address of the socket's family: to send often, `lookup` it once. Throws TypeError or RangeError for an invalid
   * address, LookupError (`ENOTFOUND`, `EAI_AGAIN`); otherwise like `send`. See sendto(2).
   */
  sendTo(data: Uint8Array, address: AddressLike): Future<number> {
    checkSendable(data);
    if (isKnown(address)) return this.#startSend(data, address);
    const to = parseEndpoint(address);
    if (to.hostname === "localhost" || familyOf(to.hostname) !== 0) {
      return this.#startSend(data, resolveScope(this.source.sys, parseAddress(to, this.#family)));
    }
    const resolve = new ByName(to, this.#family, (resolved) => resolved);
    const send = (resolved: SocketAddress) => this.#startSend(data, resolved);
    return intoFuture(function* () {
      return yield* send(yield* resolve);
    });
  }

  /**
   * Receives one datagram into `buffer`. Returns the number of bytes in `buffer`, the sender, and whether the datagram
   * was truncated. Throws SysError (`ECONNREFUSED` on a connected socket), ClosedError, TypeError if `buffer` is not a
   * Uint8Array, and RangeError if it is empty. Cancel safe: a dropped receive has received nothing. See recvfrom(2).
   */
  recvFrom(buffer: Uint8Array): Future<ReceivedDatagram> {
    checkBuffer(buffer);
    const cx = current.context;
    if (cx !== null && this.#receive?.tryReuse(cx)) return this.#receive.arm(buffer);
    const receive = new ReceiveDatagram(this.source, this.#inbox);
    this.#receive = kept(receive);
    return receive.arm(buffer);
  }

  /**
   * Sends up to 64 datagrams with one syscall: each to its `address`, or to the connected peer. Returns how many were sent,
   * at least one: send the rest again. Throws SysError if the first cannot be sent, ClosedError, TypeError if `datagrams`
   * is not an array of datagrams or an address has a name, and RangeError unless there are 1 to 64. Cancel safe: a dropped
   * send has sent nothing. See sendmmsg(2).
   *
   * @example
   * using socket = UdpSocket.bind("127.0.0.1:0");
   * const address = socket.localAddress;
   * const data = new Uint8Array([1, 2, 3]);
   * console.log(yield* socket.sendMany([{ data, address }, { data, address }])); // 2
   */
  sendMany(datagrams: readonly OutgoingDatagram[]): Future<number> {
    if (!Array.isArray(datagrams)) {
      throw invalidType(`sendMany: datagrams must be an array; got ${describe(datagrams)}`);
    }
    if (datagrams.length === 0 || datagrams.length > MAX_SEND_MANY) {
      throw outOfRange(
        `sendMany: datagrams must be 1 to ${MAX_SEND_MANY}; got ${datagrams.length}`,
      );
    }
    const { sys } = this.source;
    const list = datagrams.map((datagram: OutgoingDatagram) => {
      checkObject(datagram, "sendMany: each datagram");
      checkSendable(datagram.data);
      const { data, address } = datagram;
      if (address === undefined) return { data, to: null };
      return { data, to: resolveScope(sys, parseAddress(address, this.#family)) };
    });
    return new SendMany(this.source, list);
  }

  /**
   * Waits for a datagram, and returns those that one syscall has received: at least one, at most 16, each in an array of
   * its own. Throws SysError (`ECONNREFUSED` on a connected socket), ClosedError. Cancel safe: a dropped receive has
   * received nothing. See recvmmsg(2).
   *
   * @example
   * using socket = UdpSocket.bind("127.0.0.1:0");
   * yield* socket.sendTo(new Uint8Array(3), socket.localAddress);
   * for (const { data, address } of yield* socket.recvMany()) console.log(data.length, address.port);
   */
  recvMany(): Future<Datagram[]> {
    return new ReceiveMany(this.source, this.#inbox);
  }

  /**
   * How many datagrams were received ahead. The next `recvMany` returns all of them, at once and without a syscall.
   * `release` loses them: to hand a socket over, receive them first.
   *
   * @example
   * using socket = UdpSocket.bind("127.0.0.1:0");
   * const last = socket.buffered > 0 ? yield* socket.recvMany() : [];
   * using successor = UdpSocket.fromFd(socket.release());
   */
  get buffered(): number {
    return this.source.isClosed ? 0 : this.#inbox.size;
  }

  /**
   * Same as `recvFrom`, but with `options.packetInfo` it also returns where the datagram was sent to and which interface it
   * arrived by, and with `options.gro` it returns many datagrams at once. A server that is bound to the wildcard address
   * replies from the `destination`, so that the client recognizes the reply. Use one kind of receive per socket: `recvFrom`
   * and `recvMany` fetch several datagrams at once, without this information. Throws what `recvFrom` throws. Cancel safe:
   * a dropped receive has received nothing. See recvmsg(2), and IP_PKTINFO in ip(7).
   *
   * @example
   * using socket = UdpSocket.bind({ hostname: "0.0.0.0", port: 0, options: { packetInfo: true } });
   * yield* socket.sendTo(new Uint8Array(3), { hostname: "127.0.0.2", port: socket.localAddress.port });
   * const buffer = new Uint8Array(65536);
   * const { bytes, address, destination } = yield* socket.recvMessage(buffer);
   * console.log(destination); // 127.0.0.2
   * yield* socket.sendMessage(buffer.subarray(0, bytes), { address, source: destination });
   *
   * @example
   * using socket = UdpSocket.bind({ hostname: "127.0.0.1", port: 0, options: { gro: true } });
   * yield* socket.sendMessage(new Uint8Array(2500), { address: socket.localAddress, segmentBytes: 1200 });
   * const buffer = new Uint8Array(65536);
   * const { bytes, segmentBytes } = yield* socket.recvMessage(buffer);
   * for (let at = 0; at < bytes; at += segmentBytes ?? bytes) {
   *   const datagram = buffer.subarray(at, Math.min(at + (segmentBytes ?? bytes), bytes));
   *   console.log(datagram.length); // 1200, 1200, 100
   * }
   */
  recvMessage(buffer: Uint8Array): Future<UdpMessage> {
    checkBuffer(buffer);
    return new ReceiveUdpMessage(this.source, this.#inbox, buffer);
  }

  /**
   * Sends one datagram from the address `source`, or by the network interface `interface`, to `address` or the connected
   * peer; with `segmentBytes`, the data as many datagrams, which costs little more than one. Returns the number of bytes.
   * Throws SysError (`EINVAL` or `ENETUNREACH` if `source` is not an address of this machine, `ENODEV` if there is no such
   * interface, `EINVAL` or `EMSGSIZE` if the segments are too many or too long, and what `send` throws), ClosedError, and
   * TypeError or RangeError for invalid arguments. Cancel safe: a dropped send has sent nothing. See sendmsg(2),
   * IP_PKTINFO in ip(7), UDP_SEGMENT in udp(7).
   *
   * @example
   * using socket = UdpSocket.bind("0.0.0.0:0");
   * yield* socket.sendMessage(new Uint8Array(3), { address: "127.0.0.1:7000", source: "127.0.0.2" });
   * // Ten datagrams with one call:
   * yield* socket.sendMessage(new Uint8Array(12_000), { address: "127.0.0.1:7000", segmentBytes: 1200 });
   */
  sendMessage(data: Uint8Array, options: SendMessageOptions = {}): Future<number> {
    checkSendable(data);
    checkObject(options, "sendMessage: options");
    return new SendUdpMessage(this.source, this.#family, data, options);
  }

  /**
   * Waits for the error of a datagram that this socket has sent: of any destination, and with who reported it. Throws Error
   * (`ERR_OPTION_OFF`) at once unless `options.receiveErrors` is on, SysError, and ClosedError. Cancel safe: a dropped wait
   * has taken no error. See IP_RECVERR in ip(7), and RFC 1122, section 4.1.3.3.
   *
   * @example
   * using socket = UdpSocket.bind({ hostname: "127.0.0.1", port: 0, options: { receiveErrors: true } });
   * yield* socket.sendTo(new Uint8Array(3), "127.0.0.1:9"); // no socket has this port
   * const { error, address, reporter } = yield* socket.recvError();
   * console.log(error.code, address.port, reporter); // ECONNREFUSED 9 127.0.0.1
   */
  recvError(): Future<UdpSendError> {
    if (!this.options.receiveErrors) {
      throw codedError("ERR_OPTION_OFF", "recvError: options.receiveErrors must be true");
    }
    return new ReceiveSendError(this.source);
  }

  /** Same as `recvFrom`, under the name that pairs with `connect` and `send`. */
  recv(buffer: Uint8Array): Future<ReceivedDatagram> {
    return this.recvFrom(buffer);
  }

  /**
   * Iterates over the datagrams, without end. Leaving the loop keeps the socket open. Throws what `recvFrom` throws.
   *
   * @example
   * using socket = UdpSocket.bind("127.0.0.1:7000");
   * for await (const { data, address } of socket) await socket.sendTo(data, address);
   */
  [Symbol.asyncIterator](): AsyncIterator<Datagram> {
    const buffer = new Uint8Array(MAX_DATAGRAM_BYTES);
    // The conversion runs in the poll that received the datagram: no other receive has used the buffer since.
    return new AsyncIteration(
      () => this.recvFrom(buffer),
      ({ bytes, address }) => ({ done: false, value: { data: buffer.slice(0, bytes), address } }),
    );
  }

  #startSend(data: Uint8Array, to: SocketAddress | null): SendDatagram {
    const cx = current.context;
    if (cx !== null && this.#send?.tryReuse(cx)) return this.#send.arm(data, to);
    const send = new SendDatagram(this.source);
    this.#send = kept(send);
    return send.arm(data, to);
  }
}

class SendDatagram extends Operation<number> {
  /** null: send to the connected peer. */
  #to: SocketAddress | null = null;

  constructor(source: Source) {
    super(source);
  }

  protected override get direction(): typeof WRITE {
    return WRITE;
  }

  arm(data: Uint8Array, to: SocketAddress | null): this {
    this.buffer = data;
    this.#to = to;
    return this;
  }

  /** A copy for this class: see Leaf.beginNext. */
  override next(): IteratorResult<symbol, number> {
    const cx = current.context ?? currentContext();
    return this.beginNext(cx) ? this.endNext(this.attempt(cx), cx) : super.next();
  }

  protected override attempt(cx: Context): Poll<number> | Again {
    const { source, buffer } = this;
    if ((source.ready & WRITE) === 0) return source.wait(WRITE, this, cx);
    checkSendable(buffer); // user code may have detached it since `arm`
    const { sys, fd } = source;
    const to = this.#to;
    const count =
      to === null ? sys.send(fd, buffer, 0) : sys.sendto(fd, buffer, 0, outgoing().encode(to));
    return count < 0 ? this.onErrno(count, cx) : count;
  }

  protected override errorOf(errno: number): Error {
    return this.#to === null ? super.errorOf(errno) : new SysError(errno, this.syscall, this.#to);
  }

  protected override get syscall(): string {
    return this.#to === null ? "send" : "sendto";
  }

  override describe(): string {
    const { fd } = this.source;
    return this.#to === null ? super.describe() : `send to ${formatAddress(this.#to)} (fd ${fd})`;
  }
}

class ReceiveDatagram extends Operation<ReceivedDatagram> {
  readonly #inbox: Inbox;

  constructor(source: Source, inbox: Inbox) {
    super(source);
    this.#inbox = inbox;
  }

  protected override get direction(): typeof READ {
    return READ;
  }

  arm(buffer: Uint8Array): this {
    this.buffer = buffer;
    return this;
  }

  /** A copy for this class: see Leaf.beginNext. */
  override next(): IteratorResult<symbol, ReceivedDatagram> {
    const cx = current.context ?? currentContext();
    return this.beginNext(cx) ? this.endNext(this.attempt(cx), cx) : super.next();
  }

  protected override attempt(cx: Context): Poll<ReceivedDatagram> | Again {
    const { source, buffer } = this;
    // A datagram in the inbox needs no readiness of the fd.
    const isReceived = !this.#inbox.isEmpty && !source.isClosed;
    if (!isReceived && (source.ready & READ) === 0) return source.wait(READ, this, cx);
    checkBuffer(buffer); // user code may have detached it since `arm`
    const length = this.#inbox.receive(source, buffer);
    if (length < 0) return this.onErrno(length, cx);
    return {
      bytes: Math.min(length, buffer.length),
      isTruncated: length > buffer.length,
      address: this.#inbox.address!, // set by the successful receive
    };
  }

  protected override get syscall(): string {
    return this.#inbox.syscall;
  }
}
