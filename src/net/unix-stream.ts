// UnixStream: a connected byte stream between processes of one machine, which also passes fds. See unix(7).

import { checkConstructor, checkMilliseconds, checkObject } from "../base/check.ts";
import { timeout } from "../combine/timeout.ts";
import type { Future } from "../core/future.ts";
import type { OwnedFd } from "../io/owned-fd.ts";
import { Source } from "../io/source.ts";
import type { UnixAddress } from "../sys/sockaddr.ts";
import { checkBuffer, SOCK_STREAM } from "../sys/socket.ts";
import { adoptSocket } from "./from-fd.ts";
import { SocketOptions } from "./options.ts";
import { StreamSocket } from "./stream-socket.ts";
import { ConnectUnix, unixAddressOf, unixPair, unixPeerOf } from "./unix-address.ts";
import {
  checkFds,
  checkMaxFds,
  type PeerCredentials,
  peerCredentialsOf,
  peerPidfdOf,
  type ReceiveFdsOptions,
  ReceiveUnix,
  type SendFdsOptions,
  SendUnix,
  type UnixMessage,
} from "./unix-message.ts";

/** How to connect a unix socket. */
export interface UnixConnectOptions {
  /** The limit of the connect, in milliseconds. It waits while the backlog of the listener is full. Default: no limit. */
  readonly timeoutMs?: number | undefined;
}

/** Returns the future of a connected unix socket. Throws TypeError and RangeError for invalid arguments. */
export function connectUnix<S extends Disposable>(
  connect: ConnectUnix<S>,
  options: UnixConnectOptions,
): Future<S> {
  checkObject(options, "connect: options");
  const { timeoutMs } = options;
  if (timeoutMs === undefined) return connect;
  checkMilliseconds(timeoutMs, "connect: timeoutMs");
  return timeout(timeoutMs, connect);
}

/**
 * A connected unix stream. It owns its fd; close it with `using` or `close`. It is a byte stream as a TcpStream is, and
 * `send` and `recv` also pass fds to another process.
 *
 * @example
 * const [ours, theirs] = UnixStream.pair();
 * yield* ours.writeAll("hello");
 * console.log(yield* theirs.readChunk());
 * ours.close();
 * theirs.close();
 */
export class UnixStream extends StreamSocket {
  private constructor(source: Source) {
    checkConstructor(source, Source, "UnixStream", "UnixStream.connect(path)");
    super(source);
  }

  /** @internal */
  static create(source: Source): UnixStream {
    return new UnixStream(source);
  }

  /**
   * Connects to a listener at a path, or at an abstract name (`"\0name"`). The caller owns the stream. Waits while the
   * listener's backlog is full. Throws SysError (`ENOENT`, `ECONNREFUSED` if no process listens there, `EACCES`, ...),
   * TimeoutError, and TypeError or RangeError for invalid arguments. Cancel safe: a dropped connect closes its socket.
   * See connect(2), unix(7).
   *
   * @example
   * using listener = UnixListener.bind("\0guillotine-example");
   * using stream = yield* UnixStream.connect("\0guillotine-example");
   */
  static connect(path: UnixAddress, options: UnixConnectOptions = {}): Future<UnixStream> {
    const connect = new ConnectUnix(SOCK_STREAM, path, UnixStream.create);
    return connectUnix(connect, options);
  }

  /**
   * Opens two streams that are connected to each other. The caller owns both. Throws SysError (`EMFILE`). See
   * socketpair(2).
   *
   * @example
   * const [a, b] = UnixStream.pair();
   * yield* a.writeAll("hello");
   * console.log(yield* b.read(new Uint8Array(64))); // 5
   * a.close();
   * b.close();
   */
  static pair(): [UnixStream, UnixStream] {
    const [a, b] = unixPair(SOCK_STREAM);
    return [new UnixStream(a), new UnixStream(b)];
  }

  /**
   * Makes a stream of a socket that other code opened, and takes ownership of it. Throws SysError (`EBADF`,
   * `ENOTSOCK`), and TypeError for a socket of another kind. After an error the caller still owns the fd. See
   * socket(7).
   */
  static fromFd(fd: number | OwnedFd): UnixStream {
    return adoptSocket(fd, (source) => new UnixStream(source), {
      name: "UnixStream",
      families: ["unix"],
      types: ["stream"],
      isListening: false,
    });
  }

  /** The options of the socket, to read and to set. */
  get options(): SocketOptions {
    return new SocketOptions(this.source);
  }

  /** The address that this end is bound to; usually `""`. Throws SysError, ClosedError. See getsockname(2). */
  get localAddress(): UnixAddress {
    return unixAddressOf(this.source);
  }

  /** The address of the listener; `""` for an accepted stream and a pair. Throws SysError, ClosedError. See getpeername(2). */
  get remoteAddress(): UnixAddress {
    return unixPeerOf(this.source);
  }

  /**
   * Returns the process, user and group that connected, listened or opened the pair at the other end, at that time. Throws
   * SysError, ClosedError. See SO_PEERCRED in unix(7).
   *
   * @example
   * const [a, b] = UnixStream.pair();
   * console.log(a.peerCredentials().pid === process.pid); // true
   * a.close();
   * b.close();
   */
  peerCredentials(): PeerCredentials {
    return peerCredentialsOf(this.source);
  }

  /**
   * Returns a pidfd of the process at the other end. Unlike its pid, it never means another process. It becomes readable
   * when the process ends. Throws SysError (`ENOPROTOOPT` before Linux 6.5), ClosedError. See pidfd_open(2).
   */
  peerPidfd(): OwnedFd {
    return peerPidfdOf(this.source);
  }

  /**
   * Sends at least the first byte of `data`, with `fds`. Returns the number of bytes, which may be fewer than there are.
   * The fds go with the first byte: send the rest without them. They stay open here. Throws SysError (`EPIPE`, `EBADF`,
   * `ETOOMANYREFS`), ClosedError, and TypeError or RangeError for invalid arguments. Cancel safe: a dropped send has sent
   * nothing. See sendmsg(2), SCM_RIGHTS in unix(7).
   */
  send(data: Uint8Array, options?: SendFdsOptions): Future<number> {
    checkBuffer(data, "data");
    return new SendUnix(this.source, data, checkFds(options), null);
  }

  /**
   * Waits for data and receives it into `buffer`, together with the fds that came with it: at most those of one `send`.
   * The message owns the fds; bind it with `using`. Its `bytes` are 0 after the peer has ended its side. (A `read` of a
   * message with fds closes them.) Throws SysError, ClosedError, PassedFdsError if more fds came than `maxFds` or than
   * this process can open, and TypeError or RangeError for invalid arguments. Cancel safe: a dropped receive has received
   * nothing. See recvmsg(2).
   *
   * @example
   * const [a, b] = UnixStream.pair();
   * yield* a.send(new Uint8Array([1]), { fds: [a] });
   * using message = yield* b.recv(new Uint8Array(64));
   * console.log(message.bytes, message.fds.length); // 1 1
   * const fd = message.fds[0]?.release(); // the others are closed at the end of this block
   */
  recv(buffer: Uint8Array, options?: ReceiveFdsOptions): Future<UnixMessage> {
    checkBuffer(buffer);
    return new ReceiveUnix(this.source, buffer, checkMaxFds(options), true);
  }
}
