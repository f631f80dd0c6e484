// TCP streams, and how one is connected. See tcp(7), connect(2).

import { describe } from "../base/describe.ts";
import type { Context } from "../core/context.ts";
import { Future, polledAfterEnd } from "../core/future.ts";
import { reuse } from "../core/leaf.ts";
import { type Again, Pending, type Poll } from "../core/poll.ts";
import { Operation } from "../io/operation.ts";
import { type Source, WRITE } from "../io/source.ts";
import { Read, Write, WriteAll } from "../io/transfer.ts";
import { reactorOf } from "../reactor/reactor.ts";
import { check, EAGAIN, EALREADY, EINPROGRESS, EINTR, SysError } from "../sys/errno.ts";
import {
  type AddressLike,
  type PackedAddress,
  parseAddress,
  type SocketAddress,
  unpack,
} from "../sys/sockaddr.ts";
import {
  checkBuffer,
  IPPROTO_TCP,
  SHUT_RD,
  SHUT_RDWR,
  SHUT_WR,
  SO_KEEPALIVE,
  SOCK_STREAM,
  SOL_SOCKET,
  TCP_KEEPIDLE,
  TCP_KEEPINTVL,
  TCP_NODELAY,
} from "../sys/socket.ts";
import { localAddressOf, openSocket, openSys, outgoing, setOption } from "./socket.ts";

const encoder = new TextEncoder();

/** A connected TCP socket. */
export class TcpStream implements Disposable {
  readonly #source: Source;
  #remoteAddress: PackedAddress;
  /** The latest of each, which may be used again. */
  #read: Read | null = null;
  #write: Write | null = null;
  #writeAll: WriteAll | null = null;

  /** Not for users: `TcpStream.connect`, `listener.accept`. */
  constructor(source: Source, remoteAddress: PackedAddress) {
    this.#source = source;
    this.#remoteAddress = remoteAddress;
  }

  /**
   * Connects to an IP literal or `localhost` (127.0.0.1, then ::1). Throws SysError
   * (`ECONNREFUSED`, `ETIMEDOUT`, ...); TypeError or RangeError for what is no address. Cancel safe:
   * dropped, it closes the socket. See connect(2).
   *
   * @example
   * using stream = yield* TcpStream.connect("127.0.0.1:7000");
   */
  static connect(address: AddressLike): Future<TcpStream> {
    const first = parseAddress(address);
    const text = typeof address === "string" ? address : address.hostname;
    const isLocalhost = text === "localhost" || text.startsWith("localhost:");
    return new Connect(isLocalhost ? [first, { hostname: "::1", port: first.port }] : [first]);
  }

  /** The other end's address, as it was when the connection was made. */
  get remoteAddress(): SocketAddress {
    this.#remoteAddress = unpack(this.#remoteAddress);
    return this.#remoteAddress;
  }

  /** Our end's address. Throws ClosedError after `close`. See getsockname(2). */
  get localAddress(): SocketAddress {
    return localAddressOf(this.#source);
  }

  /**
   * Reads what is there, at least one byte, into `buffer`; returns how many bytes, 0 at the end.
   * Throws SysError (`ECONNRESET`), ClosedError; TypeError for what is no Uint8Array, RangeError for an
   * empty one. Cancel safe: dropped, it has read nothing. See recv(2).
   *
   * @example
   * const buffer = new Uint8Array(4096);
   * // Is a connection of a pool still good? undefined: it is quiet; 0: the peer has closed it.
   * const isGood = (yield* race(stream.read(buffer), sleep(0))) === undefined;
   */
  read(buffer: Uint8Array): Future<number> {
    checkBuffer(buffer);
    this.#read = reuse(this.#read) ?? new Read(this.#source);
    return this.#read.arm(buffer);
  }

  /**
   * Writes some of `data`; returns how many bytes, at least one. Throws SysError (`EPIPE`,
   * `ECONNRESET`), ClosedError; TypeError for what is no Uint8Array, RangeError for an empty one. Cancel
   * safe: dropped, it has written nothing. See send(2).
   */
  write(data: Uint8Array): Future<number> {
    checkBuffer(data, "data");
    this.#write = reuse(this.#write) ?? new Write(this.#source);
    return this.#write.arm(data);
  }

  /**
   * Writes all of `data` (a string as UTF-8), or its first `length` bytes: what a `read` has filled, say,
   * without the cost of a view. `data` must not change meanwhile. Throws SysError (`EPIPE`,
   * `ECONNRESET`), ClosedError; TypeError for other data, RangeError for a length that it does not have.
   * Not cancel safe: dropped, part of it may have been written.
   *
   * @example
   * yield* stream.writeAll("a line\n");
   * yield* stream.writeAll(new Uint8Array(65536), 5); // as much as there is in it
   */
  writeAll(data: Uint8Array | string, length?: number): Future<void> {
    const bytes = typeof data === "string" ? encoder.encode(data) : data;
    // No bytes is fine: there is nothing to write.
    if (!(bytes instanceof Uint8Array)) checkBuffer(bytes, "data", "a Uint8Array or a string");
    if (length !== undefined) checkLength(length, bytes.length);
    const count = length ?? bytes.length;
    this.#writeAll = reuse(this.#writeAll) ?? new WriteAll(this.#source);
    return this.#writeAll.arm(bytes, count);
  }

  /**
   * Ends the writing side (`"write"`, the peer reads 0), the reading side, or both. Throws SysError
   * (`ENOTCONN` once the peer has reset the connection), ClosedError, TypeError. See shutdown(2).
   */
  shutdown(how: "read" | "write" | "both" = "write"): void {
    const flag = { read: SHUT_RD, write: SHUT_WR, both: SHUT_RDWR }[how];
    if (flag === undefined) {
      throw new TypeError(`how must be "read", "write" or "both"; got ${describe(how)}`);
    }
    check(openSys(this.#source).shutdown(this.#source.fd, flag), "shutdown");
  }

  /**
   * Whether small writes are sent at once. Off by default, as in the kernel. Throws ClosedError after
   * `close`. TCP_NODELAY in tcp(7).
   */
  setNoDelay(isOn = true): void {
    setOption(this.#source, IPPROTO_TCP, TCP_NODELAY, isOn);
  }

  /**
   * Whether the kernel asks a peer that has been silent for `idleSeconds` if it is still there, and again each
   * `idleSeconds`; nine questions without an answer end the connection: whoever waits gets `ETIMEDOUT`. So one
   * that vanished without a word is not waited for for ever. null, as at first: it does not. Throws RangeError
   * unless it is an integer from 1 to 32767; ClosedError after `close`. SO_KEEPALIVE in socket(7), tcp(7).
   */
  setKeepAlive(idleSeconds: number | null): void {
    if (idleSeconds !== null) {
      checkIdle(idleSeconds);
      setOption(this.#source, IPPROTO_TCP, TCP_KEEPIDLE, idleSeconds);
      setOption(this.#source, IPPROTO_TCP, TCP_KEEPINTVL, idleSeconds);
    }
    setOption(this.#source, SOL_SOCKET, SO_KEEPALIVE, idleSeconds !== null);
  }

  /** Closes the socket; who waits on it gets a ClosedError. Idempotent. */
  close(): void {
    this.#source.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

function checkIdle(seconds: unknown): void {
  if (typeof seconds !== "number" || !Number.isInteger(seconds) || seconds < 1 || seconds > 32767) {
    throw new RangeError(
      `idleSeconds must be an integer from 1 to 32767, or null; got ${describe(seconds)}`,
    );
  }
}

function checkLength(length: unknown, most: number): void {
  if (typeof length !== "number" || !Number.isInteger(length) || length < 0 || length > most) {
    throw new RangeError(
      `length must be an integer from 0 to data's length, ${most}; got ${describe(length)}`,
    );
  }
}

/** Tries each address in turn; owns the socket until it hands it over. */
class Connect extends Future<TcpStream> {
  readonly #addresses: SocketAddress[];
  #attempt: ConnectOne | null = null;
  /** What the first address failed with: the one that the caller meant. */
  #error: SysError | null = null;

  constructor(addresses: SocketAddress[]) {
    super();
    this.#addresses = addresses;
  }

  override poll(cx: Context): Poll<TcpStream> {
    for (;;) {
      const [address] = this.#addresses;
      if (address === undefined) throw polledAfterEnd("a connect");
      if (this.#attempt === null && cx.isExhausted()) return Pending;
      try {
        this.#attempt ??= new ConnectOne(
          openSocket(reactorOf(cx).sys, SOCK_STREAM, address),
          address,
        );
        return this.#attempt.poll(cx);
      } catch (error) {
        if (this.#attempt === null) cx.charge(); // no socket, and so no operation that charges: out of fds, for example
        this.#attempt?.drop();
        this.#attempt = null;
        this.#addresses.shift();
        if (!(error instanceof SysError)) {
          this.#addresses.length = 0; // no other would fare better
          throw error;
        }
        this.#error ??= error;
        if (this.#addresses.length === 0) throw this.#error;
      }
    }
  }

  override reclaim(stream: TcpStream): void {
    stream.close();
  }

  override drop(): void {
    this.#addresses.length = 0;
    this.#attempt?.drop();
  }
}

class ConnectOne extends Operation<TcpStream> {
  readonly #address: SocketAddress;
  #isConnected = false;

  constructor(source: Source, address: SocketAddress) {
    super(source, WRITE);
    this.#address = address;
  }

  protected override attempt(cx: Context): Poll<TcpStream> | Again {
    if (!this.isReady) return this.wait(cx);
    const { source } = this;
    // A repeated connect returns how the first one ended: 0, its error, or EALREADY. (SO_ERROR cannot tell
    // "still connecting" from success, so it would have to trust whoever polls.) After EINTR the first connect
    // continues by itself: connect(2).
    const result = source.sys.connect(source.fd, outgoing().encode(this.#address));
    if (result >= 0) {
      this.#isConnected = true;
      return new TcpStream(source, this.#address);
    }
    const isInProgress = result === -EINPROGRESS || result === -EALREADY || result === -EINTR;
    return this.onErrno(isInProgress ? -EAGAIN : result, cx);
  }

  protected override errorOf(errno: number): Error {
    return new SysError(errno, "connect", this.#address);
  }

  protected override release(): void {
    super.release();
    if (!this.#isConnected) this.source.close();
  }

  override describe(): string {
    return `connect ${this.#address.hostname}:${this.#address.port}`;
  }
}
