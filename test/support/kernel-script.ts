// Random scripts of system calls, and what the simulated kernel and the real one answer.
//
// A script names files by index, modulo how many there are, so that any script makes sense. Fds and ports differ from
// kernel to kernel; the answers name them by the index of their file.

import { networkInterfaces, tmpdir } from "node:os";
import fc from "fast-check";
import { Agenda } from "../../src/sim/kernel/agenda.ts";
import { SimSys } from "../../src/sim/kernel/sim-sys.ts";
import { NetStack } from "../../src/sim/kernel/stack.ts";
import {
  AF_INET,
  AF_INET6,
  AF_UNIX,
  Datagrams,
  EPOLLET,
  EPOLLIN,
  EPOLLOUT,
  EPOLLPRI,
  EPOLLRDHUP,
  EpollEvents,
  F_GETFL,
  F_SETFL,
  IPPROTO_TCP,
  linux,
  Message,
  MSG_CTRUNC,
  MSG_PEEK,
  MSG_TRUNC,
  O_NONBLOCK,
  SCM_RIGHTS,
  SO_ERROR,
  SO_REUSEADDR,
  SOCK_DGRAM,
  SOCK_SEQPACKET,
  SOCK_STREAM,
  SOL_SOCKET,
  SockaddrBuffer,
  type Sys,
  TCP_NODELAY,
} from "../../src/sys/index.ts";
import {
  F_SETFD,
  FD_CLOEXEC,
  IPPROTO_IP,
  IPPROTO_IPV6,
  SO_ACCEPTCONN,
  SO_DOMAIN,
  SO_LINGER,
  SO_PASSCRED,
  SO_PEERCRED,
  SO_PROTOCOL,
  SO_TYPE,
} from "../../src/sys/socket.ts";

/** One system call: its name, the file it is for, another file, and a number. */
export type Step = readonly [call: Call, file: number, other: number, n: number];

/** The calls of a theme, and how often each is drawn. */
type Theme = Readonly<Partial<Record<Call, number>>>;

type Call =
  | ("socket" | "udp" | "eventfd" | "timerfd" | "pipe" | "pair" | "udpPair" | "unixPair")
  | ("bind" | "bindAny" | "bindUsed" | "listen" | "connect" | "connectClosed" | "accept")
  | ("send" | "sendv" | "recv" | "read" | "write" | "writev" | "recvfrom" | "recvmmsg" | "sendto")
  | ("shutdown" | "close" | "soError" | "reuse" | "nodelay" | "getfl" | "name" | "peer" | "kind")
  | ("sendLong" | "linger")
  | ("unix" | "unixListener" | "unixNamed" | "bindName" | "connectName" | "sendName" | "unlink")
  | ("lstat" | "passcred" | "peercred" | "sendFd" | "recvFd")
  | ("udpMember" | "group" | "sendGroup" | "bindGroup" | "groupOption")
  | ("ipv6Only" | "add" | "modify" | "delete" | "arm" | "fire" | "peek");

/** What any socket can do. */
const COMMON: Theme = {
  ...{ eventfd: 1, pipe: 1, listen: 2, accept: 3 },
  ...{ send: 3, sendv: 1, recv: 3, read: 1, write: 1, writev: 1, recvfrom: 1, peek: 1 },
  ...{ shutdown: 2, close: 2, soError: 1, getfl: 1, name: 1, peer: 1, kind: 1 },
  ...{ add: 3, modify: 1, delete: 1 },
};
const INET: Theme = {
  ...COMMON,
  ...{ socket: 2, udp: 1, timerfd: 1, pair: 2, udpPair: 1, arm: 1, fire: 1 },
  ...{ bind: 1, bindAny: 1, bindUsed: 1, ipv6Only: 1, connect: 3, connectClosed: 1 },
  ...{ recvmmsg: 1, sendto: 2, sendLong: 1, linger: 1, reuse: 1, nodelay: 1 },
};
const UNIX: Theme = {
  ...COMMON,
  ...{ unix: 2, unixPair: 2, unixListener: 1, unixNamed: 3, bindName: 1, connectName: 4 },
  ...{ sendName: 4, unlink: 1, lstat: 1, passcred: 1, peercred: 1, sendFd: 3, recvFd: 3 },
};
const MULTICAST: Theme = {
  ...COMMON,
  ...{ udp: 2, udpMember: 4, group: 5, sendGroup: 6, bindGroup: 1, groupOption: 2, bind: 1 },
  ...{ connect: 1, sendto: 2, recvfrom: 3, recvmmsg: 2, reuse: 1 },
};
const themes = [INET, UNIX, MULTICAST, { ...INET, ...UNIX, ...MULTICAST }].map((calls) =>
  Object.entries(calls).flatMap(([call, count]) => new Array<string>(count).fill(call)),
);

const SIZES: readonly number[] = [0, 1, 8, 10, 100, 4096, 5000, 70_000];
/**
 * Of transfers on IP sockets: 50 of them fill no buffer. How much their buffers hold is not part of the comparison. (Those
 * of pipes and unix sockets are.)
 */
const INET_SIZES: readonly number[] = [0, 1, 8, 10, 100, 1000];
/** The longest datagrams of IPv4 and IPv6, and those that are one byte too long. */
const LONG_SIZES: readonly number[] = [65_507, 65_508, 65_527, 65_528];

/** The events to register: as the library does, level-triggered, or one direction only. */
const INTERESTS: readonly number[] = [
  EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLPRI | EPOLLET,
  EPOLLIN | EPOLLRDHUP | EPOLLPRI | EPOLLET,
  EPOLLIN | EPOLLET,
  EPOLLIN,
  EPOLLOUT,
  EPOLLIN | EPOLLOUT,
  EPOLLRDHUP,
  0,
];

export const scripts: fc.Arbitrary<readonly Step[]> = fc.oneof(
  ...themes.map((draws) =>
    fc.array(fc.tuple(fc.constantFrom(...draws), fc.nat(30), fc.nat(30), fc.nat(30)), {
      minLength: 1,
      maxLength: 50,
      size: "max",
    }),
  ),
) as fc.Arbitrary<readonly Step[]>;

interface File {
  fd: number;
  kind: "tcp" | "udp" | "unix" | "other";
  isOpen: boolean;
}

/** Interfaces by index: loopback, and one that no machine has. */
const LOOPBACK = 1;
const NO_DEVICE = 200;
const IPV6_V6ONLY = 26;
const IP_MULTICAST_IF = 32;
const MCAST_JOIN_GROUP = 42;
const MCAST_JOIN_SOURCE_GROUP = 46;
/** MCAST_JOIN_GROUP and MCAST_LEAVE_GROUP, and the same with a source. */
const GROUP_CALLS: readonly number[] = [MCAST_JOIN_GROUP, 45, MCAST_JOIN_SOURCE_GROUP, 47];
/** IP_MULTICAST_TTL, IP_MULTICAST_LOOP and IP_MULTICAST_ALL. */
const GROUP_OPTIONS: readonly number[] = [33, 34, 49];
/** The first names that scripts use are paths. */
const PATHS = 3;
const UNIX_TYPES: readonly number[] = [SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET];
/** Calls that need a unix socket, and those that need another one. */
const FOR_UNIX: ReadonlySet<Call> = new Set<Call>([
  ...(["bindName", "connectName", "sendName", "passcred", "peercred", "sendFd", "recvFd"] as const),
]);
const FOR_UDP: ReadonlySet<Call> = new Set<Call>([
  ...(["group", "sendGroup", "bindGroup", "groupOption", "sendLong"] as const),
]);
const NOT_FOR_UNIX: ReadonlySet<Call> = new Set<Call>(["recvmmsg", "nodelay", "reuse", "ipv6Only"]);

/** The address of this machine, from which multicasts leave unless the socket has an address. */
const machineAddress = Object.values(networkInterfaces())
  .flatMap((addresses) => addresses ?? [])
  .find(({ family, internal }) => family === "IPv4" && !internal)?.address;

let lastRun = 0;

/**
 * Runs a script against one kernel. Each run binds to a loopback address of its own: the real kernel remembers the
 * connections of earlier runs for a minute (TIME_WAIT).
 */
export class ScriptRunner {
  readonly #sys: Sys;
  readonly #ip: string;
  readonly #pass: () => void;
  readonly #files: File[] = [];
  readonly #epoll: number;
  readonly #events = new EpollEvents(64);
  readonly #address = new SockaddrBuffer();
  readonly #batch = new Datagrams(4);
  readonly #message = new Message();
  /** By port: the index of the first file that had it. */
  readonly #ports = new Map<number, number>();
  /** By name: how many unix names were seen before it. */
  readonly #names = new Map<string, number>([["", 0]]);
  readonly #run: number;

  /** `pass` lets a millisecond pass. */
  constructor(sys: Sys, pass: () => void) {
    this.#sys = sys;
    this.#pass = pass;
    lastRun = (lastRun + 1) % 8_000_000;
    this.#run = lastRun;
    this.#ip = `127.${1 + (lastRun >> 16)}.${(lastRun >> 8) & 255}.${lastRun & 255}`;
    this.#epoll = sys.epollCreate();
  }

  /** Performs one step, and returns its result with the events that epoll then reports. */
  step([call, file, other, n]: Step): unknown[] {
    return [call, ...this.#perform(call, file, other, n), ...this.#poll()];
  }

  close(): void {
    for (const { fd, isOpen } of this.#files) if (isOpen) this.#sys.close(fd);
    for (let n = 0; n < PATHS; n++) this.#sys.unlink(this.#unixName(n));
    this.#sys.close(this.#epoll);
  }

  #open(fd: number, kind: File["kind"]): unknown[] {
    if (fd < 0) return [fd];
    this.#files.push({ fd, kind, isOpen: true });
    return ["fd", this.#files.length - 1];
  }

  #close(index: number): unknown[] {
    const file = this.#files[index]!;
    file.isOpen = false;
    return [this.#sys.close(file.fd)];
  }

  #poll(): unknown[] {
    const count = this.#sys.epollWait(this.#epoll, this.#events, 0);
    const seen: unknown[] = [];
    for (let index = 0; index < count; index++) {
      seen.push(`${this.#events.slot(index)}:${this.#events.events(index).toString(16)}`);
    }
    return seen;
  }

  #portOf({ fd, kind }: File): number {
    if (kind === "unix") return 0;
    const result = this.#sys.getsockname(fd, this.#address);
    return result < 0 ? 0 : this.#address.decode().port;
  }

  #nameOf(port: number): unknown {
    if (port === 0) return 0;
    const known = this.#ports.get(port) ?? this.#ports.size;
    this.#ports.set(port, known);
    return `port ${known}`;
  }

  /** Returns an address of this run, most often of the family of the socket. */
  #host(fd: number, n: number): string {
    const domain = this.#sys.getsockopt(fd, SOL_SOCKET, SO_DOMAIN);
    const isIPv6 = (domain === AF_INET6) !== (n % 11 === 10);
    if (!isIPv6) return this.#ip;
    return n % 2 === 0 ? "::1" : `::ffff:${this.#ip}`;
  }

  /** Returns a path, an abstract name, or "" for a name that the kernel chooses. */
  #unixName(n: number): string {
    const index = n % 7;
    const name = `guillotine-fidelity-${process.pid}-${this.#run}-${index}`;
    if (index < PATHS) return `${tmpdir()}/${name}`;
    return index < 6 ? `\0${name}` : "";
  }

  /** Describes the address that a call wrote. */
  #written(): unknown {
    if (this.#address.length[0]! < 2) return "no address";
    if (this.#address.family === AF_UNIX) {
      const name = this.#address.decodeUnix();
      const known = this.#names.get(name) ?? this.#names.size;
      this.#names.set(name, known);
      return `name ${known} of ${name === "" || name.includes("-") ? this.#address.length[0] : "auto"}`;
    }
    const { hostname, port } = this.#address.decode();
    const group = [0, 1].findIndex((n) => hostname.endsWith(this.#group(n)));
    const host = group < 0 ? hostname.replace(this.#ip, "own") : `group ${group}`;
    return [host, this.#nameOf(port)];
  }

  #perform(call: Call, index: number, otherIndex: number, n: number): unknown[] {
    const sys = this.#sys;
    switch (call) {
      case "socket":
        return this.#open(this.#stream(n % 3 === 0 ? AF_INET6 : AF_INET), "tcp");
      case "udp":
        return this.#open(sys.socket(n % 3 === 0 ? AF_INET6 : AF_INET, SOCK_DGRAM), "udp");
      case "eventfd":
        return this.#open(sys.eventfd(), "other");
      case "timerfd":
        return this.#open(sys.timerfdCreate(), "other");
      case "pipe": {
        const ends = new Int32Array(2);
        const result = sys.pipe(ends);
        for (const end of ends) sys.fcntl(end, F_SETFL, sys.fcntl(end, F_GETFL, 0) | O_NONBLOCK);
        return [result, ...this.#open(ends[0]!, "other"), ...this.#open(ends[1]!, "other")];
      }
      case "pair":
        return this.#openPair(n % 3 === 0 ? AF_INET6 : AF_INET);
      case "udpPair":
        return this.#openUdpPair(n % 3 === 0 ? AF_INET6 : AF_INET);
      case "unixPair": {
        const ends = new Int32Array(2);
        const result = sys.socketpair(AF_UNIX, UNIX_TYPES[n % 3]!, ends);
        return [result, ...this.#open(ends[0]!, "unix"), ...this.#open(ends[1]!, "unix")];
      }
      case "udpMember": {
        const opened = sys.socket(AF_INET, SOCK_DGRAM);
        sys.setsockopt(opened, SOL_SOCKET, SO_REUSEADDR, 1);
        const used = this.#files[otherIndex % Math.max(this.#files.length, 1)];
        const port = used?.isOpen && n % 3 > 0 ? this.#portOf(used) : 0;
        const bound = sys.bind(opened, this.#address.encode({ hostname: "0.0.0.0", port }));
        return [
          bound,
          this.#changeGroup(opened, MCAST_JOIN_GROUP, n),
          ...this.#open(opened, "udp"),
        ];
      }
      case "unix":
        return this.#open(sys.socket(AF_UNIX, UNIX_TYPES[n % 3]!), "unix");
      case "unixNamed":
      case "unixListener": {
        const isListener = call === "unixListener";
        const type = isListener ? UNIX_TYPES[(n % 2) * 2]! : UNIX_TYPES[n % 3]!;
        const opened = sys.socket(AF_UNIX, type);
        const bound = sys.bind(opened, this.#address.encodeUnix(this.#unixName(index)));
        const listening = isListener ? sys.listen(opened, n % 4) : 0;
        return [bound, listening, ...this.#open(opened, "unix")];
      }
      case "unlink":
        return [sys.unlink(this.#unixName(index % PATHS))];
      case "lstat": {
        const found = sys.lstat(this.#unixName(index % PATHS));
        return [typeof found === "number" ? found : found.isSocket];
      }
    }
    if (this.#files.length === 0) return ["no file"];
    const at = index % this.#files.length;
    const { fd, isOpen } = this.#files[at]!;
    const other = this.#files[otherIndex % this.#files.length]!;
    // The real kernel may have given the number of a closed fd to other code.
    if (!isOpen || !other.isOpen) return ["closed"];
    const { kind } = this.#files[at]!;
    if (FOR_UNIX.has(call) && kind !== "unix") return ["only for unix sockets"];
    if (FOR_UDP.has(call) && kind !== "udp") return ["only for UDP sockets"];
    if (NOT_FOR_UNIX.has(call) && kind === "unix") return ["not for unix sockets"];
    const sizes = kind === "tcp" || kind === "udp" ? INET_SIZES : SIZES;
    // Linux 6.18 forgets an unread packet without bytes when its receiver closes.
    const mayBeEmpty =
      call.startsWith("send") && sys.getsockopt(fd, SOL_SOCKET, SO_TYPE) !== SOCK_SEQPACKET;
    const buffer = new Uint8Array(Math.max(sizes[n % sizes.length]!, mayBeEmpty ? 0 : 1));
    // A TCP socket connects to one family only: Linux forgets to switch back after a connect to a mapped address failed.
    const isConnect = call === "connect" || call === "connectClosed";
    const host = this.#host(fd, kind === "tcp" && isConnect ? at % 2 : n);
    switch (call) {
      case "bind":
        return [sys.bind(fd, this.#address.encode({ hostname: host, port: 0 }))];
      case "bindUsed": {
        const port = this.#portOf(other);
        return [sys.bind(fd, this.#address.encode({ hostname: host, port }))];
      }
      case "bindAny": {
        const hostname = host.includes(":") ? "::" : "0.0.0.0";
        // A stream may meet connections of other programs at a port that was in use.
        const port = kind === "udp" && n % 3 === 0 ? this.#portOf(other) : 0;
        return [sys.bind(fd, this.#address.encode({ hostname, port }))];
      }
      case "listen":
        return [sys.listen(fd, n % 4)];
      case "connect": {
        const port = this.#portOf(other);
        if (port === 0) return ["unbound"];
        return [sys.connect(fd, this.#address.encode({ hostname: host, port }))];
      }
      case "connectClosed":
        return [sys.connect(fd, this.#address.encode({ hostname: host, port: 1 }))];
      case "accept": {
        const result = sys.accept(fd, this.#address.reset());
        return [...this.#open(result, kind), result >= 0 ? this.#written() : null];
      }
      case "send":
        return [sys.send(fd, buffer.fill(n), 0)];
      case "sendv":
        return [sys.sendv(fd, [buffer.fill(n), buffer.subarray(0, 3)], 0)];
      case "recv":
        return [sys.recv(fd, buffer, 0), ...buffer.subarray(0, 4)];
      case "read":
        return [sys.read(fd, buffer), ...buffer.subarray(0, 4)];
      case "write":
        return [sys.write(fd, buffer.fill(n % 3 === 0 ? 0 : n))];
      case "writev":
        return [sys.writev(fd, [buffer.fill(0), buffer.subarray(0, 3)])];
      case "recvfrom": {
        const result = sys.recvfrom(fd, buffer, n % 2 === 0 ? MSG_TRUNC : 0, this.#address.reset());
        // A TCP socket writes no address.
        return [result, result >= 0 && kind !== "tcp" ? this.#written() : null];
      }
      case "peek":
        return [sys.recv(fd, buffer, MSG_PEEK), ...buffer.subarray(0, 4)];
      case "recvmmsg": {
        if (kind !== "udp") return ["not for streams"];
        const count = sys.recvmmsg(fd, this.#batch);
        return [
          count,
          ...Array.from({ length: Math.max(count, 0) }, (_, i) => this.#batch.length(i)),
        ];
      }
      case "sendto": {
        if (kind === "tcp") return ["not for streams"];
        const port = n % 5 === 0 ? 1 : this.#portOf(other);
        const to = { hostname: host, port };
        return [sys.sendto(fd, buffer.fill(n), 0, this.#address.encode(to))];
      }
      case "sendLong": {
        // To a port that nobody has: no buffer fills.
        const data = new Uint8Array(LONG_SIZES[otherIndex % LONG_SIZES.length]!);
        return [sys.sendto(fd, data, 0, this.#address.encode({ hostname: host, port: 1 }))];
      }
      case "shutdown":
        return [sys.shutdown(fd, n % 4)];
      case "close":
        return this.#close(at);
      case "soError":
        return [sys.getsockopt(fd, SOL_SOCKET, SO_ERROR)];
      case "linger": {
        const linger = new Uint8Array(new Int32Array([n % 2, 0]).buffer);
        return [sys.setsockoptBytes(fd, SOL_SOCKET, SO_LINGER, linger)];
      }
      case "reuse":
        return [sys.setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, 1)];
      case "ipv6Only": {
        const result = sys.setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, n % 2);
        return [result, result < 0 ? null : sys.getsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY)];
      }
      case "nodelay":
        return [sys.setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, 1)];
      case "getfl":
        return [sys.fcntl(fd, F_GETFL, 0), sys.fcntl(fd, F_SETFD, FD_CLOEXEC)];
      case "add":
        return [sys.epollAdd(this.#epoll, fd, INTERESTS[n % INTERESTS.length]!, at, 0)];
      case "modify":
        return [sys.epollModify(this.#epoll, fd, INTERESTS[n % INTERESTS.length]!, at, 0)];
      case "delete":
        return [sys.epollDelete(this.#epoll, fd)];
      case "arm":
        return [sys.timerfdSet(fd, 1e6)];
      case "fire": {
        const result = sys.timerfdSet(fd, 0.001);
        if (result >= 0) this.#pass();
        return [result];
      }
      case "name": {
        const result = sys.getsockname(fd, this.#address.reset());
        return [result, result < 0 ? null : this.#written()];
      }
      case "peer": {
        const result = sys.getpeername(fd, this.#address.reset());
        return [result, result < 0 ? null : this.#written()];
      }
      case "kind":
        return this.#kindOf(fd);
      case "bindName":
        return [sys.bind(fd, this.#address.encodeUnix(this.#unixName(n)))];
      case "connectName":
        return [sys.connect(fd, this.#address.encodeUnix(this.#unixName(n)))];
      case "sendName":
        return [
          sys.sendto(fd, buffer.fill(n), 0, this.#address.encodeUnix(this.#unixName(otherIndex))),
        ];
      case "passcred":
        return [sys.setsockopt(fd, SOL_SOCKET, SO_PASSCRED, n % 2)];
      case "peercred": {
        const credentials = new Int32Array(3);
        const bytes = new Uint8Array(credentials.buffer);
        const result = sys.getsockoptBytes(fd, SOL_SOCKET, SO_PEERCRED, bytes);
        return [result, ...this.#own(credentials)];
      }
      case "sendFd": {
        // A socket that is in its own queue is left to a garbage collector, which is not simulated.
        if (other.kind === "unix") return ["not for unix sockets"];
        const message = this.#message.reset(buffer.fill(n));
        const fds = new Int32Array(
          n % 10 === 0 ? [other.fd, -1] : n % 3 === 0 ? [other.fd, other.fd] : [other.fd],
        );
        message.addControl(SOL_SOCKET, SCM_RIGHTS, new Uint8Array(fds.buffer));
        return [sys.sendmsg(fd, message, 0)];
      }
      case "group":
        return [this.#changeGroup(fd, GROUP_CALLS[otherIndex % 4]!, n)];
      case "bindGroup":
        return [sys.bind(fd, this.#address.encode({ hostname: this.#group(n), port: 0 }))];
      case "groupOption":
        if (n % 4 === 0) return [this.#sendBy(fd, n)];
        return [sys.setsockopt(fd, IPPROTO_IP, GROUP_OPTIONS[n % 3]!, (n >> 2) - 1)];
      case "sendGroup": {
        // By loopback: the interface of its address, or the chosen one.
        const hasName = sys.getsockname(fd, this.#address.reset()) >= 0;
        const isBound = hasName && this.#address.decode().hostname.endsWith(this.#ip);
        const chosen = isBound && n % 2 === 0 ? 0 : this.#sendBy(fd, 1);
        const to = { hostname: this.#group(n), port: this.#portOf(other) };
        return [chosen, sys.sendto(fd, buffer.fill(n), 0, this.#address.encode(to))];
      }
      case "recvFd":
        return this.#receiveFd(fd, buffer, n);
    }
    return [];
  }

  /** Returns a group of this run, or now and then an address that is none. */
  #group(n: number): string {
    if (n % 17 === 16) return this.#ip;
    return `239.${(process.pid + (n % 2)) & 255}.${(this.#run >> 8) & 255}.${this.#run & 255}`;
  }

  /** Joins or leaves a group, or a source of it, on the loopback interface. */
  #changeGroup(fd: number, option: number, n: number): number {
    const hasSource = option >= MCAST_JOIN_SOURCE_GROUP;
    const request = new Uint8Array(hasSource ? 264 : 136);
    request[0] = n % 13 === 12 ? NO_DEVICE : LOOPBACK;
    request.set(this.#address.encode({ hostname: this.#group(n), port: 0 }).bytes, 8);
    if (hasSource) {
      const hostname = n % 3 === 0 ? this.#ip : (machineAddress ?? "127.0.0.1");
      request.set(this.#address.encode({ hostname, port: 0 }).bytes, 136);
    }
    return this.#sys.setsockoptBytes(fd, IPPROTO_IP, option, request);
  }

  /** Chooses the interface of multicasts: loopback, or now and then one that does not exist. */
  #sendBy(fd: number, n: number): number {
    const index = n % 13 === 12 ? NO_DEVICE : LOOPBACK;
    const request = new Uint8Array(new Int32Array([0, 0, index]).buffer);
    return this.#sys.setsockoptBytes(fd, IPPROTO_IP, IP_MULTICAST_IF, request);
  }

  #kindOf(fd: number): number[] {
    return [SO_DOMAIN, SO_TYPE, SO_PROTOCOL, SO_ACCEPTCONN].map((option) =>
      this.#sys.getsockopt(fd, SOL_SOCKET, option),
    );
  }

  /** Names the process of a struct ucred. */
  #own([pid, uid, gid]: Int32Array): unknown[] {
    return [pid === process.pid ? "own" : pid, uid, gid];
  }

  /** Receives a message with room for no fd, one, two, or two and credentials. */
  #receiveFd(fd: number, buffer: Uint8Array, n: number): unknown[] {
    const message = this.#message.reset(buffer);
    message.maxControlLength = [0, 20, 24, 64][n % 4]!;
    const result = this.#sys.recvmsg(fd, message, n % 5 === 0 ? MSG_PEEK : 0);
    if (result < 0) return [result];
    const answer: unknown[] = [
      result,
      message.flags & (MSG_TRUNC | MSG_CTRUNC),
      ...buffer.subarray(0, 4),
    ];
    for (const { level, type, data } of message.controls()) {
      const ints = new Int32Array(data.slice().buffer, 0, data.length >> 2);
      answer.push(level, type);
      if (type !== SCM_RIGHTS) answer.push(...this.#own(ints));
      else
        for (const received of ints)
          answer.push(...this.#open(received, this.#receivedKind(received)));
    }
    return answer;
  }

  #receivedKind(fd: number): File["kind"] {
    const [domain, type] = this.#kindOf(fd);
    if (domain !== AF_INET && domain !== AF_INET6) return "other";
    return type === SOCK_STREAM ? "tcp" : "udp";
  }

  /** Opens a TCP socket without Nagle's algorithm, which would hold back what a peer has not acknowledged. */
  #stream(domain: number): number {
    const fd = this.#sys.socket(domain, SOCK_STREAM);
    this.#sys.setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    return fd;
  }

  /** Opens a connected pair of streams. */
  #openPair(domain: number): unknown[] {
    const sys = this.#sys;
    const hostname = domain === AF_INET ? this.#ip : "::1";
    const listener = this.#stream(domain);
    sys.bind(listener, this.#address.encode({ hostname, port: 0 }));
    sys.listen(listener, 1);
    sys.getsockname(listener, this.#address);
    const client = this.#stream(domain);
    const results = [sys.connect(client, this.#address), sys.connect(client, this.#address)];
    const server = sys.accept(listener, this.#address);
    sys.close(listener);
    return [...results, ...this.#open(client, "tcp"), ...this.#open(server, "tcp")];
  }

  /** Opens two UDP sockets that are connected to each other. */
  #openUdpPair(domain: number): unknown[] {
    const sys = this.#sys;
    const hostname = domain === AF_INET ? this.#ip : "::1";
    const [a, b] = [0, 1].map(() => {
      const fd = sys.socket(domain, SOCK_DGRAM);
      sys.bind(fd, this.#address.encode({ hostname, port: 0 }));
      return fd;
    }) as [number, number];
    sys.getsockname(a, this.#address);
    const first = sys.connect(b, this.#address);
    sys.getsockname(b, this.#address);
    return [first, sys.connect(a, this.#address), ...this.#open(a, "udp"), ...this.#open(b, "udp")];
  }
}

/** Runs a script on both kernels, step by step. Returns the first step at which the answers differ; null if none does. */
export function firstDifference(
  script: readonly Step[],
): { step: number; call: Step; real: unknown[]; simulated: unknown[] } | null {
  const agenda = new Agenda();
  const addresses = machineAddress === undefined ? [] : [machineAddress];
  const stack = new NetStack({ agenda, addresses });
  const sys = new SimSys({ pid: process.pid, stack });
  const runners = [
    new ScriptRunner(linux(), () => Bun.sleepSync(1)),
    new ScriptRunner(sys, () => {
      const untilMs = agenda.nowMs + 1;
      while (agenda.nextMs <= untilMs) agenda.runNext();
      agenda.nowMs = untilMs;
    }),
  ] as const;
  try {
    for (const [index, step] of script.entries()) {
      const answers = runners.map((runner) => runner.step(step));
      if (JSON.stringify(answers[0]) !== JSON.stringify(answers[1])) {
        return { step: index, call: step, real: answers[0]!, simulated: answers[1]! };
      }
    }
    return null;
  } finally {
    for (const runner of runners) runner.close();
  }
}
