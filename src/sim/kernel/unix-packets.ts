// SimUnixPackets: a unix socket of messages: SOCK_SEQPACKET, which is connected as a stream is, and SOCK_DGRAM. See
// unix-socket.ts.
//
// Facts about Linux, and what they mean for this code:
// - A datagram socket that is connected receives only from its peer. Others that send to it fail with EPERM.
// - Only a send finds out that the peer of a datagram socket is closed: it fails with ECONNREFUSED, and disconnects.
// - A datagram socket that gets another peer loses what is in its queue, and a peer that was connected to it gets
//   ECONNRESET.
// - The end of a connection of packets reads as 0 bytes; a datagram socket whose reading side is shut down reads EAGAIN.
// - A send that fails has used memory for its message. Giving that back is an edge of writability.

import { EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLPRI, EPOLLRDHUP } from "../../sys/epoll.ts";
import { EAGAIN, ECONNREFUSED, ECONNRESET, ENOTCONN, EPERM, EPIPE } from "../../sys/errno.ts";
import type { SockaddrBuffer, UnixAddress } from "../../sys/sockaddr.ts";
import { MSG_PEEK, MSG_TRUNC, SOCK_DGRAM, SOCK_SEQPACKET } from "../../sys/socket.ts";
import { EMSGSIZE } from "./errno.ts";
import { ANY, type SimFile } from "./file.ts";
import { BUFFER_BYTES, SHUT_BOTH, SHUT_RECEIVE } from "./sim-socket.ts";
import { type Credentials, nameIn, type Received, UnixMessage, UnixSocket } from "./unix-socket.ts";

/** The kernel keeps this much of the buffer free. */
const RESERVED_BYTES = 32;
/** Four pages without what the kernel adds. */
const MAX_LINEAR = 16_064;

export class SimUnixPackets extends UnixSocket {
  override readonly maxLinear: number = MAX_LINEAR;

  protected override create(credentials: Credentials): SimUnixPackets {
    return new SimUnixPackets(this.stack, this.type, credentials);
  }

  override connect(address: SockaddrBuffer): number {
    if (this.type !== SOCK_DGRAM) return super.connect(address);
    const name = nameIn(address);
    if (typeof name === "number") return name;
    this.bindForCredentials();
    const other = this.find(name);
    if (typeof other === "number") return other;
    if (!this.maySendTo(other)) return -EPERM;
    const previous = this.peer;
    this.peer = other;
    if (previous !== null) this.disconnect(previous);
    return 0;
  }

  override receive(buffer: Uint8Array, flags: number, received: Received | null): number {
    const isSeqpacket = this.type === SOCK_SEQPACKET;
    if (isSeqpacket && this.state !== "established") return -ENOTCONN;
    if (this.error !== 0) return this.takeError();
    const message = this.queue[0];
    if (message === undefined) {
      return isSeqpacket && (this.shutdownBits & SHUT_RECEIVE) !== 0 ? 0 : -EAGAIN;
    }
    const isPeek = (flags & MSG_PEEK) !== 0;
    if (!isPeek) this.queue.shift();
    this.wakeWaiters(EPOLLOUT);
    const { data } = message;
    const piece = data.subarray(0, buffer.length);
    buffer.set(piece);
    if (received !== null) {
      received.name = message.sender.name;
      received.isTruncated = piece.length < data.length;
      received.credentials = this.passesCredentials ? message.credentials : null;
    }
    this.pass(message, isPeek, received);
    if (!isPeek) message.free();
    return (flags & MSG_TRUNC) !== 0 ? data.length : piece.length;
  }

  override beginSend(): number {
    if (this.type === SOCK_DGRAM) return 0;
    if (this.error !== 0) return this.takeError();
    return this.state === "established" ? 0 : -ENOTCONN;
  }

  override transmit(
    data: Uint8Array,
    to: SockaddrBuffer | null,
    files: readonly SimFile[],
  ): number {
    const early = this.beginSend();
    if (early < 0) return early;
    const name = to !== null && this.type === SOCK_DGRAM ? nameIn(to) : null;
    if (typeof name === "number") return name;
    this.bindForCredentials();
    if (data.length > BUFFER_BYTES - RESERVED_BYTES) return -EMSGSIZE;
    const result = this.checkSend();
    if (result < 0) return result;
    const message = new UnixMessage(this, data, files);
    const sent = this.deliver(message, name);
    if (sent === 0) return data.length;
    message.free();
    return sent;
  }

  override poll(requested: number): number {
    const { shutdownBits } = this;
    let events = this.error !== 0 ? EPOLLERR : 0;
    if ((shutdownBits & SHUT_RECEIVE) !== 0) events |= EPOLLIN | EPOLLRDHUP;
    if (shutdownBits === SHUT_BOTH) events |= EPOLLHUP;
    if (this.hasArrivals) events |= EPOLLIN;
    if (this.type === SOCK_SEQPACKET && this.state === "closed") events |= EPOLLHUP;
    // Only one who asks for room waits for it.
    if ((requested & EPOLLOUT) !== 0 && this.isWritable && !this.isPeerFull) events |= EPOLLOUT;
    return events;
  }

  protected override onArrival(): void {
    this.wake(EPOLLIN | EPOLLPRI);
  }

  private get isPeerFull(): boolean {
    const peer = this.peer as SimUnixPackets | null;
    return peer !== null && peer.peer !== this && peer.isFull && this.awaitsRoomOf(peer);
  }

  private maySendTo(other: UnixSocket): boolean {
    return other.peer === null || other.peer === this;
  }

  /** Puts a message into the queue of its receiver. Returns 0 or the negative errno. */
  private deliver(message: UnixMessage, name: UnixAddress | null): number {
    const found = name === null ? (this.peer ?? -ENOTCONN) : this.find(name);
    if (typeof found === "number") return found;
    const other = found as SimUnixPackets;
    if (!this.maySendTo(other)) return -EPERM;
    if (other.isDead) {
      if (this.type === SOCK_SEQPACKET) return -EPIPE;
      this.peer = null;
      this.disconnect(other);
      return -ECONNREFUSED;
    }
    if (other.isDeaf) return -EPIPE;
    const isShared = other !== this && other.peer !== this;
    if (isShared && other.isFull && (this.peer !== other || this.awaitsRoomOf(other)))
      return -EAGAIN;
    other.enqueue(message);
    return 0;
  }

  /** `previous` is no longer the peer. */
  private disconnect(previous: UnixSocket): void {
    this.stopWaitingFor(previous);
    this.wake(EPOLLOUT);
    if (this.peer === previous || this.queue.length === 0) return;
    this.clearQueue();
    this.wakeWaiters(ANY);
    if (previous.peer === this) (previous as SimUnixPackets).fail();
  }

  private fail(): void {
    this.error = ECONNRESET;
    this.wake(EPOLLERR);
  }
}
