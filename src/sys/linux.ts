// The default Sys: Linux through libc.
//
// Each call returns libc's result or the negative errno. Structs passed to the kernel live in explicit
// ArrayBuffers that a closure holds, because the address of a small typed array is not stable. We pass users'
// buffers as views on each call; the caller's frame keeps them alive for exactly that long.

import type { Datagrams } from "./datagrams.ts";
import { EpollEvents } from "./epoll.ts";
import { EpollThread } from "./epoll-watcher.ts";
import { type Libc, libc, unsupportedReason } from "./libc.ts";
import { cString, Vectors } from "./message.ts";
import { Resolver } from "./resolver.ts";
import { signalCalls } from "./signal-handler.ts";
import { MSG_CMSG_CLOEXEC, O_NONBLOCK } from "./socket.ts";
import { canOpen, type Sys } from "./sys.ts";
import { threadIdentity } from "./threads.ts";

/** EPOLL_CLOEXEC, EFD_CLOEXEC, TFD_CLOEXEC and SOCK_CLOEXEC have the same value. */
const CLOEXEC = 0x80000;
const FD_FLAGS = CLOEXEC | O_NONBLOCK;
const EPOLL_CTL_ADD = 1;
const EPOLL_CTL_DEL = 2;
const EPOLL_CTL_MOD = 3;
const CLOCK_MONOTONIC = 1;
const MSG_NOSIGNAL = 0x4000;
/** Results are i32: the result of a longer transfer would be negative. */
const MAX_LENGTH = 0x7fffffff;
/** The kernel counts nanoseconds in 64 bits and rejects more. After this long the timer fires and is armed again. */
const MAX_TIMER_SECONDS = 1e9;

type Calls<K extends keyof Sys> = Pick<Sys, K>;

/** epoll(7). */
function epollCalls({
  epoll_create1,
  epoll_ctl,
  epoll_wait,
  check,
}: Libc): Calls<"epollCreate" | "epollAdd" | "epollModify" | "epollDelete" | "epollWait"> {
  const event = new EpollEvents(1);
  return {
    epollCreate: () => check(epoll_create1(CLOEXEC)),
    epollAdd(epollFd, fd, events, slot, generation) {
      event.set(0, events, slot, generation);
      return check(epoll_ctl(epollFd, EPOLL_CTL_ADD, fd, event.memory));
    },
    epollModify(epollFd, fd, events, slot, generation) {
      event.set(0, events, slot, generation);
      return check(epoll_ctl(epollFd, EPOLL_CTL_MOD, fd, event.memory));
    },
    epollDelete: (epollFd, fd) => check(epoll_ctl(epollFd, EPOLL_CTL_DEL, fd, event.memory)),
    epollWait: (epollFd, events, timeoutMs) =>
      check(epoll_wait(epollFd, events.memory, events.capacity, timeoutMs)),
  };
}

/** eventfd(2): a 64-bit counter in the kernel. A write to it is an event. */
function eventfdCalls({
  eventfd,
  read,
  write,
  check,
}: Libc): Calls<"eventfd" | "eventfdWrite" | "eventfdDrain"> {
  const one = new BigUint64Array(new ArrayBuffer(8));
  one[0] = 1n;
  const drained = new BigUint64Array(new ArrayBuffer(8));
  return {
    eventfd: () => check(eventfd(0, FD_FLAGS)),
    eventfdWrite: (fd) => check(write(fd, one, 8)),
    eventfdDrain: (fd) => check(read(fd, drained, 8)),
  };
}

/** clock_gettime(2). */
function clockCalls(c: Libc): Calls<"monotonicMicros"> {
  const time = new BigInt64Array(new ArrayBuffer(16)); // struct timespec: seconds, nanoseconds
  return {
    monotonicMicros() {
      c.clock_gettime(CLOCK_MONOTONIC, time);
      return Number(time[0]! * 1_000_000n + time[1]! / 1000n);
    },
  };
}

/** timerfd_create(2): a timer as an fd. */
export function timerfdCalls({
  timerfd_create,
  timerfd_settime,
  check,
}: Libc): Calls<"timerfdCreate" | "timerfdSet"> {
  // struct itimerspec: interval (s, ns), value (s, ns); each 64-bit, little-endian. The interval stays zero,
  // and both halves of the value are below 2^31, so 32-bit integers avoid a BigInt.
  const spec = new Int32Array(new ArrayBuffer(32));
  return {
    timerfdCreate: () => check(timerfd_create(CLOCK_MONOTONIC, FD_FLAGS)),
    timerfdSet(fd, delayMs) {
      let seconds = Math.min(Math.floor(delayMs / 1000), MAX_TIMER_SECONDS);
      // Rounded up, so that the timer is never early and never 0, which would disarm it.
      let nanoseconds = Math.ceil((delayMs - seconds * 1000) * 1e6);
      if (nanoseconds >= 1e9) {
        nanoseconds = 0;
        seconds++;
      }
      spec[4] = seconds;
      spec[6] = nanoseconds;
      return check(timerfd_settime(fd, 0, spec, null));
    },
  };
}

type SocketCall =
  | (
      | "socket"
      | "bind"
      | "listen"
      | "connect"
      | "accept"
      | "getpeername"
      | "getsockname"
      | "shutdown"
    )
  | ("recv" | "send" | "recvfrom" | "sendto")
  | ("getsockopt" | "setsockopt" | "getsockoptBytes" | "setsockoptBytes")
  | ("read" | "write" | "fcntl" | "close");

/** socket(2) and its relatives, and read, write, fcntl, close. */
function socketCalls(c: Libc): Calls<SocketCall> {
  const { check, failure, recv, send } = c;
  // The value of an int option, and its length.
  const value = new Int32Array(new ArrayBuffer(4));
  const valueLength = new Uint32Array(new ArrayBuffer(4));
  const cap = (buffer: Uint8Array): number => Math.min(buffer.length, MAX_LENGTH);
  return {
    socket: (domain, type, protocol = 0) => check(c.socket(domain, type | FD_FLAGS, protocol)),
    bind: (fd, address) => check(c.bind(fd, address.bytes, address.length[0]!)),
    listen: (fd, backlog) => check(c.listen(fd, backlog)),
    connect: (fd, address) => check(c.connect(fd, address.bytes, address.length[0]!)),
    accept: (fd, peer) => check(c.accept4(fd, peer.reset().bytes, peer.length, FD_FLAGS)),
    getpeername: (fd, address) => check(c.getpeername(fd, address.reset().bytes, address.length)),
    getsockname: (fd, address) => check(c.getsockname(fd, address.reset().bytes, address.length)),
    // recv and send do not call `check` and `cap`: this deep in a poll, the JIT would not inline them.
    recv(fd, buffer, flags) {
      const count = recv(fd, buffer, Math.min(buffer.length, MAX_LENGTH), flags);
      return count === -1 ? failure() : count;
    },
    send(fd, buffer, flags, length = buffer.length) {
      const count = send(fd, buffer, Math.min(length, MAX_LENGTH), flags | MSG_NOSIGNAL);
      return count === -1 ? failure() : count;
    },
    recvfrom: (fd, buffer, flags, from) =>
      check(c.recvfrom(fd, buffer, cap(buffer), flags, from.reset().bytes, from.length)),
    sendto: (fd, buffer, flags, to) =>
      check(c.sendto(fd, buffer, cap(buffer), flags | MSG_NOSIGNAL, to.bytes, to.length[0]!)),
    shutdown: (fd, how) => check(c.shutdown(fd, how)),
    getsockopt(fd, level, option) {
      valueLength[0] = 4;
      const result = check(c.getsockopt(fd, level, option, value, valueLength));
      return result < 0 ? result : value[0]!;
    },
    setsockopt(fd, level, option, setting) {
      value[0] = setting;
      return check(c.setsockopt(fd, level, option, value, 4));
    },
    getsockoptBytes(fd, level, option, buffer) {
      valueLength[0] = buffer.length;
      const result = check(c.getsockopt(fd, level, option, buffer, valueLength));
      return result < 0 ? result : valueLength[0]!;
    },
    setsockoptBytes: (fd, level, option, bytes) =>
      check(c.setsockopt(fd, level, option, bytes, bytes.length)),
    read: (fd, buffer) => check(c.read(fd, buffer, cap(buffer))),
    write: (fd, buffer) => check(c.write(fd, buffer, cap(buffer))),
    fcntl: (fd, command, argument) => check(c.fcntl(fd, command, argument)),
    close: (fd) => check(c.close(fd)),
  };
}

/** Names: of hosts and of network interfaces. */
function nameCalls(c: Libc): Calls<"lookup" | "interfaceIndex"> {
  let resolver: Resolver | null = null;
  return {
    lookup(hostname, family) {
      resolver ??= new Resolver(c, (count) => canOpen(linux(), count));
      return resolver.lookup(hostname, family);
    },
    interfaceIndex(name) {
      const index = c.if_nametoindex(cString(name));
      return index === 0 ? c.failure() : index;
    },
  };
}

/** sendmsg(2) and writev(2): many pieces in one call. And pipe2(2), socketpair(2). */
function vectorCalls(c: Libc): Calls<"sendv" | "writev" | "pipe" | "socketpair"> {
  const vectors = new Vectors(c);
  // Two int fds. The kernel writes them, so their address must not change.
  const pair = new Int32Array(new ArrayBuffer(8));
  return {
    sendv(fd, pieces, flags) {
      vectors.fill(pieces);
      return c.check(c.sendmsg(fd, vectors.message, flags | MSG_NOSIGNAL));
    },
    writev: (fd, pieces) => c.check(c.writev(fd, vectors.memory, vectors.fill(pieces))),
    pipe(ends) {
      const result = c.check(c.pipe2(pair, CLOEXEC));
      ends.set(pair);
      return result;
    },
    socketpair(domain, type, ends) {
      const result = c.check(c.socketpair(domain, type | FD_FLAGS, 0, pair));
      ends.set(pair);
      return result;
    },
  };
}

/** recvmsg(2), sendmsg(2), recvmmsg(2) and sendmmsg(2). */
function datagramCalls(c: Libc): Calls<"recvmsg" | "sendmsg" | "recvmmsg" | "sendmmsg"> {
  return {
    recvmsg(fd, message, flags) {
      const count = c.check(c.recvmsg(fd, message.toReceive(c), flags | MSG_CMSG_CLOEXEC));
      if (count >= 0) message.onReceived();
      return count;
    },
    sendmsg: (fd, message, flags) =>
      c.check(c.sendmsg(fd, message.toSend(c), flags | MSG_NOSIGNAL)),
    sendmmsg: (fd, batch, count) =>
      c.check(c.sendmmsg(fd, batch.toSend(c, count), count, MSG_NOSIGNAL)),
    recvmmsg: (fd: number, batch: Datagrams) =>
      c.check(c.recvmmsg(fd, batch.reset(c).headers, batch.capacity, 0, null)),
  };
}

/** The files of unix sockets. */
function fileCalls(c: Libc): Calls<"fchmod" | "chmod" | "unlink" | "lstat"> {
  return {
    fchmod: (fd, mode) => c.check(c.fchmod(fd, mode)),
    chmod: (path, mode) => c.check(c.chmod(cString(path), mode)),
    unlink: (path) => c.check(c.unlink(cString(path))),
    lstat(path) {
      try {
        const status = process.getBuiltinModule("node:fs").lstatSync(path, { bigint: true });
        return { isSocket: status.isSocket(), id: `${status.dev}:${status.ino}` };
      } catch (error) {
        return -Math.abs((error as { errno: number }).errno);
      }
    },
  };
}

let opened: Sys | null = null;

/**
 * Returns the Sys that calls the kernel through libc: one object per thread. Opens libc on the first call. Throws
 * UnsupportedPlatformError where libc cannot be opened. Wrap it to observe calls or to inject faults.
 *
 * @example
 * import { linux } from "bun-guillotine/sys";
 * let receives = 0;
 * const counting: Sys = {
 *   ...linux(),
 *   recv(fd, buffer, flags) {
 *     receives++;
 *     return linux().recv(fd, buffer, flags);
 *   },
 * };
 * using runtime = new Runtime({ sys: counting });
 */
export function linux(): Sys {
  if (opened === null) {
    const c = libc();
    opened = {
      ...epollCalls(c),
      ...eventfdCalls(c),
      ...timerfdCalls(c),
      ...socketCalls(c),
      ...vectorCalls(c),
      ...datagramCalls(c),
      ...fileCalls(c),
      ...clockCalls(c),
      ...signalCalls(),
      ...nameCalls(c),
      ...threadIdentity(),
      watchEpoll: (epollFd, onEvent) => new EpollThread(epollFd, onEvent),
    };
  }
  return opened;
}

/** True if this process can run a Runtime: Bun 1.4.5 or newer, Linux, x64 or arm64, with the JIT on. */
export const isSupported: boolean = unsupportedReason() === null;
