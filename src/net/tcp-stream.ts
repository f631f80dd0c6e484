// TcpStream: a connected socket, and the connect that creates one. See tcp(7), connect(2).

import { checkBoolean, checkConstructor } from "../base/check.ts";
import type { Future } from "../core/future.ts";
import type { OwnedFd } from "../io/owned-fd.ts";
import { Source } from "../io/source.ts";
import {
  type AddressLike,
  type PackedAddress,
  type SocketAddress,
  unpack,
} from "../sys/sockaddr.ts";
import { type ConnectOptions, connectTcp } from "./connect.ts";
import { adoptSocket, IP, TCP_PROTOCOLS } from "./from-fd.ts";
import { setFlag } from "./options.ts";
import { localAddressOf, peerAddressOf } from "./socket.ts";
import { StreamSocket } from "./stream-socket.ts";
import { type KeepAliveOptions, NO_DELAY, TcpOptions } from "./tcp-options.ts";

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

  /**
   * Makes a stream of a connected socket that other code opened, and takes ownership of it. Throws SysError (`EBADF`,
   * `ENOTSOCK`, `ENOTCONN` also if the peer has reset the connection), and TypeError for a socket of another kind. After an
   * error the caller still owns the fd. See socket(7).
   */
  static fromFd(fd: number | OwnedFd): TcpStream {
    return adoptSocket(fd, (source) => new TcpStream(source, peerAddressOf(source)), {
      name: "TcpStream",
      families: IP,
      types: ["stream"],
      protocols: TCP_PROTOCOLS,
      isListening: false,
    });
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
    setFlag(this.source, NO_DELAY, isOn);
  }

  /**
   * Detects dead peers. After `idleMs` of silence the kernel probes the peer, then again every `intervalMs` (by default
   * `idleMs`). After `count` unanswered probes (9 by default) it ends the connection, and pending operations throw SysError
   * `ETIMEDOUT`. `null`, the default, disables probing. The kernel rounds up to seconds. Throws SysError, ClosedError, and
   * TypeError or RangeError for invalid options. See SO_KEEPALIVE in socket(7), tcp(7).
   *
   * @example
   * stream.setKeepAlive({ idleMs: 60_000, intervalMs: 10_000, count: 3 }); // a dead peer is detected after 90 seconds
   */
  setKeepAlive(options: KeepAliveOptions | null): void {
    this.options.keepAlive = options;
  }

  /**
   * The options of the socket, to read and to set.
   *
   * @example
   * stream.options.userTimeoutMs = 10_000;
   * console.log(stream.options.info.state); // established
   */
  get options(): TcpOptions {
    return new TcpOptions(this.source);
  }
}
