// SimSys: the simulated kernel as one process sees it: its file descriptors, over the network stack of its host. Each
// method follows the man page of its system call; docs/simulation.md lists the differences.

import { codedError } from "../../base/coded-error.ts";
import type { Datagrams } from "../../sys/datagrams.ts";
import { EPOLLIN, type EpollEvents } from "../../sys/epoll.ts";
import { EAFNOSUPPORT, EBADF, EINVAL, EMFILE, ENOTSOCK, EOPNOTSUPP } from "../../sys/errno.ts";
import type { Message } from "../../sys/message.ts";
import { AF_INET, AF_INET6, AF_UNIX, SockaddrBuffer } from "../../sys/sockaddr.ts";
import {
  F_GETFL,
  F_SETFD,
  F_SETFL,
  IPPROTO_IP,
  IPPROTO_IPV6,
  MSG_CTRUNC,
  MSG_ERRQUEUE,
  MSG_TRUNC,
  O_NONBLOCK,
  SCM_CREDENTIALS,
  SCM_RIGHTS,
  SO_LINGER,
  SO_PEERCRED,
  SO_PEERPIDFD,
  SOCK_DGRAM,
  SOCK_SEQPACKET,
  SOCK_STREAM,
  SOL_SOCKET,
} from "../../sys/socket.ts";
import type { EpollWatcher, FileIdentity, Sys } from "../../sys/sys.ts";
import { Agenda } from "./agenda.ts";
import { SimEpoll } from "./epoll.ts";
import { ENODEV } from "./errno.ts";
import { SimEventfd, SimTimerfd } from "./eventfd.ts";
import { SimFile } from "./file.ts";
import { openPipe } from "./pipe.ts";
import { SimSocket } from "./sim-socket.ts";
import { NetStack } from "./stack.ts";
import { TcpSocket } from "./tcp.ts";
import {
  IP_MULTICAST_IF,
  MCAST_JOIN_GROUP,
  MCAST_LEAVE_SOURCE_GROUP,
  SimUdpSocket,
} from "./udp.ts";
import { SimUnixPackets } from "./unix-packets.ts";
import { type Credentials, nothingReceived, UnixSocket, writeSender } from "./unix-socket.ts";
import { SimUnixStream } from "./unix-stream.ts";

/** So that a file descriptor of the process is never mistaken for one of the simulation. */
export const FIRST_FD = 10_000;
/** RLIMIT_NOFILE, as a shell sets it. */
const MAX_FDS = 1024;

export interface SimSysOptions {
  /** The network stack. Default: one of its own, with loopback only. */
  readonly stack?: NetStack;
  /** How many fds may be open at once. Default: 1024. */
  readonly maxFds?: number;
  /** The id of the process. It belongs to root. Default: 1. */
  readonly pid?: number;
  /** Returns the address of a name; null if there is none. Default: knows no name but `localhost`. */
  readonly resolve?: (name: string) => string | null;
  /** Called for what cannot be simulated; throws. */
  readonly refuse?: (what: string) => never;
}

/** EAI_NONAME of getaddrinfo(3): the name has no address. */
const EAI_NONAME = -2;
const ESOCKTNOSUPPORT = 94;
/** The most fds of one message. */
const SCM_MAX_FD = 253;
/** struct cmsghdr. */
const CONTROL_HEADER_BYTES = 16;
const ONE = new Uint8Array([1, 0, 0, 0, 0, 0, 0, 0]);

export class SimSys implements Sys {
  readonly stack: NetStack;
  private readonly maxFds: number;
  private readonly credentials: Credentials;
  private readonly resolve: (name: string) => string | null;
  private readonly refuse: (what: string) => never;
  /** By fd, from FIRST_FD on. */
  private readonly files: (SimFile | null)[] = [];
  /** No fd below this one is free. */
  private lowestFree = 0;
  private openFds = 0;
  private readonly eightBytes = new Uint8Array(8);
  private readonly destination = new SockaddrBuffer();
  private readonly sender = new SockaddrBuffer();
  /** By signal number: the eventfds that its arrival writes, and how often it arrived. */
  private readonly caughtSignals = new Map<number, Set<number>>();
  private readonly signalCounts = new Map<number, number>();

  constructor(options: SimSysOptions = {}) {
    this.stack = options.stack ?? new NetStack({ agenda: new Agenda() });
    this.maxFds = options.maxFds ?? MAX_FDS;
    this.credentials = { pid: options.pid ?? 1, uid: 0, gid: 0 };
    this.resolve = options.resolve ?? (() => null);
    this.refuse =
      options.refuse ??
      ((what) => {
        throw codedError("ERR_SIMULATION", `SimSys: ${what} cannot be simulated`);
      });
  }

  /** The fds that a program has opened: all but those of the runtime itself, for epoll and for timers. */
  get programFds(): number[] {
    return [...this.files.keys()]
      .filter((index) => {
        const file = this.files[index] ?? null;
        return !(file === null || file instanceof SimEpoll || file instanceof SimTimerfd);
      })
      .map((index) => FIRST_FD + index);
  }

  /** True if an epoll instance of the process may have events. */
  hasEvents(epollFd: number): boolean {
    const file = this.fileAt(epollFd);
    return file instanceof SimEpoll && file.hasReady;
  }

  /** Closes all fds, as the kernel does when a process ends. */
  closeAll(): void {
    for (let index = 0; index < this.files.length; index++) this.close(FIRST_FD + index);
  }

  private open(file: SimFile): number {
    if (this.openFds >= this.maxFds) {
      file.dropReference();
      return -EMFILE;
    }
    let index = this.lowestFree;
    while (this.files[index] != null) index++;
    this.files[index] = file;
    this.lowestFree = index + 1;
    this.openFds++;
    return FIRST_FD + index;
  }

  private fileAt(fd: number): SimFile | null {
    return this.files[fd - FIRST_FD] ?? null;
  }

  /** Begins a call on the file behind `fd`, which `end` must end. Returns null if no file is open there. */
  private beginAt(fd: number): SimFile | null {
    const file = this.fileAt(fd);
    if (file !== null) this.stack.hold(file);
    return file;
  }

  /** Begins a call on the socket behind `fd`, which `end` must end. Returns -EBADF or -ENOTSOCK if there is none. */
  private socketAt(fd: number): SimSocket | number {
    const file = this.fileAt(fd);
    if (file === null) return -EBADF;
    if (!(file instanceof SimSocket)) return -ENOTSOCK;
    this.stack.hold(file);
    return file;
  }

  /** Ends the call in progress and returns its result. */
  private end(result: number): number {
    this.stack.release();
    return result;
  }

  epollCreate(): number {
    return this.open(new SimEpoll());
  }

  private withEpoll(
    epollFd: number,
    fd: number,
    call: (epoll: SimEpoll, file: SimFile) => number,
  ): number {
    const epoll = this.fileAt(epollFd);
    const file = this.fileAt(fd);
    if (epoll === null || file === null) return -EBADF;
    return epoll instanceof SimEpoll ? call(epoll, file) : -EINVAL;
  }

  epollAdd(epollFd: number, fd: number, events: number, slot: number, generation: number): number {
    return this.withEpoll(epollFd, fd, (epoll, file) =>
      epoll.add(file, fd, events, slot, generation),
    );
  }

  epollModify(
    epollFd: number,
    fd: number,
    events: number,
    slot: number,
    generation: number,
  ): number {
    return this.withEpoll(epollFd, fd, (epoll, file) =>
      epoll.modify(file, fd, events, slot, generation),
    );
  }

  epollDelete(epollFd: number, fd: number): number {
    return this.withEpoll(epollFd, fd, (epoll, file) => epoll.delete(file, fd));
  }

  /**
   * Returns the events that there are. If there are none, runs the agenda until there are some, or until `timeoutMs`
   * of virtual time have passed. Throws if it would wait without end. (A world never waits in here: it drives the
   * agenda itself.)
   */
  epollWait(epollFd: number, events: EpollEvents, timeoutMs: number): number {
    const epoll = this.fileAt(epollFd);
    if (epoll === null) return -EBADF;
    if (!(epoll instanceof SimEpoll)) return -EINVAL;
    const { agenda } = this.stack;
    agenda.runDue();
    let count = epoll.collect(events);
    if (count > 0 || timeoutMs === 0) return count;
    const untilMs = timeoutMs < 0 ? Number.POSITIVE_INFINITY : agenda.nowMs + timeoutMs;
    while (count === 0 && agenda.nextMs <= untilMs) {
      if (!agenda.runNext()) return this.refuse("a wait that nothing can end");
      count = epoll.collect(events);
    }
    if (count === 0 && agenda.nowMs < untilMs) agenda.nowMs = untilMs;
    return count;
  }

  watchEpoll(epollFd: number, onEvent: () => void): EpollWatcher {
    return new SimWatcher(this, epollFd, onEvent);
  }

  eventfd(): number {
    return this.open(new SimEventfd());
  }

  eventfdWrite(fd: number): number {
    return this.write(fd, ONE);
  }

  eventfdDrain(fd: number): number {
    return this.read(fd, this.eightBytes);
  }

  timerfdCreate(): number {
    return this.open(new SimTimerfd(this.stack.agenda));
  }

  timerfdSet(fd: number, delayMs: number): number {
    const file = this.fileAt(fd);
    if (file === null) return -EBADF;
    return file instanceof SimTimerfd ? file.set(delayMs) : -EINVAL;
  }

  lookup(hostname: string, family: number): number {
    const isLocalhost = hostname === "localhost";
    const all = isLocalhost ? ["127.0.0.1", "::1"] : [this.resolve(hostname)];
    const found = all.filter((ip): ip is string => {
      if (ip === null) return false;
      return family === 0 || (family === AF_INET6) === ip.includes(":");
    });
    const lines = found.length > 0 ? [0, ...found] : [EAI_NONAME];
    return this.open(new LookupAnswer(lines.join("\n")));
  }

  interfaceIndex(name: string): number {
    return this.stack.deviceNamed(name) || -ENODEV;
  }

  socketpair(domain: number, type: number, ends: Int32Array): number {
    if (domain !== AF_UNIX) return -EOPNOTSUPP;
    const [a, b] = [this.unixSocket(type), this.unixSocket(type)];
    if (a === null || b === null) return -ESOCKTNOSUPPORT;
    if (this.openFds + 2 > this.maxFds) return -EMFILE;
    UnixSocket.join(a, b);
    ends[0] = this.open(a);
    ends[1] = this.open(b);
    return 0;
  }

  /** Returns a new unix socket; null for an unknown type. */
  private unixSocket(type: number): UnixSocket | null {
    if (type === SOCK_STREAM) return new SimUnixStream(this.stack, this.credentials);
    if (type !== SOCK_SEQPACKET && type !== SOCK_DGRAM) return null;
    return new SimUnixPackets(this.stack, type, this.credentials);
  }

  getpeername(fd: number, address: SockaddrBuffer): number {
    const socket = this.socketAt(fd);
    return typeof socket === "number" ? socket : this.end(socket.writePeerName(address));
  }

  recvmsg(fd: number, message: Message, flags: number): number {
    if ((flags & MSG_ERRQUEUE) !== 0) return this.refuse("the errors of sent datagrams");
    const { data, address } = message;
    address.reset().length[0] = 0;
    const socket = this.socketAt(fd);
    if (typeof socket === "number") return socket;
    if (!(socket instanceof UnixSocket)) return this.end(socket.receiveFrom(data, flags, address));
    const received = nothingReceived();
    const count = socket.receive(data, flags, received);
    if (count < 0) return this.end(count);
    message.flags = received.isTruncated ? MSG_TRUNC : 0;
    message.controlLength = 0;
    writeSender(address, received.name);
    if (received.credentials !== null) this.addCredentials(message, received.credentials);
    if (received.files.length > 0) this.addFiles(message, received.files);
    return this.end(count);
  }

  private addCredentials(message: Message, { pid, uid, gid }: Credentials): void {
    const ids = new Uint8Array(new Int32Array([pid, uid, gid]).buffer);
    const room = roomFor(message);
    if (room < ids.length) message.flags |= MSG_CTRUNC;
    if (room >= 0) message.addControl(SOL_SOCKET, SCM_CREDENTIALS, ids.subarray(0, room));
  }

  /** Opens fds for the files that arrived, as many as there is room for, and closes the other files. */
  private addFiles(message: Message, files: readonly SimFile[]): void {
    const free = Math.min(roomFor(message) >> 2, this.maxFds - this.openFds);
    const taken = files.slice(0, Math.max(free, 0));
    const fds = new Int32Array(taken.map((file) => this.open(file)));
    if (fds.length > 0) message.addControl(SOL_SOCKET, SCM_RIGHTS, new Uint8Array(fds.buffer));
    if (fds.length < files.length) message.flags |= MSG_CTRUNC;
    this.stack.releaseLater(files.slice(taken.length));
  }

  sendmsg(fd: number, message: Message, _flags: number): number {
    const socket = this.socketAt(fd);
    if (typeof socket === "number") return socket;
    const { data, address, hasAddress, controlLength } = message;
    const to = hasAddress ? address : null;
    if (controlLength === 0) return this.end(socket.sendTo(data, to));
    if (!(socket instanceof UnixSocket)) return this.refuse("packet info or segments");
    const early = socket.beginSend();
    if (early < 0) return this.end(early);
    const files = this.filesOf(message);
    if (typeof files === "number") return this.end(files);
    return this.end(socket.transmit(data, to, files));
  }

  /** Returns the files that a message passes, or a negative errno. */
  private filesOf(message: Message): SimFile[] | number {
    const files: SimFile[] = [];
    for (const { level, type, data } of message.controls()) {
      if (level !== SOL_SOCKET || type !== SCM_RIGHTS) {
        return this.refuse("a control message other than fds");
      }
      for (const fd of new Int32Array(data.slice().buffer, 0, data.length >> 2)) {
        const file = this.fileAt(fd);
        if (file === null) return this.refuseForeign(fd);
        files.push(file);
      }
    }
    return files.length > SCM_MAX_FD ? -EINVAL : files;
  }

  /** An int, or the struct linger: whether it is on, and the seconds. Other structs are all zero. */
  getsockoptBytes(fd: number, level: number, option: number, value: Uint8Array): number {
    if (level === SOL_SOCKET && option === SO_PEERCRED) return this.peerCredentials(fd, value);
    const result = this.getsockopt(fd, level, option);
    if (result < 0) return result;
    const ints = new Int32Array(Math.ceil(value.length / 4));
    if (level === SOL_SOCKET && option === SO_LINGER)
      ints.set([Number(result > 0), Math.max(result - 1, 0)]);
    else ints[0] = result;
    value.set(new Uint8Array(ints.buffer, 0, value.length));
    return value.length;
  }

  /** Writes the struct ucred of the peer. */
  private peerCredentials(fd: number, value: Uint8Array): number {
    const socket = this.socketAt(fd);
    if (typeof socket === "number") return socket;
    this.end(0);
    if (!(socket instanceof UnixSocket)) return this.refuse("the credentials of an IP socket");
    const { pid, uid, gid } = socket.peerCredentials;
    const bytes = new Uint8Array(new Int32Array([pid, uid, gid]).buffer).subarray(0, value.length);
    value.set(bytes);
    return bytes.length;
  }

  setsockoptBytes(fd: number, level: number, option: number, bytes: Uint8Array): number {
    const value = new Uint8Array(bytes); // `slice` of a Buffer returns a view
    const isGroup = option >= MCAST_JOIN_GROUP && option <= MCAST_LEAVE_SOURCE_GROUP;
    if (level === IPPROTO_IPV6 && isGroup) return this.refuse("IPv6 multicast");
    if (level === IPPROTO_IP && (isGroup || option === IP_MULTICAST_IF)) {
      const socket = this.socketAt(fd);
      if (typeof socket === "number") return socket;
      if (!(socket instanceof SimUdpSocket)) return this.refuse("multicast of streams");
      return this.end(isGroup ? this.changeGroup(socket, option, value) : setDevice(socket, value));
    }
    const [first = 0, second = 0] = new Int32Array(value.buffer);
    // A lingering time is kept as one int: 0 for off, else one more than the seconds.
    const isLinger = level === SOL_SOCKET && option === SO_LINGER;
    return this.setsockopt(fd, level, option, isLinger && first !== 0 ? second + 1 : first);
  }

  /** `request` is a struct group_req or group_source_req. */
  private changeGroup(socket: SimUdpSocket, option: number, request: Uint8Array): number {
    const device = new Int32Array(request.slice(0, 4).buffer)[0]!;
    const [group, source] = [8, 136].map((at) => {
      const address = request.slice(at, at + 128);
      return address.length === 0 ? "" : this.sender.reset().encodeBytes(address).decode().hostname;
    });
    return socket.changeGroup(option, device, group!, source!);
  }

  /** Permissions are not checked: every process belongs to root. */
  fchmod(fd: number, _mode: number): number {
    const file = this.fileAt(fd);
    if (file === null) return -EBADF;
    return file instanceof UnixSocket ? 0 : this.refuse("the permissions of a file");
  }

  chmod(path: string, _mode: number): number {
    return Math.min(this.stack.unix.files.find(path), 0);
  }

  unlink(path: string): number {
    return this.stack.unix.files.remove(path);
  }

  lstat(path: string): FileIdentity | number {
    const inode = this.stack.unix.files.find(path);
    return inode < 0 ? inode : { isSocket: true, id: `0:${inode}` };
  }

  socket(domain: number, type: number, protocol = 0): number {
    if (protocol !== 0) return this.refuse(`a socket of protocol ${protocol}`);
    if (domain === AF_UNIX) {
      const socket = this.unixSocket(type);
      return socket === null ? -ESOCKTNOSUPPORT : this.open(socket);
    }
    if (domain !== AF_INET && domain !== AF_INET6) return -EAFNOSUPPORT;
    if (type === SOCK_STREAM) return this.open(new TcpSocket(this.stack, domain));
    return type === SOCK_DGRAM ? this.open(new SimUdpSocket(this.stack, domain)) : -EINVAL;
  }

  bind(fd: number, address: SockaddrBuffer): number {
    const socket = this.socketAt(fd);
    return typeof socket === "number" ? socket : this.end(socket.bind(address));
  }

  listen(fd: number, backlog: number): number {
    const socket = this.socketAt(fd);
    return typeof socket === "number" ? socket : this.end(socket.listen(backlog));
  }

  connect(fd: number, address: SockaddrBuffer): number {
    const socket = this.socketAt(fd);
    return typeof socket === "number" ? socket : this.end(socket.connect(address));
  }

  accept(fd: number, peer: SockaddrBuffer): number {
    const socket = this.socketAt(fd);
    if (typeof socket === "number") return socket;
    if (this.openFds >= this.maxFds) return this.end(-EMFILE); // the kernel takes the fd first
    const child = socket.accept();
    if (typeof child === "number") return this.end(child);
    // Also of a connection that its peer has reset, which getpeername(2) does not name.
    if (child instanceof TcpSocket) peer.reset().encode(child.peerAddress);
    else child.writePeerName(peer);
    return this.end(this.open(child));
  }

  getsockname(fd: number, address: SockaddrBuffer): number {
    const socket = this.socketAt(fd);
    if (typeof socket === "number") return socket;
    socket.writeName(address);
    return this.end(0);
  }

  recv(fd: number, buffer: Uint8Array, flags: number): number {
    const socket = this.socketAt(fd);
    return typeof socket === "number" ? socket : this.end(socket.receiveFrom(buffer, flags, null));
  }

  send(fd: number, buffer: Uint8Array, _flags: number, length: number = buffer.length): number {
    const socket = this.socketAt(fd);
    if (typeof socket === "number") return socket;
    const data = length === buffer.length ? buffer : buffer.subarray(0, length);
    return this.end(socket.sendTo(data, null));
  }

  sendv(fd: number, pieces: readonly Uint8Array[], _flags: number): number {
    const socket = this.socketAt(fd);
    return typeof socket === "number" ? socket : this.end(socket.writev(pieces));
  }

  recvfrom(fd: number, buffer: Uint8Array, flags: number, from: SockaddrBuffer): number {
    const socket = this.socketAt(fd);
    return typeof socket === "number" ? socket : this.end(socket.receiveFrom(buffer, flags, from));
  }

  recvmmsg(fd: number, batch: Datagrams): number {
    const socket = this.socketAt(fd);
    if (typeof socket === "number") return socket;
    this.end(0);
    if (!(socket instanceof SimUdpSocket)) return -EOPNOTSUPP;
    const buffer = new Uint8Array(65_536);
    let count = 0;
    while (count < batch.capacity) {
      const length = socket.receiveFrom(buffer, 0, this.sender);
      if (length < 0) return count > 0 ? count : length;
      batch.write(count++, buffer.subarray(0, length), this.sender.decode());
    }
    return count;
  }

  sendmmsg(fd: number, batch: Datagrams, count: number): number {
    for (let index = 0; index < count; index++) {
      const data = new Uint8Array(batch.length(index));
      batch.copy(index, data);
      const to = batch.hasAddress(index) ? this.destination.encode(batch.from(index)) : null;
      const sent = to === null ? this.send(fd, data, 0) : this.sendto(fd, data, 0, to);
      if (sent < 0) return index > 0 ? index : sent;
    }
    return count;
  }

  sendto(fd: number, buffer: Uint8Array, _flags: number, to: SockaddrBuffer): number {
    const socket = this.socketAt(fd);
    return typeof socket === "number" ? socket : this.end(socket.sendTo(buffer, to));
  }

  shutdown(fd: number, how: number): number {
    const file = this.beginAt(fd);
    return file === null ? -EBADF : this.end(file.shutdown(how));
  }

  getsockopt(fd: number, level: number, option: number): number {
    const socket = this.socketAt(fd);
    if (typeof socket === "number") return socket;
    if (level === SOL_SOCKET && option === SO_PEERPIDFD) return this.refuse("a pidfd");
    return this.end(socket.getsockopt(level, option));
  }

  setsockopt(fd: number, level: number, option: number, value: number): number {
    const socket = this.socketAt(fd);
    return typeof socket === "number" ? socket : this.end(socket.setsockopt(level, option, value));
  }

  read(fd: number, buffer: Uint8Array): number {
    const file = this.beginAt(fd);
    return file === null ? -EBADF : this.end(file.read(buffer));
  }

  write(fd: number, buffer: Uint8Array): number {
    const file = this.beginAt(fd);
    return file === null ? -EBADF : this.end(file.write(buffer));
  }

  writev(fd: number, pieces: readonly Uint8Array[]): number {
    const file = this.beginAt(fd);
    return file === null ? -EBADF : this.end(file.writev(pieces));
  }

  pipe(ends: Int32Array): number {
    if (this.openFds + 2 > this.maxFds) return -EMFILE;
    const [reader, writer] = openPipe();
    ends[0] = this.open(reader);
    ends[1] = this.open(writer);
    return 0;
  }

  fcntl(fd: number, command: number, argument: number): number {
    const file = this.fileAt(fd);
    if (file === null) return this.refuseForeign(fd);
    if (command === F_GETFL) return file.flags;
    if (command === F_SETFD) return 0; // no program is executed
    if (command !== F_SETFL) return -EINVAL;
    file.flags = argument;
    return 0;
  }

  /** Refuses an fd of the process itself. Returns -EBADF for other numbers. */
  private refuseForeign(fd: number): number {
    if (fd < 0 || fd >= FIRST_FD) return -EBADF;
    return this.refuse(`fd ${fd}, which was opened outside the simulation,`);
  }

  close(fd: number): number {
    const file = this.fileAt(fd);
    if (file === null) return -EBADF;
    const index = fd - FIRST_FD;
    this.files[index] = null;
    this.openFds--;
    if (index < this.lowestFree) this.lowestFree = index;
    this.stack.hold(file);
    file.dropReference();
    return this.end(0);
  }

  catchSignal(signal: number, eventFd: number): number {
    const eventFds = this.caughtSignals.get(signal) ?? new Set();
    this.caughtSignals.set(signal, eventFds.add(eventFd));
    return 0;
  }

  releaseSignal(signal: number, eventFd: number): number {
    this.caughtSignals.get(signal)?.delete(eventFd);
    return 0;
  }

  signalCount(signal: number): number {
    return this.signalCounts.get(signal) ?? 0;
  }

  /** Sends a signal to the process. Returns false if the process does not catch it. */
  raise(signal: number): boolean {
    const eventFds = this.caughtSignals.get(signal);
    if (eventFds === undefined || eventFds.size === 0) return false;
    this.signalCounts.set(signal, this.signalCount(signal) + 1);
    for (const eventFd of eventFds) this.eventfdWrite(eventFd);
    return true;
  }

  monotonicMicros(): number {
    return Math.floor(this.stack.agenda.nowMs * 1000);
  }

  currentThread(): bigint {
    return this.refuse("a waker or a job of another thread");
  }

  isThreadAlive(): boolean {
    return true;
  }
}

/** `request` is a struct ip_mreqn: two addresses, and the index of the interface. */
function setDevice(socket: SimUdpSocket, request: Uint8Array): number {
  return socket.setMulticastDevice(new Int32Array(request.slice().buffer)[2]!);
}

/** Returns how many bytes the next control message of `message` may hold; below 0 if there is no room for one. */
function roomFor({ maxControlLength, controlLength }: Message): number {
  return maxControlLength - controlLength - CONTROL_HEADER_BYTES;
}

/** The answer of a lookup, which is there at once. */
class LookupAnswer extends SimFile {
  private answer: Uint8Array;

  constructor(text: string) {
    super(O_NONBLOCK);
    this.answer = Buffer.from(text);
  }

  override poll(): number {
    return EPOLLIN;
  }

  override read(buffer: Uint8Array): number {
    const length = Math.min(buffer.length, this.answer.length);
    buffer.set(this.answer.subarray(0, length));
    this.answer = this.answer.subarray(length);
    return length;
  }

  override close(): void {}
}

/** Polls the simulated kernel from Bun's loop. Time jumps while there is no event. */
class SimWatcher implements EpollWatcher {
  readonly fdsToStart = 0;
  private readonly sys: SimSys;
  private readonly epollFd: number;
  private readonly onEvent: () => void;
  private immediate: ReturnType<typeof setImmediate> | null = null;

  constructor(sys: SimSys, epollFd: number, onEvent: () => void) {
    this.sys = sys;
    this.epollFd = epollFd;
    this.onEvent = onEvent;
  }

  watch(): void {
    this.immediate ??= setImmediate(() => {
      this.immediate = null;
      while (!this.sys.hasEvents(this.epollFd) && this.sys.stack.agenda.runNext());
      if (this.sys.hasEvents(this.epollFd)) this.onEvent();
      else this.watch();
    });
  }

  rest(): void {
    this.close();
  }

  close(): void {
    if (this.immediate !== null) clearImmediate(this.immediate);
    this.immediate = null;
  }
}
