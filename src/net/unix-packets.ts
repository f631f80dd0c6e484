// UnixPackets: what UnixDatagram and UnixSeqpacket share: messages that arrive whole, with fds and credentials.

import { checkBoolean } from "../base/check.ts";
import type { Future } from "../core/future.ts";
import type { OwnedFd } from "../io/owned-fd.ts";
import type { UnixAddress } from "../sys/sockaddr.ts";
import { checkBuffer, SO_PASSCRED, SOL_SOCKET } from "../sys/socket.ts";
import { Socket } from "./base-socket.ts";
import { SocketOptions } from "./options.ts";
import { checkSendable, setOption } from "./socket.ts";
import { unixAddressOf, unixPeerOf } from "./unix-address.ts";
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

/** A unix socket that carries messages. Each arrives whole, or not at all. */
export abstract class UnixPackets extends Socket {
  /** The options of the socket, to read and to set. */
  get options(): SocketOptions {
    return new SocketOptions(this.source);
  }

  /** The address that this end is bound to; `""` if it is not. Throws SysError, ClosedError. See getsockname(2). */
  get localAddress(): UnixAddress {
    return unixAddressOf(this.source);
  }

  /** The address of the connected peer. Throws SysError (`ENOTCONN`), ClosedError. See getpeername(2). */
  get remoteAddress(): UnixAddress {
    return unixPeerOf(this.source);
  }

  /** Returns the process, user and group at the other end. Throws SysError, ClosedError. See SO_PEERCRED in unix(7). */
  peerCredentials(): PeerCredentials {
    return peerCredentialsOf(this.source);
  }

  /**
   * Returns a pidfd of the process at the other end. Throws SysError (`ENOPROTOOPT` before Linux 6.5, `ENODATA` without a
   * peer), ClosedError. See pidfd_open(2).
   */
  peerPidfd(): OwnedFd {
    return peerPidfdOf(this.source);
  }

  /**
   * Makes each message carry the process, user and group of its sender, which the kernel vouches for: `credentials` of
   * what `recv` returns. Off by default. Throws SysError, ClosedError. See SO_PASSCRED in unix(7).
   */
  setPassCredentials(isOn = true): void {
    checkBoolean(isOn, "setPassCredentials: isOn");
    setOption(this.source, SOL_SOCKET, SO_PASSCRED, isOn);
  }

  /**
   * Sends one message to the connected peer, with `fds`, which stay open here. Waits while the peer's queue is full.
   * Returns its length in bytes. Throws SysError (`ENOTCONN`, `ECONNREFUSED`, `EPIPE`, `EMSGSIZE`, `EBADF`),
   * ClosedError, and TypeError or RangeError for invalid arguments. Cancel safe: a dropped send has sent nothing. See
   * sendmsg(2).
   */
  send(data: Uint8Array, options?: SendFdsOptions): Future<number> {
    checkSendable(data);
    return new SendUnix(this.source, data, checkFds(options), null);
  }

  /**
   * Receives one message into `buffer`, with its fds, which the returned object owns: bind it with `using`. Once the peer of
   * a UnixSeqpacket has closed or shut down its end, each receive returns 0 bytes, as for an empty message. Throws
   * SysError (`ECONNRESET`), ClosedError, PassedFdsError if more fds came than `maxFds` or than this process can open, and
   * TypeError or RangeError for invalid arguments. Cancel safe: a dropped receive has received nothing. See recvmsg(2).
   */
  recv(buffer: Uint8Array, options?: ReceiveFdsOptions): Future<UnixMessage> {
    checkBuffer(buffer);
    return new ReceiveUnix(this.source, buffer, checkMaxFds(options), false);
  }
}
