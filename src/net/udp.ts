// UDP sockets. See udp(7).

import type { Context } from "../core/context.ts";
import type { Future } from "../core/future.ts";
import { reuse } from "../core/leaf.ts";
import type { Again, Poll } from "../core/poll.ts";
import { Operation } from "../io/operation.ts";
import { READ, type Source, WRITE } from "../io/source.ts";
import { currentSys } from "../reactor/reactor.ts";
import { check, SysError } from "../sys/errno.ts";
import { type AddressLike, parseAddress, type SocketAddress } from "../sys/sockaddr.ts";
import {
  checkBuffer,
  SO_BROADCAST,
  SO_REUSEADDR,
  SO_REUSEPORT,
  SOCK_DGRAM,
  SOL_SOCKET,
} from "../sys/socket.ts";
import { Inbox } from "./inbox.ts";
import { localAddressOf, openSocket, openSys, outgoing, setOption } from "./socket.ts";

/** An address to bind, and how. */
export interface UdpOptions extends SocketAddress {
  /** SO_REUSEADDR: several sockets may bind the address, for broadcast. false by default. */
  readonly reuseAddress?: boolean;
  /** SO_REUSEPORT: the kernel spreads datagrams over several sockets. false by default. */
  readonly reusePort?: boolean;
}

/** What was received: `bytes` of it are in the buffer. */
export interface ReceivedDatagram {
  readonly bytes: number;
  /** The datagram was longer than the buffer; what did not fit is gone. */
  readonly isTruncated: boolean;
  /** Who sent it. */
  readonly address: SocketAddress;
}

/**
 * A UDP socket. Datagrams come whole, or not at all; several tasks may send and receive at once.
 *
 * @example
 * using socket = UdpSocket.bind("127.0.0.1:7000");
 * const buffer = new Uint8Array(65536);
 * const { bytes, address } = yield* socket.recvFrom(buffer);
 * yield* socket.sendTo(buffer.subarray(0, bytes), address);
 */
export class UdpSocket implements Disposable {
  readonly #source: Source;
  readonly #inbox = new Inbox();
  /** The latest of each, which may be used again. */
  #send: SendDatagram | null = null;
  #receive: ReceiveDatagram | null = null;

  private constructor(source: Source) {
    this.#source = source;
  }

  /**
   * Binds to `address`; port 0 picks a free one: see `localAddress`. Throws SysError
   * (`EADDRINUSE`, `EACCES`, ...), TypeError or RangeError.
   */
  static bind(address: UdpOptions | string): UdpSocket {
    const at = parseAddress(address);
    const { reuseAddress = false, reusePort = false } =
      typeof address === "string" ? {} : (address as Partial<UdpOptions>);
    const source = openSocket(currentSys(), SOCK_DGRAM, at);
    const { sys, fd } = source;
    try {
      if (reuseAddress) setOption(source, SOL_SOCKET, SO_REUSEADDR);
      if (reusePort) setOption(source, SOL_SOCKET, SO_REUSEPORT);
      check(sys.bind(fd, outgoing().encode(at)), "bind", at);
      return new UdpSocket(source);
    } catch (error) {
      source.close();
      throw error;
    }
  }

  /**
   * What it is bound to; with the port that the kernel chose for port 0. Throws ClosedError after `close`.
   * See getsockname(2).
   */
  get localAddress(): SocketAddress {
    return localAddressOf(this.#source);
  }

  /**
   * Names the peer: `send` goes to it, and from then on only its datagrams come in (what others sent
   * before is still received). Sends nothing, so it completes at once. Throws SysError, ClosedError;
   * TypeError or RangeError for what is no address. See connect(2).
   */
  connect(address: AddressLike): void {
    const to = parseAddress(address);
    const sys = openSys(this.#source);
    check(sys.connect(this.#source.fd, outgoing().encode(to)), "connect", to);
  }

  /**
   * Whether sending to a broadcast address is allowed. Off by default. Throws ClosedError after `close`.
   * SO_BROADCAST in socket(7).
   */
  setBroadcast(isOn = true): void {
    setOption(this.#source, SOL_SOCKET, SO_BROADCAST, isOn);
  }

  /**
   * Sends one datagram (it may be empty) to the connected peer; returns its bytes. Throws SysError
   * (`EDESTADDRREQ` when not connected, `ECONNREFUSED` when an earlier one was refused, `EMSGSIZE`),
   * ClosedError; TypeError for what is no Uint8Array. Cancel safe: dropped, it has sent nothing. See send(2).
   */
  send(data: Uint8Array): Future<number> {
    checkDatagram(data);
    return this.#sendOf(data, null);
  }

  /** Sends one datagram to `address`; TypeError or RangeError for what is none; else as `send`. */
  sendTo(data: Uint8Array, address: AddressLike): Future<number> {
    checkDatagram(data);
    return this.#sendOf(data, parseAddress(address));
  }

  /**
   * Receives one datagram into `buffer`. Throws SysError (`ECONNREFUSED` on a connected socket),
   * ClosedError; TypeError for what is no Uint8Array, RangeError for an empty one. Cancel safe: dropped,
   * it has received nothing. See recvfrom(2).
   */
  recvFrom(buffer: Uint8Array): Future<ReceivedDatagram> {
    checkBuffer(buffer);
    this.#receive = reuse(this.#receive) ?? new ReceiveDatagram(this.#source, this.#inbox);
    return this.#receive.arm(buffer);
  }

  /** The same, by the name that goes with `connect` and `send`. */
  recv(buffer: Uint8Array): Future<ReceivedDatagram> {
    return this.recvFrom(buffer);
  }

  #sendOf(data: Uint8Array, to: SocketAddress | null): SendDatagram {
    this.#send = reuse(this.#send) ?? new SendDatagram(this.#source);
    return this.#send.arm(data, to);
  }

  /** Closes the socket; who waits on it gets a ClosedError. Idempotent. */
  close(): void {
    this.#source.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/** A datagram may be empty; it may not be detached, or something else. */
function checkDatagram(data: unknown): void {
  const isEmpty = data instanceof Uint8Array && data.length === 0;
  if (!isEmpty || (data.buffer as ArrayBuffer).detached) checkBuffer(data, "data");
}

class SendDatagram extends Operation<number> {
  #to: SocketAddress | null = null;

  constructor(source: Source) {
    super(source, WRITE);
  }

  arm(data: Uint8Array, to: SocketAddress | null): this {
    this.buffer = data;
    this.#to = to;
    return this;
  }

  protected override attempt(cx: Context): Poll<number> | Again {
    if (!this.isReady) return this.wait(cx);
    const { source, buffer } = this;
    checkDatagram(buffer); // it may have been detached meanwhile
    const { sys, fd } = source;
    const to = this.#to;
    const count =
      to === null ? sys.send(fd, buffer, 0) : sys.sendto(fd, buffer, 0, outgoing().encode(to));
    return count < 0 ? this.onErrno(count, cx) : count;
  }

  protected override errorOf(errno: number): Error {
    return this.#to === null
      ? new SysError(errno, "send")
      : new SysError(errno, "sendto", this.#to);
  }
}

class ReceiveDatagram extends Operation<ReceivedDatagram> {
  readonly #inbox: Inbox;

  constructor(source: Source, inbox: Inbox) {
    super(source, READ);
    this.#inbox = inbox;
  }

  arm(buffer: Uint8Array): this {
    this.buffer = buffer;
    return this;
  }

  protected override get isReady(): boolean {
    return (!this.#inbox.isEmpty && !this.source.isClosed) || super.isReady;
  }

  protected override attempt(cx: Context): Poll<ReceivedDatagram> | Again {
    if (!this.isReady) return this.wait(cx);
    const { source, buffer } = this;
    checkBuffer(buffer); // it may have been detached meanwhile
    const length = this.#inbox.receive(source, buffer);
    if (length < 0) return this.onErrno(length, cx);
    const room = buffer.length;
    return {
      bytes: Math.min(length, room),
      isTruncated: length > room,
      address: this.#inbox.address!, // set by the successful receive
    };
  }

  protected override errorOf(errno: number): Error {
    return new SysError(errno, this.#inbox.call);
  }
}
