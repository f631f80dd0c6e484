// Sockets without a kernel: a Sys in which a test decides byte by byte what arrives, what fits, and when. So a test can
// place EAGAIN, a short write, the end or a reset anywhere, and no edge ever comes late.

import { TcpStream } from "../../src/index.ts";
import { Source } from "../../src/io/source.ts";
import {
  EAGAIN,
  EINTR,
  EPOLLERR,
  EPOLLHUP,
  EPOLLIN,
  EPOLLOUT,
  EPOLLRDHUP,
  linux,
  type Sys,
} from "../../src/sys/index.ts";

const EPIPE = 32;
const ECONNRESET = 104;

/** Returns the byte at `position` of the stream that a socket receives. */
export function byteAt(position: number): number {
  return (position * 31 + (position >> 8)) & 0xff;
}

/** One socket. Its peer is the test. */
export class FakeSocket {
  readonly fd: number;
  readonly source: Source;
  readonly stream: TcpStream;
  /** What arrived and was received so far, in bytes. The bytes are those of `byteAt`. */
  arrived = 0;
  taken = 0;
  /** What was sent: in the order of the sends. */
  readonly sent: number[] = [];
  /** How many more bytes fit. */
  room = 0;
  hasEnded = false;
  isReset = false;
  isShutDown = false;
  isClosed = false;
  /** The next syscall is interrupted. */
  isInterrupted = false;
  readonly #net: FakeSockets;

  constructor(net: FakeSockets, fd: number) {
    this.#net = net;
    this.fd = fd;
    this.source = new Source(net.sys, fd);
    this.stream = TcpStream.create(this.source, { hostname: "127.0.0.1", port: 0 });
  }

  arrive(bytes: number): void {
    if (this.hasEnded || this.isReset || bytes === 0) return;
    this.arrived += bytes;
    this.#net.raise(this.fd, EPOLLIN);
  }

  grant(bytes: number): void {
    if (bytes === 0) return;
    this.room += bytes;
    this.#net.raise(this.fd, EPOLLOUT);
  }

  end(): void {
    this.hasEnded = true;
    this.#net.raise(this.fd, EPOLLIN | EPOLLRDHUP);
  }

  reset(): void {
    this.isReset = true;
    this.#net.raise(this.fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLERR | EPOLLHUP);
  }

  /** The conditions that hold now, as epoll reports them. */
  get events(): number {
    if (this.isReset) return EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLERR | EPOLLHUP;
    const readable = this.arrived > this.taken || this.hasEnded ? EPOLLIN : 0;
    return readable | (this.hasEnded ? EPOLLRDHUP : 0) | (this.room > 0 ? EPOLLOUT : 0);
  }

  recv(buffer: Uint8Array): number {
    if (this.#takeInterrupt()) return -EINTR;
    if (this.isReset) return -ECONNRESET;
    const count = Math.min(this.arrived - this.taken, buffer.length);
    if (count === 0) return this.hasEnded ? 0 : -EAGAIN;
    for (let index = 0; index < count; index++) buffer[index] = byteAt(this.taken++);
    return count;
  }

  send(data: Uint8Array, length: number): number {
    if (this.#takeInterrupt()) return -EINTR;
    if (this.isReset || this.isShutDown) return -EPIPE;
    const count = Math.min(this.room, length);
    if (count === 0) return -EAGAIN;
    this.room -= count;
    for (let index = 0; index < count; index++) this.sent.push(data[index]!);
    return count;
  }

  #takeInterrupt(): boolean {
    const { isInterrupted } = this;
    this.isInterrupted = false;
    return isInterrupted;
  }
}

interface Registration {
  readonly epoll: number;
  readonly slot: number;
  readonly generation: number;
  events: number;
}

export class FakeSockets {
  readonly sockets: FakeSocket[] = [];
  readonly sys: Sys;
  /** By fd: where it is registered, and its events that epoll has not reported. */
  readonly #registered = new Map<number, Registration>();

  constructor() {
    const socketOf = (fd: number): FakeSocket => this.sockets[fd]!;
    let epolls = 1000; // not the fd of a socket
    this.sys = {
      ...linux(),
      epollCreate: () => epolls++,
      epollAdd: (epoll, fd, _events, slot, generation) => {
        this.#registered.set(fd, { epoll, slot, generation, events: socketOf(fd).events });
        return 0;
      },
      epollModify: (_, fd) => {
        this.raise(fd, socketOf(fd).events);
        return 0;
      },
      epollDelete: (_, fd) => {
        this.#registered.delete(fd);
        return 0;
      },
      epollWait: (epoll, events) => {
        let count = 0;
        for (const [fd, entry] of this.#registered) {
          const raised = entry.events & socketOf(fd).events; // what no longer holds is not reported
          if (entry.epoll !== epoll || raised === 0) continue;
          events.set(count++, raised, entry.slot, entry.generation);
          entry.events = 0;
        }
        return count;
      },
      recv: (fd, buffer) => socketOf(fd).recv(buffer),
      send: (fd, data, _flags, length = data.length) => socketOf(fd).send(data, length),
      shutdown: (fd) => {
        socketOf(fd).isShutDown = true;
        return 0;
      },
      close: (fd) => {
        const socket = this.sockets[fd];
        if (socket !== undefined) socket.isClosed = true;
        return 0;
      },
    };
  }

  socket(): FakeSocket {
    const socket = new FakeSocket(this, this.sockets.length);
    this.sockets.push(socket);
    return socket;
  }

  /** An edge: the next epoll round reports the conditions that hold. */
  raise(fd: number, events: number): void {
    const entry = this.#registered.get(fd);
    if (entry !== undefined) entry.events |= events | this.sockets[fd]!.events;
  }
}
