// Constants of socket(2), setsockopt(2), recv(2), fcntl(2) and shutdown(2), and the check of users' buffers.

import { invalidType, outOfRange } from "../base/check.ts";
import { describe } from "../base/describe.ts";

export const SOCK_STREAM = 1;
export const SOCK_DGRAM = 2;
export const SOCK_RAW = 3;
export const SOCK_SEQPACKET = 5;
export const SOL_SOCKET = 1;
export const SO_REUSEADDR = 2;
export const SO_ERROR = 4;
export const SO_BROADCAST = 6;
export const SO_SNDBUF = 7;
export const SO_RCVBUF = 8;
export const SO_KEEPALIVE = 9;
export const SO_REUSEPORT = 15;
export const SO_LINGER = 13;
export const SO_PASSCRED = 16;
export const SO_PEERCRED = 17;
export const SO_PEERPIDFD = 77;
export const SCM_RIGHTS = 1;
export const SCM_CREDENTIALS = 2;
export const SCM_PIDFD = 4;
export const IPPROTO_IP = 0;
export const IPPROTO_IPV6 = 41;
export const IP_PKTINFO = 8;
export const IPV6_PKTINFO = 50;
export const IP_RECVERR = 11;
export const IPV6_RECVERR = 25;
export const IPPROTO_ICMPV6 = 58;
export const IP_BIND_ADDRESS_NO_PORT = 24;
export const IPPROTO_ICMP = 1;
export const IPPROTO_TCP = 6;
export const IPPROTO_UDP = 17;
export const IPPROTO_MPTCP = 262;
/** The level of options of UDP. */
export const SOL_UDP = 17;
export const UDP_GRO = 104;
export const TCP_NODELAY = 1;
export const TCP_KEEPIDLE = 4;
export const TCP_KEEPINTVL = 5;
export const SO_TYPE = 3;
export const SO_ACCEPTCONN = 30;
export const SO_PROTOCOL = 38;
export const SO_DOMAIN = 39;
export const F_SETFD = 2;
export const FD_CLOEXEC = 1;
export const F_GETFL = 3;
export const F_SETFL = 4;
export const O_WRONLY = 1;
export const O_ACCMODE = 3;
export const O_NONBLOCK = 0x800;
export const SHUT_RD = 0;
export const SHUT_WR = 1;
export const SHUT_RDWR = 2;

export const MSG_PEEK = 2;
export const MSG_CTRUNC = 8;
export const MSG_TRUNC = 0x20;
export const MSG_ERRQUEUE = 0x2000;
export const MSG_CMSG_CLOEXEC = 0x40000000;

/**
 * Checks a buffer before the kernel uses it. Throws TypeError if it is not a Uint8Array, and RangeError if it is
 * empty or detached: a read into an empty buffer would return 0, which means the end of the stream.
 */
export const checkBuffer: (
  buffer: unknown,
  name?: string,
  what?: string,
) => asserts buffer is Uint8Array = (buffer, name, what) => {
  if (!(buffer instanceof Uint8Array) || buffer.length === 0) refuseBuffer(buffer, name, what);
};

function refuseBuffer(buffer: unknown, name = "buffer", what = "a Uint8Array"): never {
  if (!(buffer instanceof Uint8Array)) {
    const hint =
      typeof buffer === "string"
        ? ": encode text by a TextEncoder, or use writeAll of a stream"
        : "";
    throw invalidType(`${name} must be ${what}; got ${describe(buffer)}${hint}`);
  }
  const state = (buffer.buffer as ArrayBuffer).detached ? "a detached" : "an empty";
  throw outOfRange(`${name} must hold at least one byte; got ${state} one`);
}
