// The kernel seam: every system call that this library makes. The clock is part of the seam, too (clock.ts).
//
// A runtime receives its Sys as an option, so a test can inject EINTR, short reads or EMFILE, and a simulation
// can replace the kernel. Programs of helper threads (epoll-watcher.ts, the blocking pool's worker) call the
// kernel themselves: they are on the kernel's side of the seam.

import { invalidType } from "../base/check.ts";
import { describe } from "../base/describe.ts";
import type { Datagrams } from "./datagrams.ts";
import type { EpollEvents } from "./epoll.ts";
import { EAGAIN } from "./errno.ts";
import type { Message } from "./message.ts";
import type { SockaddrBuffer } from "./sockaddr.ts";

/**
 * The kernel as the library sees it. Pass one as `new Runtime({ sys })` to test code under faults, or to simulate
 * a kernel.
 *
 * A call that returns a number returns what the kernel returns: a result >= 0, or the negative errno. It never
 * throws and never blocks, except `epollWait`. Every fd that a call opens is close-on-exec, and, except those of `pipe`,
 * non-blocking.
 *
 * @example
 * import { ECONNRESET, linux } from "bun-guillotine/sys";
 * const flaky: Sys = { ...linux(), recv: () => -ECONNRESET };
 * using runtime = new Runtime({ sys: flaky });
 * runtime.blockOn(function* () {
 *   using stream = yield* TcpStream.connect("127.0.0.1:7000");
 *   try {
 *     yield* stream.read(new Uint8Array(64));
 *   } catch (error) {
 *     console.log((error as SysError).code); // ECONNRESET
 *   }
 * });
 */
export interface Sys {
  /** Opens an epoll instance. See epoll_create1(2). */
  epollCreate(): number;
  /** Registers `fd` for `events`. Each event of the fd carries `slot` and `generation`. See epoll_ctl(2). */
  epollAdd(epollFd: number, fd: number, events: number, slot: number, generation: number): number;
  /** Changes the events of a registered fd. The next wait reports the conditions that already hold again. */
  epollModify(
    epollFd: number,
    fd: number,
    events: number,
    slot: number,
    generation: number,
  ): number;
  /** Deregisters `fd`. */
  epollDelete(epollFd: number, fd: number): number;
  /**
   * Waits up to `timeoutMs` milliseconds for events; -1 waits without limit. Fills `events` from index 0 and returns
   * the number of events. See epoll_wait(2).
   */
  epollWait(epollFd: number, events: EpollEvents, timeoutMs: number): number;
  /**
   * Returns a watcher that calls `onEvent` from Bun's event loop when `epollFd` has an event. Guest mode
   * (`runtime.run`) waits with it instead of blocking in `epollWait`. Watching begins with `watch`.
   */
  watchEpoll(epollFd: number, onEvent: () => void): EpollWatcher;

  /** Opens an eventfd: a 64-bit counter that is readable while above 0. See eventfd(2). */
  eventfd(): number;
  /** Adds 1 to the counter of an eventfd. */
  eventfdWrite(fd: number): number;
  /** Resets the counter of an eventfd to 0. */
  eventfdDrain(fd: number): number;

  /** Opens a timer on CLOCK_MONOTONIC. See timerfd_create(2). */
  timerfdCreate(): number;
  /** Arms a timer to fire once after `delayMs` milliseconds, which is above 0 and may have a fraction. */
  timerfdSet(fd: number, delayMs: number): number;

  /**
   * Starts to resolve `hostname` to IP addresses: of `family` AF_INET or AF_INET6, or of both for 0. Returns an fd, which
   * the caller closes. It becomes readable when the answer is there. One `read` of 16384 bytes then returns the answer
   * as text: a line with the result of getaddrinfo(3), 0 or a negative `EAI_…` code, and then a line per IP literal.
   */
  lookup(hostname: string, family: number): number;
  /** Returns the index of a network interface. See if_nametoindex(3). */
  interfaceIndex(name: string): number;

  /** Opens a socket. `protocol` is 0 by default: the only one of most domains and types. See socket(2). */
  socket(domain: number, type: number, protocol?: number): number;
  /** See bind(2). Port 0 chooses a free port, which `getsockname` then returns. */
  bind(fd: number, address: SockaddrBuffer): number;
  /** See listen(2). */
  listen(fd: number, backlog: number): number;
  /**
   * Connects a socket. A stream returns -EINPROGRESS and becomes writable when it is connected or has failed;
   * SO_ERROR then says which. See connect(2).
   */
  connect(fd: number, address: SockaddrBuffer): number;
  /** Accepts a connection and writes its address to `peer`. See accept4(2). */
  accept(fd: number, peer: SockaddrBuffer): number;
  /** Opens two connected sockets: writes their fds to `ends`. See socketpair(2). */
  socketpair(domain: number, type: number, ends: Int32Array): number;
  /** Writes the address of the peer of a socket to `address`. See getpeername(2). */
  getpeername(fd: number, address: SockaddrBuffer): number;
  /** Writes the local address of a socket to `address`. See getsockname(2). */
  getsockname(fd: number, address: SockaddrBuffer): number;
  /** Receives into `buffer` and returns the number of bytes; 0 is the end of the stream. See recv(2). */
  recv(fd: number, buffer: Uint8Array, flags: number): number;
  /**
   * Sends the first `length` bytes of `buffer`, by default all. Returns the number of bytes sent. Must not raise
   * SIGPIPE. See send(2).
   */
  send(fd: number, buffer: Uint8Array, flags: number, length?: number): number;
  /**
   * Sends `pieces` as one piece. Returns the number of bytes sent; as `send`, it may send fewer than there are. Sends at
   * most the first 64 pieces. Must not raise SIGPIPE. See sendmsg(2).
   */
  sendv(fd: number, pieces: readonly Uint8Array[], flags: number): number;
  /**
   * Receives one datagram and writes its sender to `from`. Returns the number of bytes; with MSG_TRUNC in `flags`,
   * the length of the whole datagram, even if it exceeds `buffer`. See recvfrom(2).
   */
  recvfrom(fd: number, buffer: Uint8Array, flags: number, from: SockaddrBuffer): number;
  /**
   * Receives into `message.data`, and the sender and the control messages into `message`. Returns the number of bytes; with
   * MSG_TRUNC in `flags`, the length of the whole datagram. Fds that arrive must be close-on-exec. See recvmsg(2).
   */
  recvmsg(fd: number, message: Message, flags: number): number;
  /** Sends `message`. Returns the number of bytes sent. Must not raise SIGPIPE. See sendmsg(2). */
  sendmsg(fd: number, message: Message, flags: number): number;
  /** Receives up to `batch.capacity` datagrams and returns the number of datagrams. See recvmmsg(2). */
  recvmmsg(fd: number, batch: Datagrams): number;
  /**
   * Sends the first `count` datagrams of `batch`. Returns how many it sent; an error only if that is none. See sendmmsg(2).
   */
  sendmmsg(fd: number, batch: Datagrams, count: number): number;
  /** Sends one datagram to `to`. Returns the number of bytes sent. See sendto(2). */
  sendto(fd: number, buffer: Uint8Array, flags: number, to: SockaddrBuffer): number;
  /** Closes one direction of a connection, or both: SHUT_RD, SHUT_WR or SHUT_RDWR. See shutdown(2). */
  shutdown(fd: number, how: number): number;
  /** Returns the value of an int option. See getsockopt(2). */
  getsockopt(fd: number, level: number, option: number): number;
  /** Sets an int option. */
  setsockopt(fd: number, level: number, option: number, value: number): number;
  /** Reads an option of any type into `value`. Returns its length in bytes. See getsockopt(2). */
  getsockoptBytes(fd: number, level: number, option: number, value: Uint8Array): number;
  /** Sets an option of any type. See setsockopt(2). */
  setsockoptBytes(fd: number, level: number, option: number, value: Uint8Array): number;

  /** Reads from any fd. Returns the number of bytes; 0 is the end. See read(2). */
  read(fd: number, buffer: Uint8Array): number;
  /** Writes to any fd. Returns the number of bytes. See write(2). */
  write(fd: number, buffer: Uint8Array): number;
  /** Writes `pieces` as one piece, at most the first 64. Returns the number of bytes. See writev(2). */
  writev(fd: number, pieces: readonly Uint8Array[]): number;
  /**
   * Opens a pipe: writes its reading end to `ends[0]` and its writing end to `ends[1]`. Unlike other calls, the ends are
   * blocking, as child processes expect of an end that they inherit. See pipe2(2).
   */
  pipe(ends: Int32Array): number;
  /** Reads or sets the flags of an fd: F_GETFL, F_SETFL. See fcntl(2). */
  fcntl(fd: number, command: number, argument: number): number;
  /** Returns CLOCK_MONOTONIC in microseconds, as other processes of this machine read it. See clock_gettime(2). */
  monotonicMicros(): number;
  /** Sets the permissions of an open file; of a socket before `bind`, those of the file that it creates. See fchmod(2). */
  fchmod(fd: number, mode: number): number;
  /** Sets the permissions of a file. See chmod(2). */
  chmod(path: string, mode: number): number;
  /** Removes a file. See unlink(2). */
  unlink(path: string): number;
  /** Returns what identifies the file at `path`, or the negative errno. Does not follow a symbolic link. See lstat(2). */
  lstat(path: string): FileIdentity | number;
  /** See close(2). */
  close(fd: number): number;

  /**
   * From now on each arrival of `signal` adds 1 to its count and to the counter of `eventFd`, in addition to what it did
   * before if the program had a handler for it; it no longer ends the process. Up to four eventfds may catch one signal.
   * Throws Error if no handler can be made. See sigaction(2).
   */
  catchSignal(signal: number, eventFd: number): number;
  /** Ends `catchSignal` for `eventFd`. The last one restores what `signal` did before. */
  releaseSignal(signal: number, eventFd: number): number;
  /** Returns how many times `signal` arrived while it was caught. */
  signalCount(signal: number): number;

  /** Returns the identity of the calling thread: above 0, and never reused. Throws Error where /proc is missing. */
  currentThread(): bigint;
  /** Returns false if `thread`, an identity from `currentThread`, has ended. Returns true when in doubt. */
  isThreadAlive(thread: bigint): boolean;
}

/** A file, as `Sys.lstat` returns it. */
export interface FileIdentity {
  readonly isSocket: boolean;
  /** The device and the inode: no other file has both. */
  readonly id: string;
}

/** Watches an epoll fd for a runtime in guest mode. See `Sys.watchEpoll`. */
export interface EpollWatcher {
  /** The number of free fds that the next `watch` needs. The guest does not call `watch` with fewer. */
  readonly fdsToStart: number;
  /**
   * Watches until the next event, then calls `onEvent` once. `isRef` is whether the watch keeps the process alive. A
   * call during a watch only updates `isRef`.
   */
  watch(isRef: boolean): void;
  /** Called when nothing outside this thread can wake a task. May keep resources, but not the process alive. */
  rest(): void;
  /** Stops watching and frees all resources. A later `watch` starts again. */
  close(): void;
}

/** Every method of `Sys`: the compiler rejects a missing name. */
export const METHODS: Readonly<Record<keyof Sys, true>> = {
  epollCreate: true,
  epollAdd: true,
  epollModify: true,
  epollDelete: true,
  epollWait: true,
  watchEpoll: true,
  eventfd: true,
  eventfdWrite: true,
  eventfdDrain: true,
  timerfdCreate: true,
  timerfdSet: true,
  lookup: true,
  interfaceIndex: true,
  socket: true,
  bind: true,
  listen: true,
  connect: true,
  accept: true,
  socketpair: true,
  getpeername: true,
  getsockname: true,
  recv: true,
  send: true,
  sendv: true,
  recvfrom: true,
  recvmsg: true,
  sendmsg: true,
  recvmmsg: true,
  sendmmsg: true,
  sendto: true,
  shutdown: true,
  getsockopt: true,
  setsockopt: true,
  getsockoptBytes: true,
  setsockoptBytes: true,
  read: true,
  write: true,
  writev: true,
  pipe: true,
  fcntl: true,
  monotonicMicros: true,
  fchmod: true,
  chmod: true,
  unlink: true,
  lstat: true,
  close: true,
  catchSignal: true,
  releaseSignal: true,
  signalCount: true,
  currentThread: true,
  isThreadAlive: true,
};

/** Returns `sys`. Throws TypeError if a method is missing, now rather than when that method is first called. */
export function checkSys(sys: Sys, name: string): Sys {
  if (typeof sys !== "object" || sys === null) {
    throw invalidType(`${name} must be a Sys; got ${describe(sys)}`);
  }
  for (const method of Object.keys(METHODS) as (keyof Sys)[]) {
    if (typeof sys[method] === "function") continue;
    throw invalidType(
      `${name} must have a method ${method}(); got ${describe(sys[method])}. Spread linux() to inherit it`,
    );
  }
  return sys;
}

/** Returns true if the process can open `count` more fds now. Tries it with eventfds. */
export function canOpen(sys: Sys, count: number): boolean {
  const fds: number[] = [];
  for (let fd = sys.eventfd(); fd >= 0; fd = sys.eventfd()) {
    fds.push(fd);
    if (fds.length === count) break;
  }
  for (const fd of fds) sys.close(fd);
  return fds.length === count;
}

/** Makes an eventfd report an event. If its counter is full and rejects the write, drains it and writes again. */
export function signalEventfd(sys: Sys, fd: number): void {
  if (sys.eventfdWrite(fd) !== -EAGAIN) return;
  sys.eventfdDrain(fd);
  sys.eventfdWrite(fd);
}
