// UnixSeqpacket: a connection between processes of one machine that keeps the boundaries of messages. See unix(7).

import { checkConstructor } from "../base/check.ts";
import type { Future } from "../core/future.ts";
import type { OwnedFd } from "../io/owned-fd.ts";
import { Source } from "../io/source.ts";
import { check } from "../sys/errno.ts";
import type { UnixAddress } from "../sys/sockaddr.ts";
import { SHUT_WR, SOCK_SEQPACKET } from "../sys/socket.ts";
import { adoptSocket } from "./from-fd.ts";
import { openSys } from "./socket.ts";
import { ConnectUnix, unixPair } from "./unix-address.ts";
import { UnixPackets } from "./unix-packets.ts";
import { connectUnix, type UnixConnectOptions } from "./unix-stream.ts";

/**
 * A connected unix socket of packets: each message arrives whole, once and in order. A `recv` returns 0 bytes after the
 * peer has closed its end. (It also does for an empty message: do not send any.) It owns its fd; close it with `using` or
 * `close`.
 *
 * @example
 * const [a, b] = UnixSeqpacket.pair();
 * yield* a.send(new Uint8Array([1, 2, 3]));
 * yield* a.send(new Uint8Array([4]));
 * using message = yield* b.recv(new Uint8Array(64));
 * console.log(message.bytes); // 3
 * a.close();
 * b.close();
 */
export class UnixSeqpacket extends UnixPackets {
  private constructor(source: Source) {
    checkConstructor(source, Source, "UnixSeqpacket", "UnixSeqpacket.connect(path)");
    super(source);
  }

  /** @internal */
  static create(source: Source): UnixSeqpacket {
    return new UnixSeqpacket(source);
  }

  /** Connects to a UnixSeqpacketListener. Errors and cancel safety are those of `UnixStream.connect`. */
  static connect(path: UnixAddress, options: UnixConnectOptions = {}): Future<UnixSeqpacket> {
    const connect = new ConnectUnix(SOCK_SEQPACKET, path, UnixSeqpacket.create);
    return connectUnix(connect, options);
  }

  /**
   * Makes a packet socket of a socket that other code opened, and takes ownership of it. Throws SysError (`EBADF`,
   * `ENOTSOCK`), and TypeError for a socket of another kind. After an error the caller still owns the fd. See
   * socket(7).
   */
  static fromFd(fd: number | OwnedFd): UnixSeqpacket {
    return adoptSocket(fd, (source) => new UnixSeqpacket(source), {
      name: "UnixSeqpacket",
      families: ["unix"],
      types: ["seqpacket"],
      isListening: false,
    });
  }

  /** Opens two sockets that are connected to each other. The caller owns both. Throws SysError. See socketpair(2). */
  static pair(): [UnixSeqpacket, UnixSeqpacket] {
    const [a, b] = unixPair(SOCK_SEQPACKET);
    return [new UnixSeqpacket(a), new UnixSeqpacket(b)];
  }

  /** Ends our messages: the peer then receives 0 bytes. Returns at once. Throws SysError, ClosedError. See shutdown(2). */
  shutdown(): void {
    check(openSys(this.source).shutdown(this.source.fd, SHUT_WR), "shutdown");
  }
}
