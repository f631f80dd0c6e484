// The operations of sockets of any family: open, connect, send and receive, with addresses as bytes. RawSocket and the
// wrappers of single families share them. Knows no family.

import type { Context } from "../core/context.ts";
import { Leaf } from "../core/leaf.ts";
import { type Again, Pending, type Poll } from "../core/poll.ts";
import { Source, WRITE } from "../io/source.ts";
import { reactorOf } from "../reactor/reactor.ts";
import {
  EALREADY,
  EINPROGRESS,
  EINTR,
  ENOTCONN,
  EPERM,
  EPROTONOSUPPORT,
  SysError,
} from "../sys/errno.ts";
import type { ControlMessage, Message } from "../sys/message.ts";
import {
  MSG_CTRUNC,
  SO_ERROR,
  SOCK_RAW,
  SOCK_SEQPACKET,
  SOCK_STREAM,
  SOL_SOCKET,
} from "../sys/socket.ts";
import type { Sys } from "../sys/sys.ts";
import { ReceiveMessage, SendMessage } from "./message-transfer.ts";
import { incoming, openFd, outgoing } from "./socket.ts";

/** A received message. The data itself is in the caller's buffer. */
export interface RawMessage {
  /** The number of bytes of the buffer that the message fills. */
  readonly bytes: number;
  /** True if the message was longer than the buffer. The rest is lost. Never on a byte stream. */
  readonly isTruncated: boolean;
  /** The sender's address, as a struct sockaddr; empty if the family or the connection has none. */
  readonly address: Uint8Array;
  /** What came along: timestamps, a TTL, ... See cmsg(3). */
  readonly control: readonly ControlMessage[];
  /** True if more control messages came than 4096 bytes hold. */
  readonly isControlTruncated: boolean;
}

/** The type of a socket without its flags: SOCK_TYPE_MASK. */
const typeOf = (type: number): number => type & 15;

export const isByteStream = (type: number): boolean => typeOf(type) === SOCK_STREAM;

/** Opens a socket of any family. `hint` ends the message of an error. Throws SysError. */
export function openRaw(
  sys: Sys,
  domain: number,
  type: number,
  protocol: number,
  hint: (errno: number) => string | undefined = hintOf,
): Source {
  const fd = openFd(sys, domain, type, protocol);
  if (fd < 0) throw new SysError(fd, "socket", undefined, hint(fd));
  return new Source(sys, fd, !isByteStream(type) && typeOf(type) !== SOCK_SEQPACKET);
}

function hintOf(errno: number): string | undefined {
  if (errno === -EPERM) return `a socket of type SOCK_RAW (${SOCK_RAW}) needs CAP_NET_RAW`;
  return errno === -EPROTONOSUPPORT ? "the family has no such type or protocol" : undefined;
}

export class SendRaw extends SendMessage {
  /** null: send to the connected peer. */
  private readonly to: Uint8Array | null;
  private readonly control: readonly ControlMessage[];

  constructor(
    source: Source,
    data: Uint8Array,
    to: Uint8Array | null,
    control: readonly ControlMessage[],
  ) {
    super(source, data);
    this.to = to;
    this.control = control;
  }

  protected override fill(message: Message): void {
    for (const { level, type, data } of this.control) message.addControl(level, type, data);
    if (this.to === null) return;
    message.hasAddress = true;
    message.address.encodeBytes(this.to);
  }
}

export class ReceiveRaw extends ReceiveMessage<RawMessage> {
  protected override received(message: Message, count: number): RawMessage | Again {
    const { length } = this.buffer;
    return {
      bytes: Math.min(count, length),
      isTruncated: count > length,
      address: message.address.toBytes(),
      control: message.controls().map(({ level, type, data }) => {
        return { level, type, data: data.slice() };
      }),
      isControlTruncated: (message.flags & MSG_CTRUNC) !== 0,
    };
  }
}

/**
 * Connects a socket. The outcome of a connect that takes time is SO_ERROR. Without an error, the socket has a peer once it
 * is connected: SO_ERROR is 0 before that, too. (A repeated connect(2), as in connect.ts, would begin again in a family
 * that is not TCP.)
 */
export abstract class ConnectRaw<T> extends Leaf<T> {
  private readonly address: Uint8Array;
  /** The socket; null before the first attempt. */
  protected source: Source | null = null;
  private hasBegun = false;

  constructor(address: Uint8Array) {
    super();
    this.address = address;
  }

  protected abstract open(sys: Sys): Source;
  /** Returns the value of the future, now that the socket is connected. */
  protected abstract onConnected(source: Source): T;
  protected abstract errorOf(errno: number): Error;

  protected override attempt(cx: Context): Poll<T> | Again {
    this.source ??= this.open(reactorOf(cx).sys);
    const source = this.source;
    if ((source.ready & WRITE) !== 0) {
      const result = this.hasBegun ? outcomeOf(source) : this.begin(source);
      if (result >= 0) {
        source.leave(WRITE, this);
        return this.onConnected(source);
      }
      if (result !== -EINPROGRESS) throw this.errorOf(result);
      source.clearReady(WRITE);
    }
    source.wait(WRITE, this, cx);
    return Pending;
  }

  /** Returns 0, -EINPROGRESS, or the negative errno. */
  private begin({ sys, fd }: Source): number {
    const result = sys.connect(fd, outgoing().encodeBytes(this.address));
    // After EINTR, the connect continues in the background: see connect(2).
    const goesOn = result === -EINPROGRESS || result === -EALREADY || result === -EINTR;
    this.hasBegun = goesOn;
    return goesOn ? -EINPROGRESS : result;
  }

  protected override release(): void {
    this.source?.leave(WRITE, this);
  }
}

/** Returns the outcome of a connect: 0, -EINPROGRESS, or the negative errno. */
function outcomeOf({ sys, fd }: Source): number {
  const error = sys.getsockopt(fd, SOL_SOCKET, SO_ERROR);
  if (error !== 0) return error > 0 ? -error : error;
  const result = sys.getpeername(fd, incoming());
  return result === -ENOTCONN ? -EINPROGRESS : result;
}
