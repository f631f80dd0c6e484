// Echo server written by hand: epoll.c in TypeScript, with the same syscalls as this library. It is faster than this
// library by the cost of tasks, futures and sources. C is faster still by the cost of Bun's FFI and of JavaScript.

import {
  EPOLLERR,
  EPOLLET,
  EPOLLHUP,
  EPOLLIN,
  EPOLLOUT,
  EPOLLRDHUP,
  EpollEvents,
} from "../../../src/sys/epoll.ts";
import { check, EAGAIN } from "../../../src/sys/errno.ts";
import { linux } from "../../../src/sys/linux.ts";
import { AF_INET, SockaddrBuffer } from "../../../src/sys/sockaddr.ts";
import {
  IPPROTO_TCP,
  SO_REUSEPORT,
  SOCK_STREAM,
  SOL_SOCKET,
  TCP_NODELAY,
} from "../../../src/sys/socket.ts";
import { announce, port, reusePort } from "./place.ts";

const SMALL = 512;
const LARGE = 64 * 1024;
const sys = linux();

class Connection {
  readonly fd: number;
  buffer = new Uint8Array(SMALL);
  /** The bytes of `buffer` that are not written yet: from `sent` to `length`. */
  length = 0;
  sent = 0;

  constructor(fd: number) {
    this.fd = fd;
  }

  /** Echoes until the socket would block. Returns true when the connection has ended. Same as in epoll.c. */
  echo(isHup: boolean): boolean {
    for (;;) {
      while (this.sent < this.length) {
        const rest = this.sent === 0 ? this.buffer : this.buffer.subarray(this.sent);
        const count = sys.send(this.fd, rest, 0, this.length - this.sent);
        if (count < 0) return count !== -EAGAIN;
        this.sent += count;
      }
      const isDrained = this.length > 0 && this.length < this.buffer.length && !isHup;
      const isFull = this.length === SMALL && this.buffer.length === SMALL;
      this.length = this.sent = 0;
      if (isDrained) return false;
      if (isFull) this.buffer = Buffer.allocUnsafeSlow(LARGE);
      const count = sys.recv(this.fd, this.buffer, 0);
      if (count <= 0) return count !== -EAGAIN;
      this.length = count;
    }
  }
}

const at = new SockaddrBuffer();
const listener = check(sys.socket(AF_INET, SOCK_STREAM), "socket");
if (reusePort) check(sys.setsockopt(listener, SOL_SOCKET, SO_REUSEPORT, 1), "setsockopt");
at.encode({ hostname: "127.0.0.1", port });
check(sys.bind(listener, at), "bind");
check(sys.listen(listener, 4096), "listen");
check(sys.getsockname(listener, at), "getsockname");
announce(at.decode().port);

const epoll = check(sys.epollCreate(), "epoll_create1");
const events = new EpollEvents(1024);
const connections: (Connection | null)[] = [null]; // slot 0 is the listener's
check(sys.epollAdd(epoll, listener, EPOLLIN, 0, 0), "epoll_ctl");
for (;;) {
  const count = sys.epollWait(epoll, events, -1);
  for (let index = 0; index < count; index++) {
    const slot = events.slot(index);
    const connection = connections[slot];
    if (connection != null) {
      const isHup = (events.events(index) & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) !== 0;
      if (!connection.echo(isHup)) continue;
      sys.close(connection.fd);
      connections[slot] = null;
      continue;
    }
    for (let fd = sys.accept(listener, at); fd >= 0; fd = sys.accept(listener, at)) {
      sys.setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, 1);
      connections.push(new Connection(fd));
      const all = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
      sys.epollAdd(epoll, fd, all, connections.length - 1, 0);
    }
  }
}
