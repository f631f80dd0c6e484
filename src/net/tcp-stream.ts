// TcpStream: a connected socket, and the connect that creates one. See tcp(7), connect(2).

import { checkBoolean, checkConstructor, outOfRange } from "../base/check.ts";
import { describe } from "../base/describe.ts";
import type { Future } from "../core/future.ts";
import { Source } from "../io/source.ts";
import {
  type AddressLike,
  type PackedAddress,
  type SocketAddress,
  unpack,
} from "../sys/sockaddr.ts";
import {
  IPPROTO_TCP,
  SO_KEEPALIVE,
  SOL_SOCKET,
  TCP_KEEPIDLE,
  TCP_KEEPINTVL,
  TCP_NODELAY,
} from "../sys/socket.ts";
import { type ConnectOptions, connectTcp } from "./connect.ts";
import { localAddressOf, setOption } from "./socket.ts";
import { StreamSocket } from "./stream-socket.ts";

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
export class TcpStream extends StreamSocket {
  #remoteAddress: PackedAddress;

  private constructor(source: Source, remoteAddress: PackedAddress) {
    checkConstructor(source, Source, "TcpStream", "TcpStream.connect(address)");
    super(source);
    this.#remoteAddress = remoteAddress;
  }

  /** @internal */
  static create(source: Source, remoteAddress: PackedAddress): TcpStream {
    return new TcpStream(source, remoteAddress);
  }

  /**
   * Connects to an IP literal, `localhost` (127.0.0.1 and ::1) or a name. The addresses of a name are tried per RFC 8305
   * (Happy Eyeballs): the families alternate, and the next address is tried after `delayMs` or a failure; the first that
   * accepts wins, and the sockets of the others are closed. The caller owns the stream.
   *
   * Throws SysError if the only address failed (`ECONNREFUSED`, `ETIMEDOUT`, ...), ConnectError if several did,
   * LookupError for a name without an address (`ENOTFOUND`, `EAI_AGAIN`), TimeoutError after `timeoutMs`, and TypeError
   * or RangeError for an invalid argument. Cancel safe: a dropped connect closes its sockets. See connect(2).
   *
   * @example
   * using stream = yield* TcpStream.connect("127.0.0.1:7000");
   * using other = yield* TcpStream.connect({ hostname: "localhost", port }, { timeoutMs: 5000 });
   */
  static connect(address: AddressLike, options: ConnectOptions = {}): Future<TcpStream> {
    return connectTcp(address, options, (source, to) => TcpStream.create(source, to));
  }

  /** The peer's address when the connection was established. */
  get remoteAddress(): SocketAddress {
    this.#remoteAddress = unpack(this.#remoteAddress);
    return this.#remoteAddress;
  }

  /** The local address. Throws ClosedError once the stream is closed, and SysError. See getsockname(2). */
  get localAddress(): SocketAddress {
    return localAddressOf(this.source);
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
    setOption(this.source, IPPROTO_TCP, TCP_NODELAY, isOn);
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
      setOption(this.source, IPPROTO_TCP, TCP_KEEPIDLE, idleSeconds);
      setOption(this.source, IPPROTO_TCP, TCP_KEEPINTVL, idleSeconds);
    }
    setOption(this.source, SOL_SOCKET, SO_KEEPALIVE, idleSeconds !== null);
  }
}

function checkIdleSeconds(seconds: unknown): void {
  if (typeof seconds !== "number" || !Number.isInteger(seconds) || seconds < 1 || seconds > 32767) {
    throw outOfRange(
      `setKeepAlive: idleSeconds must be an integer from 1 to 32767, or null; got ${describe(seconds)}`,
    );
  }
}
