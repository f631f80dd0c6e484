// bun-guillotine/sys: the types, constants and buffers for writing your own Sys or Clock.

export { type Clock, systemClock } from "./clock.ts";
export { Datagrams } from "./datagrams.ts";
export { defaultSys, setDefaultSys } from "./default.ts";
export {
  EPOLLERR,
  EPOLLET,
  EPOLLHUP,
  EPOLLIN,
  EPOLLOUT,
  EPOLLPRI,
  EPOLLRDHUP,
  EpollEvents,
} from "./epoll.ts";
export {
  EACCES,
  EADDRINUSE,
  EAGAIN,
  EALREADY,
  EBADF,
  ECONNABORTED,
  ECONNREFUSED,
  ECONNRESET,
  EHOSTDOWN,
  EHOSTUNREACH,
  EINPROGRESS,
  EINTR,
  EINVAL,
  EMFILE,
  ENETDOWN,
  ENETUNREACH,
  ENFILE,
  ENOBUFS,
  ENOENT,
  ENOMEM,
  ENONET,
  ENOPROTOOPT,
  ENOTCONN,
  ENOTSOCK,
  EOPNOTSUPP,
  EPERM,
  EPIPE,
  EPROTO,
  ETIMEDOUT,
  SysError,
} from "./errno.ts";
export { linux } from "./linux.ts";
export { type ControlMessage, Message } from "./message.ts";
export { AF_INET, AF_INET6, AF_UNIX, SockaddrBuffer, type SocketAddress } from "./sockaddr.ts";
export {
  F_GETFL,
  F_SETFL,
  IPPROTO_TCP,
  MSG_CTRUNC,
  MSG_PEEK,
  MSG_TRUNC,
  O_ACCMODE,
  O_NONBLOCK,
  O_WRONLY,
  SCM_CREDENTIALS,
  SCM_RIGHTS,
  SHUT_RD,
  SHUT_RDWR,
  SHUT_WR,
  SO_BROADCAST,
  SO_ERROR,
  SO_KEEPALIVE,
  SO_REUSEADDR,
  SO_REUSEPORT,
  SOCK_DGRAM,
  SOCK_SEQPACKET,
  SOCK_STREAM,
  SOL_SOCKET,
  TCP_KEEPIDLE,
  TCP_KEEPINTVL,
  TCP_NODELAY,
} from "./socket.ts";
export type { EpollWatcher, FileIdentity, Sys } from "./sys.ts";
