// The kernel seam: all that this library asks of the kernel.
//
// Every method returns what the kernel returns: a non-negative result, or the negative errno. Every
// fd is made CLOEXEC and NONBLOCK. A runtime takes its Sys as an argument, so that a test can put
// one in front that injects EINTR, short reads or EMFILE.

import type { Datagrams } from "./datagrams.ts";
import type { EpollEvents } from "./epoll.ts";
import { EAGAIN } from "./errno.ts";
import type { SockaddrBuffer } from "./sockaddr.ts";

/** The kernel, as the library sees it: give a Runtime another one to test what you build on it. */
export interface Sys {
  epollCreate(): number;
  /** `slot` and `generation` come back with each event of this fd. See epoll_ctl(2). */
  epollAdd(epollFd: number, fd: number, events: number, slot: number, generation: number): number;
  /** Asks for other events of a registered fd; those that are true already come again. */
  epollModify(
    epollFd: number,
    fd: number,
    events: number,
    slot: number,
    generation: number,
  ): number;
  epollDelete(epollFd: number, fd: number): number;
  /** Fills `events`; waits `timeoutMs`, or, if it is -1, for ever. */
  epollWait(epollFd: number, events: EpollEvents, timeoutMs: number): number;

  eventfd(): number;
  /** Adds 1 to the counter of an eventfd. */
  eventfdWrite(fd: number): number;
  /** Takes the counter of an eventfd back to zero. */
  eventfdDrain(fd: number): number;

  /** A timer on CLOCK_MONOTONIC. */
  timerfdCreate(): number;
  /** Fires once after `delayMs` (fractions count, to the nanosecond), which is above zero. */
  timerfdSet(fd: number, delayMs: number): number;

  socket(domain: number, type: number): number;
  bind(fd: number, address: SockaddrBuffer): number;
  listen(fd: number, backlog: number): number;
  connect(fd: number, address: SockaddrBuffer): number;
  accept(fd: number, peer: SockaddrBuffer): number;
  getsockname(fd: number, address: SockaddrBuffer): number;
  recv(fd: number, buffer: Uint8Array, flags: number): number;
  /** Sends `length` bytes of `buffer`: all by default. Never raises SIGPIPE. */
  send(fd: number, buffer: Uint8Array, flags: number, length?: number): number;
  recvfrom(fd: number, buffer: Uint8Array, flags: number, from: SockaddrBuffer): number;
  /** Fills `batch`, or as much of it as there is: how many. */
  recvmmsg(fd: number, batch: Datagrams): number;
  sendto(fd: number, buffer: Uint8Array, flags: number, to: SockaddrBuffer): number;
  shutdown(fd: number, how: number): number;
  /** The value of an int option, or the negative errno. */
  getsockopt(fd: number, level: number, option: number): number;
  setsockopt(fd: number, level: number, option: number, value: number): number;

  read(fd: number, buffer: Uint8Array): number;
  write(fd: number, buffer: Uint8Array): number;
  fcntl(fd: number, command: number, argument: number): number;
  close(fd: number): number;
}

/** Makes an eventfd an event, whatever was written before: a full counter refuses the write, so we drain it. */
export function signalEventfd(sys: Sys, fd: number): void {
  if (sys.eventfdWrite(fd) !== -EAGAIN) return;
  sys.eventfdDrain(fd);
  sys.eventfdWrite(fd);
}
