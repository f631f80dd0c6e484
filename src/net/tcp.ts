// TCP: listeners and streams. See tcp(7).
//
// A socket may be made anywhere, also outside a runtime; its futures are polled inside one. Who made
// a socket owns it: close it, or let `using` do so.

import { type Context, currentContextOrNull } from "../core/context.ts";
import { describe } from "../core/describe.ts";
import { Future } from "../core/future.ts";
import { Pending, type Poll } from "../core/poll.ts";
import type { Waiter } from "../core/wait-queue.ts";
import { Operation } from "../reactor/operation.ts";
import { reactorOf } from "../reactor/reactor.ts";
import { ClosedError, Source } from "../reactor/source.ts";
import {
  check,
  EAGAIN,
  ECONNABORTED,
  EHOSTDOWN,
  EHOSTUNREACH,
  EINPROGRESS,
  EINTR,
  EMFILE,
  ENETDOWN,
  ENETUNREACH,
  ENFILE,
  ENOBUFS,
  ENOMEM,
  ENONET,
  ENOPROTOOPT,
  EOPNOTSUPP,
  EPROTO,
  SysError,
} from "../sys/errno.ts";
import { linux } from "../sys/linux.ts";
import {
  type AddressLike,
  AF_INET,
  AF_INET6,
  parseAddress,
  SockaddrBuffer,
  type SocketAddress,
} from "../sys/sockaddr.ts";
import {
  checkBuffer,
  IPPROTO_TCP,
  SHUT_RD,
  SHUT_RDWR,
  SHUT_WR,
  SO_ERROR,
  SO_REUSEADDR,
  SO_REUSEPORT,
  SOCK_STREAM,
  SOL_SOCKET,
  TCP_NODELAY,
} from "../sys/socket.ts";
import type { Sys } from "../sys/sys.ts";
import { sleep } from "../time.ts";

/** The kernel of the runtime that is polling, or the default. */
function currentSys(): Sys {
  const cx = currentContextOrNull();
  return cx === null ? linux() : reactorOf(cx).sys;
}

function openSocket(sys: Sys, address: SocketAddress): Source {
  const domain = address.hostname.includes(":") ? AF_INET6 : AF_INET;
  return new Source(sys, check(sys.socket(domain, SOCK_STREAM), "socket", address));
}

function localAddressOf(source: Source): SocketAddress {
  if (source.isClosed) throw new ClosedError(`the socket (fd ${source.fd}) is closed`);
  const address = new SockaddrBuffer();
  check(source.sys.getsockname(source.fd, address), "getsockname");
  return address.decode();
}

export interface ListenOptions extends SocketAddress {
  /** Connections that may wait to be accepted; 4096 by default. */
  readonly backlog?: number;
  /** SO_REUSEPORT: several listeners share the port. false by default. */
  readonly reusePort?: boolean;
}

/**
 * A listening TCP socket.
 *
 * @example
 * using listener = TcpListener.bind("127.0.0.1:7000");
 * for (;;) {
 *   const stream = yield* listener.accept();
 *   spawn(() => serve(stream));
 * }
 */
export class TcpListener implements Disposable {
  readonly #source: Source;
  readonly localAddress: SocketAddress;

  private constructor(source: Source) {
    this.#source = source;
    this.localAddress = localAddressOf(source);
  }

  /**
   * Listens at `address`: `"127.0.0.1:7000"`, `"[::1]:7000"`, or an object. Port 0 picks a free one:
   * see `localAddress`. Throws SysError (`EADDRINUSE`, `EACCES`, ...), TypeError or RangeError.
   */
  static bind(address: ListenOptions | string): TcpListener {
    const at = parseAddress(address);
    const { backlog = 4096, reusePort = false } =
      typeof address === "string" ? {} : (address as Partial<ListenOptions>);
    if (!Number.isInteger(backlog) || backlog < 1 || backlog > 0x7fffffff) {
      throw new RangeError(`address.backlog must be a positive integer; got ${describe(backlog)}`);
    }
    const source = openSocket(currentSys(), at);
    const { sys, fd } = source;
    try {
      check(sys.setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, 1), "setsockopt");
      if (reusePort) check(sys.setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, 1), "setsockopt");
      check(sys.bind(fd, SockaddrBuffer.of(at)), "bind", at);
      check(sys.listen(fd, backlog), "listen", at);
      return new TcpListener(source);
    } catch (error) {
      source.close();
      throw error;
    }
  }

  /**
   * The next connection. Several tasks may accept at once. When the process is out of fds it waits
   * until one is free, and warns once per shortage. Throws ClosedError after `close`. Cancel safe.
   */
  accept(): Future<TcpStream> {
    return new Accept(this.#source);
  }

  /** Closes the socket; who waits in `accept` gets a ClosedError. Idempotent. */
  close(): void {
    this.#source.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/** Errors of the connection, not of the listener: accept(2) says to try again. */
const NEXT_CONNECTION: ReadonlySet<number> = new Set(
  [
    ECONNABORTED,
    ENETDOWN,
    EPROTO,
    ENOPROTOOPT,
    EHOSTDOWN,
    ENONET,
    EHOSTUNREACH,
    EOPNOTSUPP,
    ENETUNREACH,
  ].map((errno) => -errno),
);
const SHORTAGE: ReadonlySet<number> = new Set(
  [EMFILE, ENFILE, ENOBUFS, ENOMEM].map((errno) => -errno),
);
/** How long an accept that found no free fd waits, unless a socket of ours closes before. */
const SHORTAGE_FIRST_MS = 10;
const SHORTAGE_LONGEST_MS = 1000;

class Accept extends Operation<TcpStream> {
  readonly #peer = new SockaddrBuffer();
  /** The pause of an fd shortage; while it lasts the kernel is not asked. */
  #pause: Future<void> | null = null;
  #pauseMs = SHORTAGE_FIRST_MS;
  readonly #freed: Waiter = { target: null, before: null, after: null, list: null };

  constructor(source: Source) {
    super(source, "read");
  }

  override poll(cx: Context): Poll<TcpStream> {
    if (this.#pause !== null && !this.source.isClosed) {
      const wasFreed = this.#freed.list === null;
      if (!wasFreed && this.#pause.poll(cx) === Pending) {
        Source.shortage.wait(this.#freed, cx.target);
        return Pending;
      }
      this.#endPause();
      this.source.retry("read"); // the kernel's queue was not empty; there will be no new edge
    }
    return super.poll(cx);
  }

  protected override attempt({ sys, fd }: Source, cx: Context): number {
    for (;;) {
      const result = sys.accept(fd, this.#peer);
      if (NEXT_CONNECTION.has(result)) continue;
      if (!SHORTAGE.has(result)) return result;
      if (this.#pauseMs === SHORTAGE_FIRST_MS) {
        process.emitWarning(
          `accept on fd ${fd}: ${new SysError(result, "accept4").code}: connections wait until a file descriptor is free`,
          { code: "GUILLOTINE_FD_SHORTAGE" },
        );
      }
      this.#pause = sleep(this.#pauseMs);
      this.#pauseMs = Math.min(this.#pauseMs * 2, SHORTAGE_LONGEST_MS);
      this.#pause.poll(cx);
      Source.shortage.wait(this.#freed, cx.target);
      return PAUSED;
    }
  }

  protected override complete(fd: number): TcpStream {
    return new TcpStream(new Source(this.source.sys, fd), this.#peer.decode());
  }

  protected override fail(errno: number): Error {
    return new SysError(errno, "accept4");
  }

  override drop(): void {
    this.#endPause();
    super.drop();
  }

  #endPause(): void {
    this.#pause?.drop();
    this.#pause = null;
    Source.shortage.leave(this.#freed);
  }
}

/** A connected TCP socket. */
export class TcpStream implements Disposable {
  readonly #source: Source;
  readonly remoteAddress: SocketAddress;

  /** Not for users: `TcpStream.connect`, `listener.accept`. */
  constructor(source: Source, remoteAddress: SocketAddress) {
    this.#source = source;
    this.remoteAddress = remoteAddress;
  }

  /**
   * Connects to an IP literal or `localhost` (127.0.0.1, then ::1). Throws SysError
   * (`ECONNREFUSED`, `ETIMEDOUT`, ...). Cancel safe: dropped, it closes the socket.
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

  get localAddress(): SocketAddress {
    return localAddressOf(this.#source);
  }

  /**
   * Reads what is there, at least one byte, into `buffer`; returns how many bytes, 0 at the end.
   * Throws SysError (`ECONNRESET`), ClosedError; TypeError or RangeError for no or no room. Cancel
   * safe: dropped, it has read nothing.
   */
  read(buffer: Uint8Array): Future<number> {
    checkBuffer(buffer);
    return new Read(this.#source, buffer);
  }

  /**
   * Writes some of `data`; returns how many bytes, at least one. Throws SysError (`EPIPE`,
   * `ECONNRESET`), ClosedError. Cancel safe: dropped, it has written nothing.
   */
  write(data: Uint8Array): Future<number> {
    checkBuffer(data);
    return new Write(this.#source, data);
  }

  /**
   * Writes all of `data` (a string as UTF-8). `data` must not change meanwhile. Not cancel safe:
   * dropped, part of it may have been written.
   */
  writeAll(data: Uint8Array | string): Future<void> {
    const bytes = typeof data === "string" ? encoder.encode(data) : data;
    if (bytes.length !== 0 || !(bytes instanceof Uint8Array)) checkBuffer(bytes);
    return new WriteAll(this.#source, bytes);
  }

  /** Ends the writing side (`"write"`, the peer reads 0), the reading side, or both. See shutdown(2). */
  shutdown(how: "read" | "write" | "both" = "write"): void {
    const flag = { read: SHUT_RD, write: SHUT_WR, both: SHUT_RDWR }[how];
    if (flag === undefined) {
      throw new TypeError(`how must be "read", "write" or "both"; got ${describe(how)}`);
    }
    check(this.#open().shutdown(this.#source.fd, flag), "shutdown");
  }

  /** TCP_NODELAY: whether small writes are sent at once. Off by default, as in the kernel. */
  setNoDelay(isOn = true): void {
    const value = isOn ? 1 : 0;
    check(this.#open().setsockopt(this.#source.fd, IPPROTO_TCP, TCP_NODELAY, value), "setsockopt");
  }

  /** Closes the socket; who waits on it gets a ClosedError. Idempotent. */
  close(): void {
    this.#source.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #open(): Sys {
    if (this.#source.isClosed)
      throw new ClosedError(`the socket (fd ${this.#source.fd}) is closed`);
    return this.#source.sys;
  }
}

const encoder = new TextEncoder();
/** Inside an attempt: wait, but not for the fd. */
const PAUSED: number = -EAGAIN;

class Read extends Operation<number> {
  readonly #buffer: Uint8Array;

  constructor(source: Source, buffer: Uint8Array) {
    super(source, "read");
    this.#buffer = buffer;
  }

  protected override attempt(source: Source): number {
    checkBuffer(this.#buffer); // it may have been detached since
    const count = source.sys.recv(source.fd, this.#buffer, 0);
    // A short read: drained. Forget readiness without paying for the EAGAIN.
    if (count > 0 && count < this.#buffer.length) source.clear("read");
    return count;
  }

  protected override complete(count: number): number {
    return count;
  }

  protected override fail(errno: number): Error {
    return new SysError(errno, "recv");
  }
}

class Write extends Operation<number> {
  readonly #data: Uint8Array;

  constructor(source: Source, data: Uint8Array) {
    super(source, "write");
    this.#data = data;
  }

  protected override attempt(source: Source): number {
    checkBuffer(this.#data);
    const count = source.sys.send(source.fd, this.#data, 0);
    if (count > 0 && count < this.#data.length) source.clear("write");
    return count;
  }

  protected override complete(count: number): number {
    return count;
  }

  protected override fail(errno: number): Error {
    return new SysError(errno, "send");
  }
}

class WriteAll extends Operation<void> {
  /** What is not yet written. */
  #rest: Uint8Array;

  constructor(source: Source, data: Uint8Array) {
    super(source, "write");
    this.#rest = data;
  }

  protected override attempt(source: Source): number {
    if (this.#rest.length === 0) {
      if ((this.#rest.buffer as ArrayBuffer).detached) checkBuffer(this.#rest);
      return 0;
    }
    const count = source.sys.send(source.fd, this.#rest, 0);
    if (count < 0 || count === this.#rest.length) return count;
    this.#rest = this.#rest.subarray(count);
    return -EAGAIN; // the socket's buffer is full
  }

  protected override complete(): void {}

  protected override fail(errno: number): Error {
    return new SysError(errno, "send");
  }
}

/** Tries each address in turn; owns the socket until it hands it over. */
class Connect extends Future<TcpStream> {
  readonly #addresses: SocketAddress[];
  #attempt: ConnectOne | null = null;

  constructor(addresses: SocketAddress[]) {
    super();
    this.#addresses = addresses;
  }

  override poll(cx: Context): Poll<TcpStream> {
    for (;;) {
      this.#attempt ??= new ConnectOne(
        openSocket(currentSys(), this.#addresses[0]!),
        this.#addresses[0]!,
      );
      try {
        return this.#attempt.poll(cx);
      } catch (error) {
        this.#attempt.drop();
        if (this.#addresses.length < 2 || !(error instanceof SysError)) throw error;
        this.#addresses.shift();
        this.#attempt = null;
      }
    }
  }

  override drop(): void {
    this.#attempt?.drop();
  }
}

class ConnectOne extends Operation<TcpStream> {
  readonly #address: SocketAddress;
  #state: "new" | "connecting" | "connected" = "new";

  constructor(source: Source, address: SocketAddress) {
    super(source, "write");
    this.#address = address;
  }

  protected override attempt({ sys, fd }: Source): number {
    if (this.#state === "connecting") return -sys.getsockopt(fd, SOL_SOCKET, SO_ERROR);
    this.#state = "connecting";
    const result = sys.connect(fd, SockaddrBuffer.of(this.#address));
    // Interrupted, a connect goes on by itself: connect(2).
    return result === -EINPROGRESS || result === -EINTR ? -EAGAIN : result;
  }

  protected override complete(): TcpStream {
    this.#state = "connected";
    return new TcpStream(this.source, this.#address);
  }

  protected override fail(errno: number): Error {
    return new SysError(errno, "connect", this.#address);
  }

  override drop(): void {
    super.drop();
    if (this.#state !== "connected") this.source.close();
  }
}
