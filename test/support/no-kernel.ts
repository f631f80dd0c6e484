// A Sys without a kernel, for costs that are ours alone: fds below `busy` are sockets that have 64 bytes
// to read after each event, and an event in each round; all others are silent.

import { EPOLLIN } from "../../src/sys/epoll.ts";
import { linux } from "../../src/sys/linux.ts";
import type { Sys } from "../../src/sys/sys.ts";

const EAGAIN = 11;

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
