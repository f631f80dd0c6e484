// socket(2) and its relatives, read, write, fcntl and close.

import { describe } from "../base/describe.ts";
import type { Libc } from "./libc.ts";
import type { Sys } from "./sys.ts";

export const SOCK_STREAM = 1;
export const SOCK_DGRAM = 2;
export const SOL_SOCKET = 1;
export const SO_REUSEADDR = 2;
export const SO_ERROR = 4;
export const SO_BROADCAST = 6;
export const SO_KEEPALIVE = 9;
export const SO_REUSEPORT = 15;
export const IPPROTO_TCP = 6;
export const TCP_NODELAY = 1;
export const TCP_KEEPIDLE = 4;
export const TCP_KEEPINTVL = 5;
export const F_GETFL = 3;
export const F_SETFL = 4;
export const O_NONBLOCK = 0x800;
export const SHUT_RD = 0;
export const SHUT_WR = 1;
export const SHUT_RDWR = 2;

const FLAGS = 0x80000 | O_NONBLOCK; // SOCK_CLOEXEC | SOCK_NONBLOCK
export const MSG_TRUNC = 0x20;
const MSG_NOSIGNAL = 0x4000;
/** Results are i32: more than this would come back negative. */
const MAX_LENGTH = 0x7fffffff;

type Calls = Omit<
  Sys,
  | ("epollCreate" | "epollAdd" | "epollModify" | "epollDelete" | "epollWait")
  | "recvmmsg"
  | ("eventfd" | "eventfdWrite" | "eventfdDrain" | "timerfdCreate" | "timerfdSet")
>;

/** User buffers are passed as views on each call: the caller's frame keeps them alive, and no longer. */
export function socketCalls(c: Libc): Calls {
  const { check, failure, recv, send } = c;
  // An int option and its length; used during the calls only, held by this closure.
  const value = new Int32Array(new ArrayBuffer(4));
  const valueLength = new Uint32Array(new ArrayBuffer(4));
  const cap = (buffer: Uint8Array): number => Math.min(buffer.length, MAX_LENGTH);
  return {
    socket: (domain, type) => check(c.socket(domain, type | FLAGS, 0)),
    bind: (fd, address) => check(c.bind(fd, address.bytes, address.length[0]!)),
    listen: (fd, backlog) => check(c.listen(fd, backlog)),
    connect: (fd, address) => check(c.connect(fd, address.bytes, address.length[0]!)),
    accept: (fd, peer) => check(c.accept4(fd, peer.reset().bytes, peer.length, FLAGS)),
    getsockname: (fd, address) => check(c.getsockname(fd, address.reset().bytes, address.length)),
    // These two without `check` and `cap`: as deep as they are in a poll, the engine inlines no more calls.
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
    read: (fd, buffer) => check(c.read(fd, buffer, cap(buffer))),
    write: (fd, buffer) => check(c.write(fd, buffer, cap(buffer))),
    fcntl: (fd, command, argument) => check(c.fcntl(fd, command, argument)),
    close: (fd) => check(c.close(fd)),
  };
}

/**
 * Checks a buffer that the kernel will use. Throws TypeError for what is no Uint8Array, RangeError
 * for an empty or detached one: a read into no room would return 0, which means the end.
 */
export function checkBuffer(
  buffer: unknown,
  name = "buffer",
  what = "a Uint8Array",
): asserts buffer is Uint8Array {
  if (!(buffer instanceof Uint8Array)) {
    throw new TypeError(`${name} must be ${what}; got ${describe(buffer)}`);
  }
  if (buffer.length === 0) {
    const state = (buffer.buffer as ArrayBuffer).detached ? "a detached" : "an empty";
    throw new RangeError(`${name} must hold at least one byte; got ${state} one`);
  }
}
