// SimUnixStream: a unix socket of bytes. See unix-socket.ts.
//
// Facts about Linux, and what they mean for this code:
// - Passed files go with the first byte of a send. A receive ends with the piece that they came with.
// - With SO_PASSCRED a receive does not join pieces of different processes.
// - A stream that is neither connected nor listening reports EPOLLHUP and EPOLLOUT.

import { EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLPRI, EPOLLRDHUP } from "../../sys/epoll.ts";
import { EAGAIN, EINVAL, ENOTCONN, EOPNOTSUPP, EPIPE } from "../../sys/errno.ts";
import type { SockaddrBuffer } from "../../sys/sockaddr.ts";
import { MSG_PEEK, SOCK_STREAM } from "../../sys/socket.ts";
import { EISCONN } from "./errno.ts";
import type { SimFile } from "./file.ts";
import { SHUT_BOTH, SHUT_RECEIVE, SHUT_SEND } from "./sim-socket.ts";
import type { NetStack } from "./stack.ts";
import { type Credentials, type Received, UnixMessage, UnixSocket } from "./unix-socket.ts";

/** What the end of a stream comes with. */
const NO_SENDER: Credentials = { pid: 0, uid: 0, gid: 0 };
/** A page without what the kernel adds. */
const MAX_LINEAR = 3776;
const MAX_PIECE = MAX_LINEAR + 32_768;

export class SimUnixStream extends UnixSocket {
  override readonly maxLinear: number = MAX_LINEAR;

  constructor(stack: NetStack, credentials: Credentials) {
    super(stack, SOCK_STREAM, credentials);
  }

  protected override create(credentials: Credentials): SimUnixStream {
    return new SimUnixStream(this.stack, credentials);
  }

  override receive(buffer: Uint8Array, flags: number, received: Received | null): number {
    if (this.state !== "established") return -EINVAL;
    const isPeek = (flags & MSG_PEEK) !== 0;
    let count = 0;
    let credentials: Credentials | null = null;
    if (received !== null && this.passesCredentials) received.credentials = NO_SENDER;
    // A peek looks at every piece, also when the buffer is full: the files of a later one come along.
    for (let index = 0; isPeek || count < buffer.length || count === 0; ) {
      const message = this.queue[index];
      if (message === undefined) break;
      if (this.passesCredentials) {
        if (credentials !== null && !isSame(credentials, message.credentials)) break;
        ({ credentials } = message);
      }
      const { data, consumed, sender } = message;
      const piece = data.subarray(consumed, consumed + buffer.length - count);
      buffer.set(piece, count);
      count += piece.length;
      const hasFiles = message.files.length > 0;
      if (received !== null) {
        received.name = sender.name;
        received.credentials = credentials ?? received.credentials;
      }
      if (hasFiles) this.pass(message, isPeek, received);
      if (isPeek) index++;
      else {
        message.consumed += piece.length;
        if (message.consumed < data.length) break;
        this.queue.shift();
        message.free();
      }
      if (hasFiles || buffer.length === 0) break;
    }
    if (count > 0 || (buffer.length === 0 && this.queue.length > 0)) return count;
    if (this.error !== 0) return this.takeError();
    return (this.shutdownBits & SHUT_RECEIVE) !== 0 ? 0 : -EAGAIN;
  }

  override transmit(
    data: Uint8Array,
    to: SockaddrBuffer | null,
    files: readonly SimFile[],
  ): number {
    if (to !== null) return this.state === "established" ? -EISCONN : -EOPNOTSUPP;
    const { peer } = this;
    if (peer === null) return -ENOTCONN;
    if ((this.shutdownBits & SHUT_SEND) !== 0) return -EPIPE;
    const length = this.stack.split("short write", data.length);
    let sent = 0;
    while (sent < length) {
      const result = this.checkSend();
      if (result < 0) return sent || result;
      const piece = data.subarray(sent, Math.min(sent + MAX_PIECE, length));
      const message = new UnixMessage(this, piece, sent === 0 ? files : []);
      if ((peer as SimUnixStream).isDeaf) {
        message.free();
        return sent || -EPIPE;
      }
      (peer as SimUnixStream).enqueue(message);
      sent += piece.length;
    }
    return sent;
  }

  override poll(): number {
    const { shutdownBits } = this;
    let events = this.isWritable ? EPOLLOUT : 0;
    if (this.error !== 0) events |= EPOLLERR;
    if (shutdownBits === SHUT_BOTH || this.state === "closed") events |= EPOLLHUP;
    if ((shutdownBits & SHUT_RECEIVE) !== 0) events |= EPOLLIN | EPOLLRDHUP;
    if (this.hasArrivals) events |= EPOLLIN;
    return events;
  }

  protected override onArrival(): void {
    this.wake(EPOLLIN | EPOLLPRI);
  }
}

function isSame(a: Credentials, b: Credentials): boolean {
  return a.pid === b.pid && a.uid === b.uid && a.gid === b.gid;
}
