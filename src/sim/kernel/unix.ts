// UnixEnd: one end of a pair of connected unix sockets, of bytes (SOCK_STREAM) or of messages (SOCK_SEQPACKET). See
// unix(7), socketpair(2). Sockets with a path are not simulated.
//
// Facts about Linux, and what they mean for this code:
// - What one end sends is in the queue of the other at once. An end may send until a quarter of its buffer is queued.
// - Each message that is read to its end wakes those that wait to write at the other end.
// - An end that is closed with unread data resets the other one.

import { EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLPRI, EPOLLRDHUP } from "../../sys/epoll.ts";
import { EAGAIN, ECONNRESET, EINVAL, EPIPE } from "../../sys/errno.ts";
import type { SocketAddress } from "../../sys/sockaddr.ts";
import { MSG_TRUNC, SHUT_RDWR } from "../../sys/socket.ts";
import { EISCONN, EMSGSIZE } from "./errno.ts";
import { ANY } from "./file.ts";
import { SHUT_BOTH, SHUT_RECEIVE, SHUT_SEND, SimSocket } from "./sim-socket.ts";
import type { NetStack } from "./stack.ts";

export const AF_UNIX = 1;
/** net.core.wmem_default, and what the kernel adds for each message. */
const BUFFER_BYTES = 212_992;
const OVERHEAD_BYTES = 768;

export class UnixEnd extends SimSocket {
  private readonly keepsMessages: boolean;
  private other: UnixEnd | null = null;
  /** What the other end has sent. */
  private readonly queue: Uint8Array[] = [];
  /** How many bytes of ours are in the other end's queue. */
  private sentBytes = 0;

  private constructor(stack: NetStack, keepsMessages: boolean) {
    super(stack, AF_UNIX);
    this.keepsMessages = keepsMessages;
  }

  static pair(stack: NetStack, keepsMessages: boolean): [UnixEnd, UnixEnd] {
    const [a, b] = [new UnixEnd(stack, keepsMessages), new UnixEnd(stack, keepsMessages)];
    a.other = b;
    b.other = a;
    return [a, b];
  }

  get isListening(): boolean {
    return false;
  }

  get peerName(): SocketAddress | null {
    return null;
  }

  override bind(): number {
    return -EINVAL;
  }

  override connect(): number {
    return -EISCONN;
  }

  override recv(buffer: Uint8Array, flags: number): number {
    if (this.keepsMessages && this.error !== 0) return this.takeError();
    let count = 0;
    while (this.queue.length > 0 && count < buffer.length) {
      const first = this.queue[0]!;
      const length = Math.min(first.length, buffer.length - count);
      buffer.set(first.subarray(0, length), count);
      count += length;
      if (!this.keepsMessages && length < first.length) {
        this.queue[0] = first.subarray(length);
        continue;
      }
      this.queue.shift();
      this.other?.onRead(first.length);
      if (this.keepsMessages) return (flags & MSG_TRUNC) !== 0 ? first.length : count;
    }
    if (count > 0 || buffer.length === 0) return count;
    if (this.error !== 0) return this.takeError();
    return (this.shutdownBits & SHUT_RECEIVE) !== 0 ? 0 : -EAGAIN;
  }

  override send(data: Uint8Array): number {
    if (this.keepsMessages && this.error !== 0) return this.takeError();
    const { other } = this;
    if ((this.shutdownBits & SHUT_SEND) !== 0) return -EPIPE;
    if (other === null || (other.shutdownBits & SHUT_RECEIVE) !== 0) return -EPIPE;
    if (this.keepsMessages && data.length > BUFFER_BYTES - 32) return -EMSGSIZE;
    const room = BUFFER_BYTES - this.sentBytes;
    if (room <= 0) return -EAGAIN;
    const count = this.keepsMessages ? data.length : Math.min(data.length, room);
    this.sentBytes += count + OVERHEAD_BYTES;
    other.queue.push(data.slice(0, count));
    other.wake(EPOLLIN | EPOLLPRI);
    return count;
  }

  override shutdown(how: number): number {
    if (how < 0 || how > SHUT_RDWR) return -EINVAL;
    const bits = how + 1;
    this.shutdownBits |= bits;
    this.wake(ANY);
    const { other } = this;
    if (other === null) return 0;
    if ((bits & SHUT_RECEIVE) !== 0) other.shutdownBits |= SHUT_SEND;
    if ((bits & SHUT_SEND) !== 0) other.shutdownBits |= SHUT_RECEIVE;
    other.wake(ANY);
    return 0;
  }

  override close(): void {
    const { other } = this;
    this.other = null;
    if (other === null) return;
    other.other = null;
    other.shutdownBits = SHUT_BOTH;
    if (this.queue.length > 0) other.error = ECONNRESET;
    other.wake(ANY);
  }

  override poll(): number {
    const { shutdownBits } = this;
    let events = this.isWritable ? EPOLLOUT : 0;
    if (this.error !== 0) events |= EPOLLERR;
    if (shutdownBits === SHUT_BOTH) events |= EPOLLHUP;
    if ((shutdownBits & SHUT_RECEIVE) !== 0) events |= EPOLLIN | EPOLLRDHUP;
    if (this.queue.length > 0) events |= EPOLLIN;
    return events;
  }

  protected override defaultOption(): number {
    return 0;
  }

  private get isWritable(): boolean {
    return this.sentBytes * 4 <= BUFFER_BYTES;
  }

  /** The other end has read a message of ours to its end. */
  private onRead(bytes: number): void {
    this.sentBytes = Math.max(this.sentBytes - bytes - OVERHEAD_BYTES, 0);
    if (this.isWritable) this.wake(EPOLLOUT);
  }
}
