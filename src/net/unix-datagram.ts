// UnixDatagram: datagrams between processes of one machine. They are neither lost nor reordered. See unix(7).

import { checkConstructor } from "../base/check.ts";
import type { Future } from "../core/future.ts";
import type { OwnedFd } from "../io/owned-fd.ts";
import { Source } from "../io/source.ts";
import { currentSys } from "../reactor/reactor.ts";
import { check } from "../sys/errno.ts";
import { checkUnixAddress, type UnixAddress } from "../sys/sockaddr.ts";
import { SOCK_DGRAM } from "../sys/socket.ts";
import { adoptSocket } from "./from-fd.ts";
import { checkSendable, openSys, outgoing } from "./socket.ts";
import {
  bindOptions,
  bindUnix,
  openUnix,
  type UnixBindOptions,
  type UnixFile,
  unixPair,
} from "./unix-address.ts";
import { checkFds, type SendFdsOptions, SendUnix } from "./unix-message.ts";
import { UnixPackets } from "./unix-packets.ts";

/**
 * A unix datagram socket. A send waits while the receiver's queue is full. The socket owns its fd and its file; close it
 * with `using` or `close`.
 *
 * @example
 * using server = UnixDatagram.bind("\0guillotine-example-4");
 * using client = UnixDatagram.bind(""); // with a name of its own, so that the server can reply
 * yield* client.sendTo(new Uint8Array([1, 2]), "\0guillotine-example-4");
 * using message = yield* server.recv(new Uint8Array(64));
 * yield* server.sendTo(new Uint8Array([3]), message.address);
 */
export class UnixDatagram extends UnixPackets {
  /** The file that this socket created; null once it is removed, and if there is none. */
  #file: UnixFile | null;

  private constructor(source: Source, file: UnixFile | null) {
    checkConstructor(source, Source, "UnixDatagram", "UnixDatagram.bind(address)");
    super(source);
    this.#file = file;
  }

  /** Opens a socket without an address, to send from. Nobody can reply to it. Throws SysError. See socket(2). */
  static open(): UnixDatagram {
    return new UnixDatagram(openUnix(currentSys(), SOCK_DGRAM), null);
  }

  /** Binds to an address; the arguments and the errors are those of `UnixListener.bind`. `close` removes the file. */
  static override bind(address: UnixBindOptions | UnixAddress): UnixDatagram {
    const { source, file } = bindUnix(SOCK_DGRAM, bindOptions(address));
    return new UnixDatagram(source, file);
  }

  /**
   * Makes a datagram socket of a socket that other code opened, and takes ownership of it. Throws SysError (`EBADF`,
   * `ENOTSOCK`), and TypeError for a socket of another kind. After an error the caller still owns the fd. See
   * socket(7).
   */
  static fromFd(fd: number | OwnedFd): UnixDatagram {
    return adoptSocket(fd, (source) => new UnixDatagram(source, null), {
      name: "UnixDatagram",
      families: ["unix"],
      types: ["datagram"],
      isListening: false,
    });
  }

  /** Opens two sockets that are connected to each other. The caller owns both. Throws SysError. See socketpair(2). */
  static pair(): [UnixDatagram, UnixDatagram] {
    const [a, b] = unixPair(SOCK_DGRAM);
    return [new UnixDatagram(a, null), new UnixDatagram(b, null)];
  }

  /**
   * Sets the peer: `send` sends to it, and the socket receives only its datagrams. Returns at once. Throws SysError
   * (`ENOENT`, `ECONNREFUSED`), ClosedError, TypeError and RangeError. See connect(2).
   */
  connect(path: UnixAddress): void {
    checkUnixAddress(path, "connect: path");
    const sys = openSys(this.source);
    check(sys.connect(this.source.fd, outgoing().encodeUnix(path)), "connect", path);
  }

  /**
   * Sends one datagram to `path`, with `fds`. Errors and cancel safety are those of `send`; also SysError `ENOENT` if
   * there is no such socket. See sendmsg(2).
   */
  sendTo(data: Uint8Array, path: UnixAddress, options?: SendFdsOptions): Future<number> {
    checkSendable(data);
    checkUnixAddress(path, "sendTo: path");
    return new SendUnix(this.source, data, checkFds(options), path);
  }

  /**
   * Removes the socket's file, unless another socket has replaced it, and closes the socket. Idempotent; does nothing after
   * `release`. See close(2).
   */
  override close(): void {
    if (!this.source.isClosed) this.#file?.remove();
    this.#file = null;
    super.close();
  }
}
