// Messages of unix sockets: data together with fds (SCM_RIGHTS) and credentials (SCM_CREDENTIALS). See unix(7), cmsg(3).
//
// Invariant: each fd that a syscall returns belongs to the UnixMessage of that receive, or the receive closes the fd and
// throws.

import { invalidType, outOfRange } from "../base/check.ts";
import { describe } from "../base/describe.ts";
import type { Context } from "../core/context.ts";
import { type Again, Pending, type Poll } from "../core/poll.ts";
import { FdPause } from "../io/fd-shortage.ts";
import { type FdLike, fdOf, OwnedFd } from "../io/owned-fd.ts";
import type { Source } from "../io/source.ts";
import { check, EAGAIN, ENODATA, ENOPROTOOPT, SysError } from "../sys/errno.ts";
import type { Message } from "../sys/message.ts";
import type { UnixAddress } from "../sys/sockaddr.ts";
import {
  MSG_CTRUNC,
  SCM_CREDENTIALS,
  SCM_PIDFD,
  SCM_RIGHTS,
  SO_PEERCRED,
  SO_PEERPIDFD,
  SOL_SOCKET,
} from "../sys/socket.ts";
import { ReceiveMessage, SendMessage } from "./message-transfer.ts";
import { openSys } from "./socket.ts";

/** What to send along with data. */
export interface SendFdsOptions {
  /** The fds to pass, at most 253. The receiver gets copies; yours stay open, and you close them. Default: none. */
  readonly fds?: readonly FdLike[];
}

/** What a receive accepts. */
export interface ReceiveFdsOptions {
  /** The most fds to accept: an integer from 0 to 253, which is the default and the most that one message carries. */
  readonly maxFds?: number;
}

/** The process at the other end of a unix socket. */
export interface PeerCredentials {
  readonly pid: number;
  readonly uid: number;
  readonly gid: number;
}

/** SCM_MAX_FD of the kernel. */
const MAX_FDS = 253;

/**
 * Thrown by a receive whose message came with more fds than it accepts, or than the process can open. The fds that did
 * arrive are closed, and the message is lost.
 */
export class PassedFdsError extends Error {
  override readonly name = "PassedFdsError";
  readonly code = "ERR_PASSED_FDS";
}

/**
 * A received message. The data itself is in the caller's buffer. Bind it with `using`: disposing it closes the fds, and the
 * pidfd, that were not released.
 */
export class UnixMessage implements Disposable {
  /** The number of bytes of the buffer that the message fills. */
  readonly bytes: number;
  /** True if the message was longer than the buffer. The rest is lost. Never on a stream. */
  readonly isTruncated: boolean;
  /** The sender's address; `""` if it has none, and on a connected socket. */
  readonly address: UnixAddress;
  /** The fds that came with the message. They are close-on-exec. */
  readonly fds: readonly OwnedFd[];
  /** The sender, if `setPassCredentials` is on; null otherwise. */
  readonly credentials: PeerCredentials | null;
  /**
   * A pidfd of the sender, if SO_PASSPIDFD is on (`setOption(1, 76, true)`, since Linux 6.5); null otherwise, and if this
   * process could not open it. It becomes readable when the sender ends.
   */
  readonly pidfd: OwnedFd | null;

  /** Not for users. */
  constructor(
    bytes: number,
    isTruncated: boolean,
    address: UnixAddress,
    fds: readonly OwnedFd[],
    credentials: PeerCredentials | null,
    pidfd: OwnedFd | null,
  ) {
    this.bytes = bytes;
    this.isTruncated = isTruncated;
    this.address = address;
    this.fds = fds;
    this.credentials = credentials;
    this.pidfd = pidfd;
  }

  [Symbol.dispose](): void {
    for (const fd of this.fds) fd.close();
    this.pidfd?.close();
  }
}

/** Returns the bytes of 32-bit integers. */
function bytesOf(ints: readonly number[]): Uint8Array {
  return new Uint8Array(new Int32Array(ints).buffer);
}

/** Returns the 32-bit integers in `bytes`. Ignores an incomplete one at the end. */
function intsIn(bytes: Uint8Array): number[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  return Array.from({ length: bytes.length >> 2 }, (_, index) => view.getInt32(index * 4, true));
}

function credentialsIn(bytes: Uint8Array): PeerCredentials {
  const [pid = 0, uid = 0, gid = 0] = intsIn(bytes); // struct ucred
  return { pid, uid: uid >>> 0, gid: gid >>> 0 };
}

/** Returns the pidfd in `bytes`; null for the errno that the kernel writes if it could not open one. */
function pidfdIn(bytes: Uint8Array): OwnedFd | null {
  const [fd = -1] = intsIn(bytes);
  return fd < 0 ? null : new OwnedFd(fd);
}

/** Returns who connected the socket at the other end. Throws SysError, ClosedError. */
export function peerCredentialsOf(source: Source): PeerCredentials {
  const bytes = new Uint8Array(12);
  const { fd } = source;
  check(openSys(source).getsockoptBytes(fd, SOL_SOCKET, SO_PEERCRED, bytes), "getsockopt");
  return credentialsIn(bytes);
}

/** Returns a pidfd of who connected the socket at the other end. Throws SysError, ClosedError. */
export function peerPidfdOf(source: Source): OwnedFd {
  const result = openSys(source).getsockopt(source.fd, SOL_SOCKET, SO_PEERPIDFD);
  if (result >= 0) return new OwnedFd(result);
  const isMissing = result === -ENOPROTOOPT || result === -ENODATA;
  const hint = isMissing ? "SO_PEERPIDFD needs Linux 6.5, and a peer" : undefined;
  throw new SysError(result, "getsockopt", undefined, hint);
}

/** Returns the numbers of the fds to send. Throws TypeError and RangeError. */
export function checkFds(options: SendFdsOptions | undefined): readonly number[] {
  const fds = options?.fds ?? [];
  if (!Array.isArray(fds)) {
    throw invalidType(`send: fds must be an array; got ${describe(fds)}`);
  }
  if (fds.length > MAX_FDS) {
    throw outOfRange(`send: fds must be at most ${MAX_FDS}; got ${fds.length}`);
  }
  return fds.map((fd, index) => fdOf(fd, `send: fds[${index}]`));
}

/** Returns the most fds to accept. Throws RangeError. */
export function checkMaxFds({ maxFds = MAX_FDS }: ReceiveFdsOptions = {}): number {
  if (Number.isInteger(maxFds) && maxFds >= 0 && maxFds <= MAX_FDS) return maxFds;
  throw outOfRange(`recv: maxFds must be an integer from 0 to ${MAX_FDS}; got ${describe(maxFds)}`);
}

/** Sends data and fds. A short send has passed all fds: they go with the first byte. */
export class SendUnix extends SendMessage {
  private readonly fds: readonly number[];
  /** null: send to the connected peer. */
  private readonly to: UnixAddress | null;
  /** Created when the queue of the receiver is full. While a pause lasts, attempts make no syscall. */
  private pause: FdPause | null = null;

  constructor(source: Source, data: Uint8Array, fds: readonly number[], to: UnixAddress | null) {
    super(source, data);
    this.fds = fds;
    this.to = to;
  }

  protected override attempt(cx: Context): Poll<number> | Again {
    if (this.pause?.hasBegun) {
      if (!this.source.isClosed && this.pause.isWaiting(cx)) return Pending;
      this.pause.end();
    }
    return super.attempt(cx);
  }

  protected override fill(message: Message): void {
    const { fds, to } = this;
    if (fds.length > 0) message.addControl(SOL_SOCKET, SCM_RIGHTS, bytesOf(fds));
    if (to === null) return;
    message.hasAddress = true;
    message.address.encodeUnix(to);
  }

  protected override onErrno(errno: number, cx: Context): Pending | Again {
    if (errno !== -EAGAIN || this.to === null) return super.onErrno(errno, cx);
    // The receiver's queue is full. epoll only knows the queue of a connected peer, and would report this socket
    // writable at once. So try again after a while.
    this.pause ??= new FdPause();
    this.pause.begin(cx);
    return Pending;
  }

  protected override errorOf(errno: number): Error {
    return this.to === null ? super.errorOf(errno) : new SysError(errno, this.syscall, this.to);
  }

  protected override release(): void {
    this.pause?.end();
    super.release();
  }
}

/** Receives data, fds and credentials. Does not clear readiness after a short read: a stream stops short at fds. */
export class ReceiveUnix extends ReceiveMessage<UnixMessage> {
  private readonly maxFds: number;

  constructor(source: Source, buffer: Uint8Array, maxFds: number, isStream: boolean) {
    super(source, buffer, isStream);
    this.maxFds = maxFds;
  }

  protected override received(message: Message, count: number): UnixMessage {
    const fds: OwnedFd[] = [];
    let credentials: PeerCredentials | null = null;
    let pidfd: OwnedFd | null = null;
    for (const { level, type, data } of message.controls()) {
      if (level !== SOL_SOCKET) continue;
      if (type === SCM_RIGHTS) for (const fd of intsIn(data)) fds.push(new OwnedFd(fd));
      else if (type === SCM_CREDENTIALS) credentials = credentialsIn(data);
      else if (type === SCM_PIDFD) pidfd = pidfdIn(data);
    }
    const isCut = (message.flags & MSG_CTRUNC) !== 0;
    if (isCut || fds.length > this.maxFds) {
      for (const fd of fds) fd.close();
      pidfd?.close();
      const why = isCut ? "the process cannot open all of them" : `maxFds is ${this.maxFds}`;
      throw new PassedFdsError(
        `recv: a message came with fds, of which ${fds.length} arrived and were closed; ${why}`,
      );
    }
    const { length } = this.buffer;
    const address = message.address.length[0]! > 2 ? message.address.decodeUnix() : "";
    const bytes = Math.min(count, length);
    return new UnixMessage(bytes, count > length, address, fds, credentials, pidfd);
  }

  override reclaim(message: UnixMessage): void {
    message[Symbol.dispose]();
  }
}
