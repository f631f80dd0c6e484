// TcpListener: a listening socket, and how an accept waits while the process is out of fds. See tcp(7), accept(2).
//
// A socket may be created outside a runtime; only its futures need one. The creator owns the socket and closes it,
// usually with `using`.

import { checkConstructor, outOfRange } from "../base/check.ts";
import { describe } from "../base/describe.ts";
import { iterateValues } from "../core/async-iteration.ts";
import type { Context } from "../core/context.ts";
import type { Future } from "../core/future.ts";
import { Again, Pending, type Poll } from "../core/poll.ts";
import { FdPause, isFdShortage } from "../io/fd-shortage.ts";
import { Operation } from "../io/operation.ts";
import { READ, Source } from "../io/source.ts";
import { currentSys } from "../reactor/reactor.ts";
import {
  check,
  EAGAIN,
  ECONNABORTED,
  EHOSTDOWN,
  EHOSTUNREACH,
  ENETDOWN,
  ENETUNREACH,
  ENONET,
  ENOPROTOOPT,
  EOPNOTSUPP,
  EPROTO,
  SysError,
} from "../sys/errno.ts";
import { parseAddress, type SocketAddress } from "../sys/sockaddr.ts";
import { SO_REUSEADDR, SO_REUSEPORT, SOCK_STREAM, SOL_SOCKET } from "../sys/socket.ts";
import { incoming, localAddressOf, openSocket, outgoing, setOption } from "./socket.ts";
import { TcpStream } from "./tcp-stream.ts";

/** The address to listen on, and options. */
export interface ListenOptions extends SocketAddress {
  /** The number of connections that may wait to be accepted. The kernel caps it at net.core.somaxconn. Default 4096. */
  readonly backlog?: number;
  /** SO_REUSEPORT: several listeners may share the port. Default false. */
  readonly reusePort?: boolean;
}

/**
 * A listening TCP socket. It owns its fd; close it with `using` or `close`.
 *
 * @example
 * using listener = TcpListener.bind("127.0.0.1:7000");
 * for (;;) {
 *   const stream = yield* listener.accept();
 *   spawn(() => talk(stream));
 * }
 */
export class TcpListener implements AsyncIterable<TcpStream>, Disposable {
  readonly #source: Source;
  readonly #shortage: Shortage = { isKnown: false };
  /** The latest accept, for reuse. */
  #accept: Accept | null = null;
  /** The bound address, with the port that the kernel chose for port 0. See getsockname(2). */
  readonly localAddress: SocketAddress;

  private constructor(source: Source) {
    checkConstructor(source, Source, "TcpListener", "TcpListener.bind(address)");
    this.#source = source;
    this.localAddress = localAddressOf(source);
  }

  /**
   * Listens on `address`: `"127.0.0.1:7000"`, `"[::1]:7000"`, or an object. For port 0 the kernel picks a free
   * port, which `localAddress` contains. Throws SysError (`EADDRINUSE`, `EACCES`, ...), and TypeError or RangeError
   * for an invalid argument. See bind(2), listen(2).
   *
   * @example
   * using listener = TcpListener.bind({ hostname: "127.0.0.1", port: 0, reusePort: true });
   * console.log(listener.localAddress.port);
   */
  static bind(address: ListenOptions | string): TcpListener {
    const at = parseAddress(address);
    const { backlog = 4096, reusePort = false } =
      typeof address === "string" ? {} : (address as Partial<ListenOptions>);
    if (!Number.isInteger(backlog) || backlog < 1 || backlog > 0x7fffffff) {
      throw outOfRange(
        `address.backlog must be an integer from 1 to 2147483647; got ${describe(backlog)}`,
      );
    }
    const source = openSocket(currentSys(), SOCK_STREAM, at);
    const { sys, fd } = source;
    try {
      setOption(source, SOL_SOCKET, SO_REUSEADDR);
      if (reusePort) setOption(source, SOL_SOCKET, SO_REUSEPORT);
      check(sys.bind(fd, outgoing().encode(at)), "bind", at);
      check(sys.listen(fd, backlog), "listen", at);
      return new TcpListener(source);
    } catch (error) {
      source.close();
      throw error;
    }
  }

  /**
   * Accepts the next connection. The caller owns the stream. Several tasks may accept at once. While the process
   * is out of fds, the accept waits until one is free; the listener emits one process warning per shortage. Throws
   * ClosedError once the listener is closed, and SysError. Cancel safe: a dropped accept loses no connection; the
   * next accept receives it. See accept(2).
   */
  accept(): Future<TcpStream> {
    if (!this.#accept?.tryReuse()) this.#accept = new Accept(this.#source, this.#shortage);
    return this.#accept;
  }

  /**
   * Iterates over the connections, without end. The caller owns each stream. Leaving the loop keeps the listener
   * open. Throws what `accept` throws.
   *
   * @example
   * using listener = TcpListener.bind("127.0.0.1:7000");
   * for await (const stream of listener) spawn(() => talk(stream));
   */
  [Symbol.asyncIterator](): AsyncIterator<TcpStream> {
    return iterateValues(() => this.accept());
  }

  /** Closes the socket. Pending accepts throw ClosedError. Idempotent. See close(2). */
  close(): void {
    this.#source.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/** Errors of a pending connection, not of the listener. The caller must retry, per accept(2). */
const CONNECTION_ERRNOS: ReadonlySet<number> = new Set([
  -ECONNABORTED,
  -ENETDOWN,
  -EPROTO,
  -ENOPROTOOPT,
  -EHOSTDOWN,
  -ENONET,
  -EHOSTUNREACH,
  -EOPNOTSUPP,
  -ENETUNREACH,
]);

/** A listener's fd shortage, shared by its accepts so that the listener warns once per shortage. */
interface Shortage {
  /** True from the first failed accept until the listener's queue is empty. */
  isKnown: boolean;
}

class Accept extends Operation<TcpStream> {
  readonly #shortage: Shortage;
  /** Created by the first shortage. While a pause lasts, attempts make no syscall. */
  #pause: FdPause | null = null;

  constructor(source: Source, shortage: Shortage) {
    super(source);
    this.#shortage = shortage;
  }

  protected override get direction(): typeof READ {
    return READ;
  }

  protected override attempt(cx: Context): Poll<TcpStream> | Again {
    const { source } = this;
    if (this.#pause !== null) {
      if (!source.isClosed && this.#pause.isWaiting(cx)) return Pending;
      this.#endPause();
    }
    if ((source.ready & READ) === 0) return source.wait(READ, this, cx);
    const fd = source.sys.accept(source.fd, incoming());
    if (fd >= 0) {
      this.#pause?.reset();
      return TcpStream.create(new Source(source.sys, fd), incoming().pack());
    }
    if (CONNECTION_ERRNOS.has(fd)) return Again;
    if (isFdShortage(fd)) return this.#beginPause(fd, cx);
    if (fd === -EAGAIN) this.#shortage.isKnown = false;
    return this.onErrno(fd, cx);
  }

  #beginPause(errno: number, cx: Context): Pending {
    if (!this.#shortage.isKnown) {
      this.#shortage.isKnown = true;
      const { code } = new SysError(errno, "accept4");
      process.emitWarning(
        `accept on fd ${this.source.fd}: ${code}: connections wait until a file descriptor is free`,
        { code: "GUILLOTINE_FD_SHORTAGE" },
      );
    }
    this.#pause ??= new FdPause();
    this.#pause.begin(cx);
    this.source.clearReady(READ);
    return this.source.wait(READ, this, cx);
  }

  protected override errorOf(errno: number): Error {
    return new SysError(errno, "accept4");
  }

  override reclaim(stream: TcpStream): void {
    stream.close();
  }

  protected override release(): void {
    this.#endPause();
    super.release();
  }

  #endPause(): void {
    if (!this.#pause?.hasBegun) return;
    this.#pause.end();
    // Connections are still queued, and epoll reports no new edge for them. So let another accept try.
    this.source.retryReads();
  }
}
