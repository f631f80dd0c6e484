// Random scripts of system calls, and what the simulated kernel and the real one answer.
//
// A script names files by index, modulo how many there are, so that any script makes sense. Fds and ports differ from
// kernel to kernel; the answers name them by the index of their file.

import fc from "fast-check";
import { SimSys } from "../../src/sim/kernel/sim-sys.ts";
import {
  AF_INET,
  AF_UNIX,
  Datagrams,
  ENOTCONN,
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
  MSG_TRUNC,
  O_NONBLOCK,
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

/** One system call: its name, the file it is for, another file, and a number. */
export type Step = readonly [call: Call, file: number, other: number, n: number];

type Call =
  | ("socket" | "udp" | "eventfd" | "timerfd" | "pipe" | "pair" | "udpPair" | "unixPair")
  | ("bind" | "bindAny" | "bindUsed" | "listen" | "connect" | "connectClosed" | "accept")
  | ("send" | "sendv" | "recv" | "read" | "write" | "writev" | "recvfrom" | "recvmmsg" | "sendto")
  | ("shutdown" | "close" | "soError" | "reuse" | "nodelay" | "getfl" | "name")
  | ("add" | "modify" | "delete" | "arm" | "fire");

/** The calls, and how often each is drawn. */
const CALLS: Readonly<Record<Call, number>> = {
  ...{ socket: 2, udp: 1, eventfd: 1, timerfd: 1, pipe: 1, pair: 2, udpPair: 1, unixPair: 2 },
  ...{ bind: 1, bindAny: 1, bindUsed: 1, listen: 2, connect: 3, connectClosed: 1, accept: 2 },
  ...{
    send: 3,
    sendv: 1,
    recv: 3,
    read: 1,
    write: 1,
    writev: 1,
    recvfrom: 1,
    recvmmsg: 1,
    sendto: 2,
  },
  ...{ shutdown: 2, close: 2, soError: 1, reuse: 1, nodelay: 1, getfl: 1, name: 1 },
  ...{ add: 3, modify: 1, delete: 1, arm: 1, fire: 1 },
};
const DRAWS = Object.entries(CALLS).flatMap(([call, count]) => new Array<string>(count).fill(call));

const SIZES: readonly number[] = [1, 8, 10, 100, 4096, 5000, 70_000];
/** Of transfers on sockets: 50 of them fill no buffer. How much the buffers hold is not part of the comparison. */
const SOCKET_SIZES: readonly number[] = [1, 8, 10, 100, 1000];

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

export const scripts: fc.Arbitrary<readonly Step[]> = fc.array(
  fc.tuple(fc.constantFrom(...DRAWS), fc.nat(30), fc.nat(30), fc.nat(30)),
  { minLength: 1, maxLength: 50, size: "max" },
) as fc.Arbitrary<readonly Step[]>;

interface File {
  fd: number;
  kind: "tcp" | "udp" | "unix" | "other";
  isOpen: boolean;
}

/** Calls about addresses: the pairs of unix sockets have none. */
const NOT_FOR_UNIX: ReadonlySet<Call> = new Set<Call>([
  ...(["bind", "bindAny", "bindUsed", "listen", "connect", "connectClosed", "accept"] as const),
  ...(["sendto", "nodelay", "reuse", "name", "recvmmsg"] as const),
]);

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
  /** By port: the index of the first file that had it. */
  readonly #ports = new Map<number, number>();

  /** `pass` lets a millisecond pass. */
  constructor(sys: Sys, pass: () => void) {
    this.#sys = sys;
    this.#pass = pass;
    lastRun = (lastRun + 1) % 8_000_000;
    this.#ip = `127.${1 + (lastRun >> 16)}.${(lastRun >> 8) & 255}.${lastRun & 255}`;
    this.#epoll = sys.epollCreate();
  }

  /** Performs one step, and returns its result with the events that epoll then reports. */
  step([call, file, other, n]: Step): unknown[] {
    return [call, ...this.#perform(call, file, other, n), ...this.#poll()];
  }

  close(): void {
    for (const { fd, isOpen } of this.#files) if (isOpen) this.#sys.close(fd);
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

  #portOf(fd: number): number {
    const result = this.#sys.getsockname(fd, this.#address);
    return result < 0 ? 0 : this.#address.decode().port;
  }

  #nameOf(port: number): unknown {
    if (port === 0) return 0;
    const known = this.#ports.get(port) ?? this.#ports.size;
    this.#ports.set(port, known);
    return `port ${known}`;
  }

  #perform(call: Call, index: number, otherIndex: number, n: number): unknown[] {
    const sys = this.#sys;
    switch (call) {
      case "socket":
        return this.#open(this.#stream(), "tcp");
      case "udp":
        return this.#open(sys.socket(AF_INET, SOCK_DGRAM), "udp");
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
        return this.#openPair();
      case "udpPair":
        return this.#openUdpPair();
      case "unixPair": {
        const ends = new Int32Array(2);
        const result = sys.socketpair(AF_UNIX, n % 2 === 0 ? SOCK_STREAM : SOCK_SEQPACKET, ends);
        return [result, ...this.#open(ends[0]!, "unix"), ...this.#open(ends[1]!, "unix")];
      }
    }
    if (this.#files.length === 0) return ["no file"];
    const at = index % this.#files.length;
    const { fd, isOpen } = this.#files[at]!;
    const other = this.#files[otherIndex % this.#files.length]!;
    // The real kernel may have given the number of a closed fd to other code.
    if (!isOpen || !other.isOpen) return ["closed"];
    const isUnix = this.#files[at]!.kind === "unix" || other.kind === "unix";
    if (isUnix && NOT_FOR_UNIX.has(call)) return ["not for unix sockets"];
    const sizes = this.#files[at]!.kind === "other" ? SIZES : SOCKET_SIZES;
    const buffer = new Uint8Array(sizes[n % sizes.length]!);
    const bound = { hostname: this.#ip, port: 0 };
    switch (call) {
      case "bind":
        return [sys.bind(fd, this.#address.encode(bound))];
      case "bindUsed": {
        const port = this.#portOf(other.fd);
        return [sys.bind(fd, this.#address.encode({ hostname: this.#ip, port }))];
      }
      case "bindAny":
        return [sys.bind(fd, this.#address.encode({ hostname: "0.0.0.0", port: 0 }))];
      case "listen":
        return [sys.listen(fd, n % 4)];
      case "connect": {
        const port = this.#portOf(other.fd);
        if (port === 0) return ["unbound"];
        return [sys.connect(fd, this.#address.encode({ hostname: this.#ip, port }))];
      }
      case "connectClosed":
        return [sys.connect(fd, this.#address.encode({ hostname: this.#ip, port: 1 }))];
      case "accept": {
        const result = sys.accept(fd, this.#address);
        const peer = result >= 0 ? this.#nameOf(this.#address.decode().port) : null;
        return [...this.#open(result, "tcp"), peer];
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
        return [result];
      }
      case "recvmmsg": {
        if (this.#files[at]!.kind === "tcp") return ["not for streams"];
        const count = sys.recvmmsg(fd, this.#batch);
        return [
          count,
          ...Array.from({ length: Math.max(count, 0) }, (_, i) => this.#batch.length(i)),
        ];
      }
      case "sendto": {
        if (this.#files[at]!.kind === "tcp") return ["not for streams"];
        const port = n % 5 === 0 ? 1 : this.#portOf(other.fd);
        const to = { hostname: this.#ip, port };
        return [sys.sendto(fd, buffer.fill(n), 0, this.#address.encode(to))];
      }
      case "shutdown": {
        const result = sys.shutdown(fd, n % 4);
        // A stream that was shut down before its connect is not part of the comparison.
        if (result === -ENOTCONN && this.#files[at]!.kind === "tcp")
          return [result, ...this.#close(at)];
        return [result];
      }
      case "close":
        return this.#close(at);
      case "soError":
        return [sys.getsockopt(fd, SOL_SOCKET, SO_ERROR)];
      case "reuse":
        return [sys.setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, 1)];
      case "nodelay":
        return [sys.setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, 1)];
      case "getfl":
        return [sys.fcntl(fd, F_GETFL, 0)];
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
      case "name":
        return [this.#nameOf(this.#portOf(fd))];
    }
    return [];
  }

  /** Opens a TCP socket without Nagle's algorithm, which would hold back what a peer has not acknowledged. */
  #stream(): number {
    const fd = this.#sys.socket(AF_INET, SOCK_STREAM);
    this.#sys.setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    return fd;
  }

  /** Opens a connected pair of streams. */
  #openPair(): unknown[] {
    const sys = this.#sys;
    const listener = this.#stream();
    sys.bind(listener, this.#address.encode({ hostname: this.#ip, port: 0 }));
    sys.listen(listener, 1);
    sys.getsockname(listener, this.#address);
    const client = this.#stream();
    const results = [sys.connect(client, this.#address), sys.connect(client, this.#address)];
    const server = sys.accept(listener, this.#address);
    sys.close(listener);
    return [...results, ...this.#open(client, "tcp"), ...this.#open(server, "tcp")];
  }

  /** Opens two UDP sockets that are connected to each other. */
  #openUdpPair(): unknown[] {
    const sys = this.#sys;
    const [a, b] = [0, 1].map(() => {
      const fd = sys.socket(AF_INET, SOCK_DGRAM);
      sys.bind(fd, this.#address.encode({ hostname: this.#ip, port: 0 }));
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
  const sys = new SimSys();
  const { agenda } = sys.stack;
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
