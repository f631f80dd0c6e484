// Source: one fd, its cached readiness per direction, and the futures that wait for it. It owns the fd: it registers
// the fd at the first would-block (EAGAIN), deregisters it before closing, and closes it once.
//
// Facts about edge-triggered epoll, and what they mean for this code:
// - An event means that the fd *became* ready since the last event. So we cache readiness, and clear it only when an
//   operation would block or a read is short (returns fewer bytes than it had room for).
// - Adding an fd reports its current readiness. So nothing is lost between a would-block and the add.
// - Data and FIN can arrive as one edge. Clearing readiness after the short read would hide the end of the stream. So
//   once the fd has reported RDHUP, HUP or ERR, it stays readable after a short read (STICKY).
// - A read stops short at TCP's urgent mark with more data behind it. EPOLLPRI makes reads sticky, too.
// - Each event has all conditions that hold when it is fetched, and a condition that begins later is a new edge. An end of
//   the stream holds for good; urgent data until the reads have passed its mark. So the latest event for reads decides
//   whether reads are sticky. Otherwise one urgent byte would double the receives of a connection.
// - A datagram socket reports writability each time a datagram has left it: one event, and one epoll round, per
//   datagram. So we ask for writability only while a future waits to write. (TCP reports writability only after a
//   short write.)
// - After EAGAIN, any later readiness is a new edge. So EAGAIN clears even sticky readiness. (A sticky fd does return
//   EAGAIN: after urgent data, and after an error of a UDP socket. Retrying at once would busy-poll.)

import { codedError } from "../base/coded-error.ts";
import { cold } from "../base/cold.ts";
import type { Context } from "../core/context.ts";
import { Pending } from "../core/poll.ts";
import { type Waiter, WaitQueue } from "../core/wait-queue.ts";
import { type Reactor, reactorOf } from "../reactor/reactor.ts";
import type { EventSink, ShownFd } from "../reactor/sink.ts";
import {
  forgetOpen,
  rememberOpen,
  unclosed,
  unwatchUnclosed,
  type WeakSink,
  watchUnclosed,
  weakSinkOf,
} from "../reactor/unclosed.ts";
import {
  EPOLLERR,
  EPOLLET,
  EPOLLHUP,
  EPOLLIN,
  EPOLLOUT,
  EPOLLPRI,
  EPOLLRDHUP,
} from "../sys/epoll.ts";
import { check, SysError } from "../sys/errno.ts";
import { formatAddress, type SocketAddress, type VsockAddress } from "../sys/sockaddr.ts";
import type { Sys } from "../sys/sys.ts";
import { fdShortage } from "./fd-shortage.ts";

/** The direction of a transfer, as its epoll bit. (Comparing two strings would take twenty instructions.) */
export const READ: typeof EPOLLIN = EPOLLIN;
export const WRITE: typeof EPOLLOUT = EPOLLOUT;
export type Direction = typeof READ | typeof WRITE;

const READ_STICKY = EPOLLRDHUP | EPOLLHUP | EPOLLERR | EPOLLPRI;
const READABLE = EPOLLIN | READ_STICKY;
const WRITABLE = EPOLLOUT | EPOLLHUP | EPOLLERR;
/** The events we ask for: BOTH on a stream; READS on a datagram socket unless a future waits to write. */
const BOTH = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLPRI | EPOLLET;
const READS = BOTH & ~EPOLLOUT;

/** Thrown by an operation on a socket or another fd that was closed or released. */
export class ClosedError extends Error {
  override readonly name = "ClosedError";
  readonly code = "ERR_SOCKET_CLOSED";
}

/** What sockets know of their addresses, for diagnostics. A string is the address of a unix socket. */
export interface SocketAddresses {
  readonly localAddress?: SocketAddress | VsockAddress | string;
  readonly remoteAddress?: SocketAddress | VsockAddress | string | null;
}

// The flags in `ready` besides READ and WRITE.

/** A short read leaves READ. */
export const STICKY: number = 1 << 16;
/** A datagram socket: nobody asks for writability while no future waits to write. */
const DATAGRAM = 1 << 17;
/** A datagram socket while we ask for writability: a future waits to write. */
const ASKED = 1 << 18;
const CLOSED = 1 << 19;
/** An operation has failed: the kernel does not report the error of a connection again. */
export const FAILED: number = 1 << 20;

/** The futures that wait behind the first reader, and those that wait to write. */
class Queues {
  readonly readers: WaitQueue = new WaitQueue();
  readonly writers: WaitQueue = new WaitQueue();

  of(direction: Direction): WaitQueue {
    return direction === READ ? this.readers : this.writers;
  }
}

/** A leaf that waits for an fd. */
interface WaitingLeaf extends Waiter {
  drop(): void;
}

/** (With a ninth field the engine would allocate 112 bytes instead of 80, and each connection has a source.) */
export class Source implements EventSink {
  static {
    cold(Source.prototype.follow);
  }

  readonly sys: Sys;
  readonly fd: number;
  /**
   * A bit set: the directions in which an attempt may succeed, and flags. Both directions at first: an unregistered fd is
   * simply tried.
   */
  ready: number;
  /** The socket of this fd; null if it is none. */
  socket: object | null = null;
  /** The future that waits to read, while only one ever has. Its `list` is this source. */
  private reader: Waiter | null = null;
  /** All others. Created on first use: touching new memory misses the cache. */
  private queues: Queues | null = null;
  /** Where the fd is registered; null before the first would-block. */
  private reactor: Reactor | null = null;
  private slot = -1;

  /** Takes ownership of `fd`, which must be open and non-blocking. */
  constructor(sys: Sys, fd: number, isDatagram = false) {
    this.sys = sys;
    this.fd = fd;
    this.ready = isDatagram ? READ | WRITE | DATAGRAM : READ | WRITE;
  }

  get isClosed(): boolean {
    return (this.ready & CLOSED) !== 0;
  }

  /** Clears read readiness after a short read, unless it is sticky. */
  onShortRead(): void {
    if ((this.ready & STICKY) === 0) this.ready &= ~READ;
  }

  /** Clears readiness after EAGAIN, until the next edge. */
  clearReady(direction: Direction): void {
    this.ready &= ~direction;
  }

  /**
   * Makes epoll report the current readiness again: other code that uses the fd may have changed it. The report is a
   * new edge and comes with the next round. Throws ClosedError, and SysError if epoll refuses the fd.
   */
  rearm(cx: Context): void {
    if (this.isClosed) throw this.closedError();
    if (this.reactor === cx.runtime.reactor) check(this.updateInterest(), "epoll_ctl");
    else this.moveTo(reactorOf(cx)); // adding the fd reports its readiness, too
  }

  /**
   * Queues `waiter` with the target of this poll until `direction` is ready, and returns Pending. The first call
   * registers the fd. Throws ClosedError, SysError if epoll refuses the fd, and Error if the fd has waiters in another
   * runtime.
   */
  wait(direction: Direction, waiter: WaitingLeaf, cx: Context): Pending {
    // A closed source has no reactor.
    if (this.reactor !== cx.runtime.reactor) this.follow(direction, waiter, cx);
    waiter.target = cx; // `cx.target`, without the call: this deep in a poll, the JIT would not inline it
    if (waiter.list !== null) return Pending;
    if (direction === READ && this.reader === null && this.queues === null) {
      this.reader = waiter;
      waiter.list = this;
    } else this.enqueue(direction, waiter);
    return Pending;
  }

  /** Registers the fd with the runtime of this poll. Throws ClosedError once the fd is closed. */
  private follow(direction: Direction, waiter: WaitingLeaf, cx: Context): void {
    try {
      if (this.isClosed) throw this.closedError();
      this.leave(direction, waiter); // this waiter may still wait in the other runtime
      this.moveTo(reactorOf(cx));
    } catch (error) {
      waiter.drop(); // see Leaf.beginNext
      throw error;
    }
  }

  /** Queues a waiter behind all others, also if the first has left: first come, first served. */
  private enqueue(direction: Direction, waiter: Waiter): void {
    this.queues ??= new Queues();
    this.queues.of(direction).push(waiter);
    if (direction === WRITE && this.interest !== BOTH)
      check(this.updateInterest(ASKED), "epoll_ctl");
  }

  /** Removes `waiter` from the queue of `direction`, if it is there. */
  leave(direction: Direction, waiter: Waiter): void {
    if (waiter === this.reader) {
      this.reader = waiter.list = waiter.target = null;
    } else this.queues?.of(direction).leave(waiter);
  }

  onEvents(events: number): void {
    if ((events & READABLE) !== 0) {
      this.ready =
        (events & READ_STICKY) === 0 ? (this.ready | READ) & ~STICKY : this.ready | READ | STICKY;
      this.wakeReaders();
    }
    if ((events & WRITABLE) !== 0) {
      this.ready |= WRITE;
      this.queues?.writers.wakeAll();
      if ((this.ready & ASKED) !== 0) this.updateInterest(0);
    }
  }

  private wakeReaders(): void {
    const first = this.reader;
    if (first !== null) {
      const { target } = first;
      this.reader = first.list = first.target = null;
      target?.wake();
    }
    this.queues?.readers.wakeAll();
  }

  canWake(): boolean {
    const { reader, queues } = this;
    return reader !== null || (queues !== null && queues.readers.size + queues.writers.size > 0);
  }

  /** Wakes the waiting reads to try again. For an fd that is readable although epoll reports no new edge. */
  retryReads(): void {
    if (this.isClosed) return;
    this.ready |= READ;
    this.wakeReaders();
  }

  /** Forgets the closed reactor. The fd stays open, and another runtime may poll it. */
  onReactorClosed(): void {
    this.reactor = null;
    this.slot = -1;
    this.ready |= READ | WRITE;
  }

  /** Closes the fd and wakes its waiters, whose next poll throws ClosedError. Idempotent. */
  close(): void {
    if (this.isClosed) return;
    this.release();
    this.sys.close(this.fd);
    fdShortage.onFdClosed();
  }

  /** Like `close`, but leaves the fd open: the caller owns it now. */
  release(): void {
    if (unclosed.isWatching) unwatchUnclosed(this);
    forgetOpen(this);
    this.ready = CLOSED;
    this.deregister();
    this.wakeReaders();
    this.queues?.writers.wakeAll();
  }

  closedError(): ClosedError {
    const name = this.socket?.constructor.name;
    return new ClosedError(
      `${name === undefined ? `fd ${this.fd}` : `this ${name} (fd ${this.fd})`} is closed`,
    );
  }

  /** Returns the error of a failed syscall on the fd, which names the peer. Remembers that there was one. */
  errorOf(errno: number, syscall: string): SysError {
    this.ready |= FAILED;
    const peer = addressOf(this.socket, "remoteAddress");
    if (peer === null || peer === "") return new SysError(errno, syscall);
    const isVsock = typeof peer === "object" && "cid" in peer;
    return new SysError(errno, syscall, isVsock ? formatAddress(peer) : peer);
  }

  /** Makes `socket` the owner of this fd. See unclosed.ts for what happens if nobody closes it. */
  setSocket(socket: object): void {
    this.socket = socket;
    if (unclosed.isWatching) watchUnclosed(this, onFdClosed);
    else rememberOpen(this);
  }

  /** Makes the reactor refer to `stand` instead of this source, which may then be collected; null undoes it. */
  standIn(stand: WeakSink | null): void {
    if (this.reactor === null) return;
    this.reactor.replace(this.slot, stand ?? this);
    stand?.setPlace(this.reactor, this.slot);
  }

  get label(): string {
    return `${this.socket?.constructor.name} ${this.describe()}`;
  }

  /** Names the fd: `127.0.0.1:53122 (fd 21)`, by its peer or else its own address; `fd 21` without any. */
  describe(): string {
    const { remote, local } = this.addresses;
    const address = remote ?? local;
    return address === null ? `fd ${this.fd}` : `${address} (fd ${this.fd})`;
  }

  get shown(): ShownFd {
    return { fd: this.fd, kind: this.socket?.constructor.name ?? "fd", ...this.addresses };
  }

  /** The addresses of the socket, as `host:port` or a path. */
  get addresses(): { readonly local: string | null; readonly remote: string | null } {
    const socket = this.isClosed ? null : this.socket; // a closed socket would throw, and its fd may be another's by now
    return {
      local: textOf(addressOf(socket, "localAddress")),
      remote: textOf(addressOf(socket, "remoteAddress")),
    };
  }

  private moveTo(reactor: Reactor): void {
    if (this.reactor !== null && this.canWake()) {
      throw codedError(
        "ERR_OTHER_RUNTIME",
        `fd ${this.fd} has waiters in another runtime; await it there, or drop those waits first`,
      );
    }
    this.deregister();
    const weak = unclosed.isWatching ? weakSinkOf(this) : null;
    this.slot = check(reactor.register(weak ?? this, this.fd, this.interest), "epoll_ctl");
    this.reactor = reactor;
    if (weak === null) return;
    weak.setPlace(reactor, this.slot);
    weak.name = this.label; // now the socket knows its addresses
  }

  /** The events to ask epoll for. */
  private get interest(): number {
    return (this.ready & (DATAGRAM | ASKED)) === DATAGRAM ? READS : BOTH;
  }

  /**
   * Sets or clears ASKED, and tells epoll what we ask for; what already holds is reported again. Returns 0 or the negative
   * errno.
   */
  private updateInterest(asked: number = this.ready & ASKED): number {
    if (this.reactor === null) return 0;
    const before = this.ready & ASKED;
    this.ready = (this.ready & ~ASKED) | asked;
    const result = this.reactor.modify(this.slot, this.fd, this.interest);
    if (result < 0) this.ready = (this.ready & ~ASKED) | before;
    return result;
  }

  private deregister(): void {
    if (this.reactor === null) return;
    this.reactor.deregister(this.slot, this.fd);
    if (unclosed.isWatching) weakSinkOf(this)?.setPlace(null, -1);
    this.reactor = null;
    this.slot = -1;
  }
}

function onFdClosed(): void {
  fdShortage.onFdClosed();
}

/** Returns an address of a socket; null if it has none, or can no longer tell. */
export function addressOf(
  socket: object | null,
  name: keyof SocketAddresses,
): SocketAddress | VsockAddress | string | null {
  try {
    return (socket as SocketAddresses | null)?.[name] ?? null;
  } catch {
    return null; // the peer is gone, or the socket is closed
  }
}

/** Returns an address as `host:port` or a path; null if there is none. */
export function textOf(address: SocketAddress | VsockAddress | string | null): string | null {
  if (address === null || address === "") return null;
  // As ss(8) shows an abstract name.
  return typeof address === "string" ? address.replace("\0", "@") : formatAddress(address);
}
