// What the echo servers by hand share: a listener, connections, and a loop over edge-triggered epoll.

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
import type { Sys } from "../../../src/sys/sys.ts";
import { announce, port, reusePort } from "./place.ts";

export const sys: Sys = linux();

/** The size of a buffer in bytes until a read fills it, as in guillotine.ts; and its size from then on. */
export const SMALL = 512;
export const LARGE: number = 64 * 1024;

export abstract class Connection {
  readonly fd: number;
  isClosed = false;
  /** A read was short, and no event has come since: the next one would block. */
  private isDrained = false;
  /** The peer has ended its side: no further edge will come. */
  private isHup = false;

  constructor(fd: number) {
    this.fd = fd;
  }

  /** Continues after an event. */
  protected abstract resume(): void;

  /** Called by the loop. */
  onEvents(events: number): void {
    this.isDrained = false;
    if ((events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) !== 0) this.isHup = true;
    this.resume();
  }

  /** Returns the number of bytes, or the negative errno. Saves the call that would block, as this library does. */
  recv(buffer: Uint8Array): number {
    if (this.isDrained) return -EAGAIN;
    const count = sys.recv(this.fd, buffer, 0);
    this.isDrained = count > 0 && count < buffer.length && !this.isHup;
    return count;
  }

  close(): void {
    this.isClosed = true;
    sys.close(this.fd);
  }
}

/** Accepts connections, and tells them their events. Calls `afterRound` after the events of each epoll_wait. */
export function serve(accept: (fd: number) => Connection, afterRound: () => void): never {
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
        connection.onEvents(events.events(index));
        if (connection.isClosed) connections[slot] = null;
        continue;
      }
      for (let fd = sys.accept(listener, at); fd >= 0; fd = sys.accept(listener, at)) {
        sys.setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, 1);
        const all = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
        check(sys.epollAdd(epoll, fd, all, connections.length, 0), "epoll_ctl");
        connections.push(accept(fd));
      }
    }
    afterRound();
  }
}
