// TcpStream: a connected socket, and the connect that creates one. See tcp(7), connect(2).

import {
  checkBoolean,
  checkConstructor,
  checkMilliseconds,
  checkObject,
  invalidType,
  outOfRange,
} from "../base/check.ts";
import { describe } from "../base/describe.ts";
import { iterateChunks } from "../core/async-iteration.ts";
import type { Context } from "../core/context.ts";
import { Future, polledAfterEnd } from "../core/future.ts";
import { type Again, Pending, type Poll } from "../core/poll.ts";
import type { ByteStream, ReadChunkOptions } from "../io/bytes.ts";
import { FdStream } from "../io/fd-pump.ts";
import { Operation } from "../io/operation.ts";
import { checkMaxBytes, ReadChunk } from "../io/read-chunk.ts";
import { Source, WRITE } from "../io/source.ts";
import { WebStreams } from "../io/to-web.ts";
import { checkData, Read, Write, WriteAll } from "../io/transfer.ts";
import { bytesOf, WriteV } from "../io/writev.ts";
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
import { FINISH_TIMEOUT_MS, Finish, type FinishOptions } from "./finish.ts";
import { localAddressOf, openSocket, openSys, outgoing, setOption } from "./socket.ts";

/**
 * A connected TCP socket. It owns its fd; close it with `using` or `close`. Several tasks may read and write at
 * once; each received byte goes to exactly one read.
 *
 * @example
 * using stream = yield* TcpStream.connect("127.0.0.1:7000");
 * yield* stream.writeAll("hello\n");
 * stream.shutdown(); // we send no more
 * const buffer = new Uint8Array(4096);
 * for (;;) {
 *   const bytes = yield* stream.read(buffer);
 *   if (bytes === 0) break; // the peer sends no more
 * }
 */
export class TcpStream implements AsyncIterable<Uint8Array>, ByteStream {
  readonly #source: Source;
  #remoteAddress: PackedAddress;
  /** The latest operation of each kind, for reuse. */
  #read: Read | null = null;
  #readChunk: ReadChunk | null = null;
  #write: Write | null = null;
  #writeAll: WriteAll | null = null;
  #web: WebStreams | null = null;

  private constructor(source: Source, remoteAddress: PackedAddress) {
    checkConstructor(source, Source, "TcpStream", "TcpStream.connect(address)");
    this.#source = source;
    this.#remoteAddress = remoteAddress;
  }

  /** @internal */
  static create(source: Source, remoteAddress: PackedAddress): TcpStream {
    return new TcpStream(source, remoteAddress);
  }

  /**
   * Connects to an IP literal or `localhost` (127.0.0.1, then ::1). The caller owns the stream. Throws SysError
   * (`ECONNREFUSED`, `ETIMEDOUT`, ...), and TypeError or RangeError for an invalid address. Cancel safe: a dropped
   * connect closes its socket. See connect(2).
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

  /** The peer's address when the connection was established. */
  get remoteAddress(): SocketAddress {
    this.#remoteAddress = unpack(this.#remoteAddress);
    return this.#remoteAddress;
  }

  /** The local address. Throws ClosedError once the stream is closed, and SysError. See getsockname(2). */
  get localAddress(): SocketAddress {
    return localAddressOf(this.#source);
  }

  /**
   * Waits for data and reads at least one byte into `buffer`. Returns the number of bytes; 0 after the peer has
   * ended its side. Throws SysError (`ECONNRESET`), ClosedError, TypeError if `buffer` is not a Uint8Array, and
   * RangeError if it is empty. Cancel safe: a dropped read has read nothing. See recv(2).
   *
   * @example
   * const buffer = new Uint8Array(4096);
   * // Is a pooled connection still usable? undefined: it is idle, so yes. 0: the peer has closed it.
   * const isUsable = (yield* race(stream.read(buffer), sleep(0))) === undefined;
   */
  read(buffer: Uint8Array): Future<number> {
    checkBuffer(buffer);
    if (!this.#read?.tryReuse()) this.#read = new Read(this.#source);
    return this.#read.arm(buffer);
  }

  /**
   * Waits for data and returns what has arrived, in an array of exactly its length that belongs to the caller; null
   * after the peer has ended its side. Returns at most `maxBytes` bytes (65536 by default, which is also the most).
   * The stream needs no buffer while it waits, so idle connections use less memory than with `read`. Throws SysError
   * (`ECONNRESET`), ClosedError, TypeError and RangeError for invalid options. Cancel safe: a dropped read has read
   * nothing. See recv(2).
   *
   * @example
   * for (;;) {
   *   const chunk = yield* stream.readChunk();
   *   if (chunk === null) break; // the peer sends no more
   *   yield* stream.writeAll(chunk);
   * }
   */
  readChunk(options?: ReadChunkOptions): Future<Uint8Array | null> {
    const maxBytes = checkMaxBytes(options);
    if (!this.#readChunk?.tryReuse()) this.#readChunk = new ReadChunk(this.#source);
    return this.#readChunk.arm(maxBytes);
  }

  /**
   * Writes at least one byte of `data`. Returns the number of bytes. Throws SysError (`EPIPE`, `ECONNRESET`),
   * ClosedError, TypeError if `data` is not a Uint8Array, and RangeError if it is empty. Cancel safe: a dropped
   * write has written nothing. See send(2).
   *
   * @example
   * const bytes = yield* stream.write(new Uint8Array([1, 2, 3]));
   */
  write(data: Uint8Array): Future<number> {
    checkBuffer(data, "data");
    if (!this.#write?.tryReuse()) this.#write = new Write(this.#source);
    return this.#write.arm(data);
  }

  /**
   * Writes all of `data` (a string as UTF-8), or its first `length` bytes, which avoids a `subarray` of a partly
   * filled buffer. `data` must not change until the write completes. Throws SysError (`EPIPE`, `ECONNRESET`),
   * ClosedError, TypeError if `data` is neither a Uint8Array nor a string, and RangeError unless `length` is an
   * integer from 0 to the length of `data`. Not cancel safe: a dropped write may have written a part. See
   * send(2).
   *
   * @example
   * yield* stream.writeAll("a line\n");
   * yield* stream.writeAll(new Uint8Array(65536), 5); // the first five bytes of the buffer
   */
  writeAll(data: Uint8Array | string, length?: number): Future<void> {
    const bytes = checkData(data, length);
    if (!this.#writeAll?.tryReuse()) this.#writeAll = new WriteAll(this.#source);
    return this.#writeAll.arm(bytes, length ?? bytes.length);
  }

  /**
   * Writes all `pieces` in order (strings as UTF-8), 64 of them per syscall, without copying them into one buffer. The
   * pieces must not change until the write completes. Throws SysError (`EPIPE`, `ECONNRESET`), ClosedError, TypeError
   * if `pieces` is not an array of Uint8Arrays and strings, and RangeError if a piece changes its length meanwhile. Not
   * cancel safe: a dropped write may have written a part. See sendmsg(2).
   *
   * @example
   * const body = new TextEncoder().encode("hello");
   * yield* stream.writev([`content-length: ${body.length}\r\n\r\n`, body]);
   */
  writev(pieces: readonly (Uint8Array | string)[]): Future<void> {
    return new WriteV(this.#source).arm(bytesOf(pieces));
  }

  /**
   * Shuts down one side of the connection, or both. The default is a half-close: it ends our writes, and the peer
   * then reads 0. Returns at once. Throws SysError (`ENOTCONN` after the peer has reset the connection), ClosedError,
   * and TypeError for an invalid `how`. See shutdown(2).
   *
   * @example
   * using stream = yield* TcpStream.connect("127.0.0.1:7000");
   * yield* stream.writeAll("the last line\n");
   * stream.shutdown();
   */
  shutdown(how: "read" | "write" | "both" = "write"): void {
    const flags = { read: SHUT_RD, write: SHUT_WR, both: SHUT_RDWR };
    const flag = typeof how === "string" ? flags[how] : undefined;
    if (flag === undefined) {
      throw invalidType(`shutdown: how must be "read", "write" or "both"; got ${describe(how)}`);
    }
    check(openSys(this.#source).shutdown(this.#source.fd, flag), "shutdown");
  }

  /**
   * Sends small writes at once, instead of coalescing them while earlier data is unacknowledged (Nagle's
   * algorithm). Off by default, as in the kernel. Throws SysError, ClosedError. See TCP_NODELAY in tcp(7).
   *
   * @example
   * stream.setNoDelay();
   */
  setNoDelay(isOn = true): void {
    checkBoolean(isOn, "setNoDelay: isOn");
    setOption(this.#source, IPPROTO_TCP, TCP_NODELAY, isOn);
  }

  /**
   * Detects dead peers. After `idleSeconds` seconds of silence the kernel probes the peer, then again every
   * `idleSeconds`. After nine unanswered probes (net.ipv4.tcp_keepalive_probes) it ends the connection, and pending
   * operations throw SysError `ETIMEDOUT`. `null` (the default) disables probing. Throws SysError, ClosedError, and
   * RangeError unless `idleSeconds` is an integer from 1 to 32767, or null. See SO_KEEPALIVE in socket(7), tcp(7).
   *
   * @example
   * stream.setKeepAlive(60); // a dead peer is detected after ten minutes
   */
  setKeepAlive(idleSeconds: number | null): void {
    if (idleSeconds !== null) {
      checkIdleSeconds(idleSeconds);
      setOption(this.#source, IPPROTO_TCP, TCP_KEEPIDLE, idleSeconds);
      setOption(this.#source, IPPROTO_TCP, TCP_KEEPINTVL, idleSeconds);
    }
    setOption(this.#source, SOL_SOCKET, SO_KEEPALIVE, idleSeconds !== null);
  }

  /**
   * Iterates over the chunks of `readChunk`, up to the end of the stream. Leaving the loop keeps the stream open. Throws
   * what `readChunk` throws.
   *
   * @example
   * for await (const chunk of stream) console.log(chunk.length);
   */
  [Symbol.asyncIterator](): AsyncIterator<Uint8Array> {
    return iterateChunks(() => this.readChunk());
  }

  /**
   * The data that arrives, as a web stream: see `toReadable`. The same object each time. Once it and `writable` have
   * both ended, they close this stream.
   *
   * @example
   * const response = new Response(stream.readable);
   */
  get readable(): ReadableStream<Uint8Array<ArrayBuffer>> {
    this.#web ??= new WebStreams(this);
    return this.#web.readable;
  }

  /**
   * What to send, as a web stream: see `toWritable`. The same object each time.
   *
   * @example
   * await new Response("hello").body?.pipeTo(stream.writable, { preventClose: true });
   */
  get writable(): WritableStream<Uint8Array | string> {
    this.#web ??= new WebStreams(this);
    return this.#web.writable;
  }

  /**
   * Closes the connection without losing what was written: ends our writes, then reads and discards until the peer ends
   * its side, and closes. Returns true then. Returns false if the peer has reset the connection, or has not ended its side
   * within `timeoutMs` milliseconds (5000 by default): the stream is closed as well, and the peer may not have received
   * everything. A peer that sends without end does not delay the deadline. Throws ClosedError, and RangeError unless
   * `timeoutMs` is a number >= 0.
   *
   * Not cancel safe: dropping it closes the stream at once, unless it was never polled. Do not read from the stream at the
   * same time: each read would take bytes from the other. See shutdown(2), and lingering_close of nginx.
   *
   * @example
   * using stream = yield* TcpStream.connect("127.0.0.1:7000");
   * yield* stream.writeAll("the last answer\n");
   * const isReceived = yield* stream.finish({ timeoutMs: 5 });
   */
  finish(options: FinishOptions = {}): Future<boolean> {
    checkObject(options, "finish: options");
    const { timeoutMs = FINISH_TIMEOUT_MS } = options;
    checkMilliseconds(timeoutMs, "finish: timeoutMs");
    return new Finish(this.#source, timeoutMs);
  }

  /**
   * Closes the socket. Pending operations throw ClosedError. Idempotent.
   *
   * The kernel still sends what was written. But if unread input is left, or the peer sends more, it answers with RST,
   * which discards data on both sides: the peer may lose the tail. If the peer may still be sending, use `finish`. See
   * close(2).
   */
  close(): void {
    this.#source.close();
  }

  /** @internal For copy and split. */
  get fdStream(): FdStream {
    return new FdStream(this.#source, true);
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

function checkIdleSeconds(seconds: unknown): void {
  if (typeof seconds !== "number" || !Number.isInteger(seconds) || seconds < 1 || seconds > 32767) {
    throw outOfRange(
      `setKeepAlive: idleSeconds must be an integer from 1 to 32767, or null; got ${describe(seconds)}`,
    );
  }
}

/** Connects to the first address that accepts. Owns the socket until it returns the stream. */
class Connect extends Future<TcpStream> {
  readonly #addresses: SocketAddress[];
  /** The connect to the first of the remaining addresses, once its socket is open. */
  #attempt: ConnectOne | null = null;
  /** The error of the first address, which we throw if all fail: the caller meant that address. */
  #firstError: SysError | null = null;

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
        // If no socket could be opened (without a free fd, for example), no operation has charged the coop budget.
        if (this.#attempt === null) cx.charge();
        this.#attempt?.drop();
        this.#attempt = null;
        this.#addresses.shift();
        if (!(error instanceof SysError)) {
          this.#addresses.length = 0; // another address would fail the same way
          throw error;
        }
        this.#firstError ??= error;
        if (this.#addresses.length === 0) throw this.#firstError;
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

/** Connects one socket to one address. Owns the socket until it completes. */
class ConnectOne extends Operation<TcpStream> {
  readonly #address: SocketAddress;
  #isConnected = false;

  constructor(source: Source, address: SocketAddress) {
    super(source);
    this.#address = address;
  }

  protected override get direction(): typeof WRITE {
    return WRITE;
  }

  protected override attempt(cx: Context): Poll<TcpStream> | Again {
    const { source } = this;
    if ((source.ready & WRITE) === 0) return source.wait(WRITE, this, cx);
    // A repeated connect(2) returns the outcome of the first: 0, its error, or EALREADY. (SO_ERROR is 0 both while
    // connecting and after success, so a spurious poll would look like success.) After EINTR the first connect
    // continues in the background: see connect(2).
    const result = source.sys.connect(source.fd, outgoing().encode(this.#address));
    if (result >= 0) {
      this.#isConnected = true;
      return TcpStream.create(source, this.#address);
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
