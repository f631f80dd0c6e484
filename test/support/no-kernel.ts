// A Sys without a kernel, to measure the cost of this library alone.

import { EAGAIN } from "../../src/sys/errno.ts";
import {
  AF_INET,
  EPOLLIN,
  EPOLLRDHUP,
  linux,
  type SockaddrBuffer,
  type Sys,
} from "../../src/sys/index.ts";

/**
 * Returns a Sys in which each fd below `busy` is a socket with an event in each epoll round and 64 bytes to read. Other
 * fds never have an event.
 */
export function noKernel(busy: number): Sys {
  const slots: ([slot: number, generation: number] | undefined)[] = new Array(busy).fill(undefined);
  return {
    ...linux(),
    epollAdd(_epoll, fd, _events, slot, generation) {
      if (fd < busy) slots[fd] = [slot, generation];
      return 0;
    },
    epollDelete: () => 0,
    close: () => 0,
    epollWait(_epoll, events) {
      let count = 0;
      for (const registered of slots) {
        if (registered !== undefined) events.set(count++, EPOLLIN, registered[0], registered[1]);
      }
      return count;
    },
    recv: (fd) => (fd < busy ? 64 : -EAGAIN),
    send: (_fd, data, _flags, length = data.length) => length,
  };
}

/**
 * Returns a Sys with a listener, fd 0, to which `arrive(count)` connects `count` sockets, fds 1 to `count`. Each socket
 * has 64 bytes to read, and then the end of the stream.
 */
export function noNetwork(): { sys: Sys; arrive(count: number): void } {
  let last = 0;
  let arrived = 0;
  const hasSent = new Uint8Array(1 << 16); // by fd: 1 once its 64 bytes were received
  const added: number[] = [];
  const sys: Sys = {
    ...noKernel(0),
    socket: () => 0,
    bind: () => 0,
    listen: () => 0,
    setsockopt: () => 0,
    getsockname: (_fd, address) => peer(address, 0),
    accept: (_fd, address) => (arrived < last ? peer(address, ++arrived) : -EAGAIN),
    recv(fd) {
      if (hasSent[fd] === 1) return 0;
      hasSent[fd] = 1;
      return 64;
    },
    epollAdd(_epoll, _fd, _events, slot, generation) {
      added.push(slot, generation);
      return 0;
    },
    epollWait(_epoll, events) {
      const count = added.length / 2;
      for (let index = 0; index < count; index++) {
        events.set(index, EPOLLIN | EPOLLRDHUP, added[index * 2]!, added[index * 2 + 1]!);
      }
      added.length = 0;
      return count;
    },
  };
  return {
    sys,
    arrive(count) {
      arrived = 0;
      last = count;
      hasSent.fill(0);
    },
  };
}

/** Writes the address 127.0.0.1 with `port` to `address`. Returns `port`. */
function peer(address: SockaddrBuffer, port: number): number {
  const { bytes } = address.reset();
  bytes[0] = AF_INET;
  bytes[2] = port >> 8;
  bytes[3] = port;
  bytes[4] = 127;
  bytes[7] = 1;
  return port;
}
