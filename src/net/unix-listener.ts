// UnixListener and UnixSeqpacketListener: listening unix sockets, and their files. See unix(7), listen(2).

import { checkConstructor } from "../base/check.ts";
import type { OwnedFd } from "../io/owned-fd.ts";
import { Source } from "../io/source.ts";
import { check } from "../sys/errno.ts";
import type { UnixAddress } from "../sys/sockaddr.ts";
import { SOCK_SEQPACKET, SOCK_STREAM } from "../sys/socket.ts";
import { adoptSocket } from "./from-fd.ts";
import { checkBacklog, DEFAULT_BACKLOG, ListenerSocket } from "./listener-socket.ts";
import {
  bindOptions,
  bindUnix,
  type UnixBindOptions,
  type UnixFile,
  unixAddressOf,
} from "./unix-address.ts";
import { UnixSeqpacket } from "./unix-seqpacket.ts";
import { UnixStream } from "./unix-stream.ts";

/** Where to listen, and how. */
export interface UnixListenOptions extends UnixBindOptions {
  /** The number of connections that may wait to be accepted. The kernel caps it at net.core.somaxconn. Default 4096. */
  readonly backlog?: number;
}

/** A bound and listening socket, and its file. */
interface Listening {
  readonly source: Source;
  readonly file: UnixFile | null;
}

/** Binds and listens. Throws SysError, and TypeError and RangeError for invalid arguments. */
function listenUnix(type: number, address: UnixListenOptions | UnixAddress): Listening {
  const options: UnixListenOptions = bindOptions(address);
  const backlog = checkBacklog(options.backlog ?? DEFAULT_BACKLOG, "bind: backlog");
  const { source, file } = bindUnix(type, options);
  const result = source.sys.listen(source.fd, backlog);
  if (result < 0) {
    file?.remove();
    source.close();
  }
  check(result, "listen", options.path);
  return { source, file };
}

/** A listening unix socket. */
export abstract class UnixListenerSocket<S extends Disposable> extends ListenerSocket<S> {
  /** The file that this socket created; null once it is removed, and if there is none. */
  #file: UnixFile | null;

  /** @internal */
  constructor(source: Source, file: UnixFile | null, wrap: (source: Source) => S) {
    super(source, wrap);
    this.#file = file;
  }

  /** The bound address. Throws SysError, ClosedError. See getsockname(2). */
  get localAddress(): UnixAddress {
    return unixAddressOf(this.source);
  }

  /**
   * Removes the file of the socket, unless another socket has replaced it, and closes the socket. Connections in the
   * backlog are reset. Pending accepts throw ClosedError. Idempotent; does nothing after `release`, with which a server
   * hands its socket over. See close(2).
   */
  override close(): void {
    if (!this.source.isClosed) this.#file?.remove(); // after a release, another owner listens there
    this.#file = null;
    super.close();
  }
}

/**
 * A listening unix socket of streams. It owns its fd and its file; close it with `using` or `close`.
 *
 * @example
 * using listener = UnixListener.bind("\0guillotine-example-2");
 * for (;;) {
 *   const stream = yield* listener.accept();
 *   spawn(() => stream.writeAll("hello\n"));
 * }
 */
export class UnixListener extends UnixListenerSocket<UnixStream> {
  private constructor(source: Source, file: UnixFile | null) {
    checkConstructor(source, Source, "UnixListener", "UnixListener.bind(address)");
    super(source, file, UnixStream.create);
  }

  /**
   * Listens at a path, or at an abstract name (`"\0name"`); `""` lets the kernel choose an abstract name, which
   * `localAddress` contains. `close` removes the file. Throws SysError (`EADDRINUSE`, `ENOENT` if the directory is
   * missing, `EACCES`, ...), and TypeError or RangeError for invalid arguments, also for a path of more than 107 bytes.
   * See bind(2), unix(7).
   *
   * @example
   * using listener = UnixListener.bind({ path: "/tmp/guillotine.sock", mode: 0o600, replaceStale: true });
   */
  static override bind(address: UnixListenOptions | UnixAddress): UnixListener {
    const { source, file } = listenUnix(SOCK_STREAM, address);
    return new UnixListener(source, file);
  }

  /**
   * Makes a listener of a socket that other code opened, and takes ownership of it. Throws SysError (`EBADF`,
   * `ENOTSOCK`), and TypeError for a socket of another kind. After an error the caller still owns the fd. See
   * sd_listen_fds(3).
   */
  static fromFd(fd: number | OwnedFd): UnixListener {
    // null: whoever bound it owns its file.
    return adoptSocket(fd, (source) => new UnixListener(source, null), {
      name: "UnixListener",
      families: ["unix"],
      types: ["stream"],
      isListening: true,
    });
  }
}

/**
 * A listening unix socket of packets. It owns its fd and its file; close it with `using` or `close`.
 *
 * @example
 * using listener = UnixSeqpacketListener.bind("\0guillotine-example-3");
 * using client = yield* UnixSeqpacket.connect("\0guillotine-example-3");
 * using server = yield* listener.accept();
 */
export class UnixSeqpacketListener extends UnixListenerSocket<UnixSeqpacket> {
  private constructor(source: Source, file: UnixFile | null) {
    checkConstructor(
      source,
      Source,
      "UnixSeqpacketListener",
      "UnixSeqpacketListener.bind(address)",
    );
    super(source, file, UnixSeqpacket.create);
  }

  /** Listens; the arguments and the errors are those of `UnixListener.bind`. */
  static override bind(address: UnixListenOptions | UnixAddress): UnixSeqpacketListener {
    const { source, file } = listenUnix(SOCK_SEQPACKET, address);
    return new UnixSeqpacketListener(source, file);
  }

  /**
   * Makes a listener of a socket that other code opened, and takes ownership of it. Throws SysError (`EBADF`,
   * `ENOTSOCK`), and TypeError for a socket of another kind. After an error the caller still owns the fd. See
   * sd_listen_fds(3).
   */
  static fromFd(fd: number | OwnedFd): UnixSeqpacketListener {
    return adoptSocket(fd, (source) => new UnixSeqpacketListener(source, null), {
      name: "UnixSeqpacketListener",
      families: ["unix"],
      types: ["seqpacket"],
      isListening: true,
    });
  }
}
