// TcpListener: a listening TCP socket. See tcp(7), listen(2).

import { checkBoolean, checkConstructor } from "../base/check.ts";
import type { Future } from "../core/future.ts";
import type { OwnedFd } from "../io/owned-fd.ts";
import { Source } from "../io/source.ts";
import { currentSys } from "../reactor/reactor.ts";
import { check } from "../sys/errno.ts";
import { parseAddress, type SocketAddress } from "../sys/sockaddr.ts";
import { SO_REUSEADDR, SO_REUSEPORT, SOCK_STREAM, SOL_SOCKET } from "../sys/socket.ts";
import { adoptSocket, IP, TCP_PROTOCOLS } from "./from-fd.ts";
import { checkBacklog, DEFAULT_BACKLOG, ListenerSocket } from "./listener-socket.ts";
import { ByName } from "./lookup.ts";
import { type OptionValues, setFlag, setOptions } from "./options.ts";
import {
  checkCall,
  localAddressOf,
  openSocket,
  outgoing,
  resolveScope,
  setOption,
} from "./socket.ts";
import { NO_DELAY, TcpOptions } from "./tcp-options.ts";
import { TcpStream } from "./tcp-stream.ts";

/** The address to listen on, and options. */
export interface ListenOptions extends SocketAddress {
  /** The number of connections that may wait to be accepted. The kernel caps it at net.core.somaxconn. Default 4096. */
  readonly backlog?: number;
  /** SO_REUSEPORT: several listeners may share the port. Default false. */
  readonly reusePort?: boolean;
  /** More options, set before the bind: `{ v6Only: true, noDelay: true }`. Accepted connections inherit most of them. */
  readonly options?: OptionValues<TcpOptions>;
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
export class TcpListener extends ListenerSocket<TcpStream> {
  /** The bound address, with the port that the kernel chose for port 0. See getsockname(2). */
  readonly localAddress: SocketAddress;

  private constructor(source: Source) {
    checkConstructor(source, Source, "TcpListener", "TcpListener.bind(address)");
    super(source, (accepted, peer) => TcpStream.create(accepted, peer.pack()));
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
  static override bind(address: ListenOptions | string): TcpListener {
    const at = parseAddress(address);
    const {
      backlog = DEFAULT_BACKLOG,
      reusePort = false,
      options,
    } = typeof address === "string" ? {} : (address as Partial<ListenOptions>);
    checkBacklog(backlog, "address.backlog");
    const source = openSocket(currentSys(), SOCK_STREAM, at);
    const { sys, fd } = source;
    try {
      setOption(source, SOL_SOCKET, SO_REUSEADDR);
      if (reusePort) setOption(source, SOL_SOCKET, SO_REUSEPORT);
      setOptions(new TcpOptions(source), options, "address.options");
      checkCall(sys.bind(fd, outgoing().encode(resolveScope(sys, at))), "bind", at);
      check(sys.listen(fd, backlog), "listen", at);
      return new TcpListener(source);
    } catch (error) {
      source.close();
      throw error;
    }
  }

  /**
   * Makes a listener of a socket that other code opened, and takes ownership of it. Throws SysError (`EBADF`,
   * `ENOTSOCK`), and TypeError for a socket of another kind. After an error the caller still owns the fd. See
   * sd_listen_fds(3).
   */
  static fromFd(fd: number | OwnedFd): TcpListener {
    return adoptSocket(fd, (source) => new TcpListener(source), {
      name: "TcpListener",
      families: IP,
      types: ["stream"],
      protocols: TCP_PROTOCOLS,
      isListening: true,
    });
  }

  /**
   * Same as `bind`, for an address with a name, such as `"example.com:7000"`: listens on the first address of the name.
   * Throws what `bind` throws, and LookupError (`ENOTFOUND`, `EAI_AGAIN`). Cancel safe: a dropped bind has bound nothing.
   * See getaddrinfo(3).
   *
   * @example
   * using listener = yield* TcpListener.bindByName("localhost:0");
   */
  static bindByName(address: ListenOptions | string): Future<TcpListener> {
    const options = typeof address === "string" ? {} : address;
    return new ByName(address, undefined, (at) => TcpListener.bind({ ...options, ...at }));
  }

  /**
   * Sends small writes of the connections that are accepted from now on at once: they inherit the option. Throws SysError,
   * ClosedError. See TCP_NODELAY in tcp(7).
   */
  setNoDelay(isOn = true): void {
    checkBoolean(isOn, "setNoDelay: isOn");
    setFlag(this.source, NO_DELAY, isOn);
  }

  /** The options of the socket, to read and to set. Connections that are accepted later inherit most of them. */
  get options(): TcpOptions {
    return new TcpOptions(this.source);
  }
}
