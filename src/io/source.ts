// Source: one fd, its cached readiness per direction, and the futures that wait for it.
// It owns the fd: registers it at the first would-block, deregisters it before closing, and closes it once.
//
// Facts about edge-triggered epoll, and what they mean for this code:
// - An event says that something *became* ready since the last event. So we cache readiness, and clear it only
//   when an operation would block or a transfer comes up short.
// - Adding an fd reports what is already ready. Nothing is lost between a would-block and the add.
// - Data and FIN can arrive as one edge. Clearing readiness after the short read would hide the end. So a
//   direction that has seen RDHUP, HUP or ERR stays ready after a short read (`#isReadSticky`).
// - A read stops short at TCP's urgent mark with more data behind it. EPOLLPRI makes reads sticky, too.
// - A datagram socket reports writability each time a datagram has left it: one event, and one epoll round,
//   per datagram. So we ask for it only while a future waits to write. (TCP reports it only after a write
//   that came up short.)
// - EAGAIN is the kernel's own statement that nothing is there; whatever comes next is a new edge. So it ends
//   even a sticky readiness. Both happen, after urgent data and after a UDP socket's error, and retrying at
//   once would busy-poll.

import type { Context } from "../core/context.ts";
import { type Waiter, WaitQueue } from "../core/wait-queue.ts";
import { type Reactor, reactorOf } from "../reactor/reactor.ts";
import type { EventSink } from "../reactor/sink.ts";
import {
  EPOLLERR,
  EPOLLET,
  EPOLLHUP,
  EPOLLIN,
  EPOLLOUT,
  EPOLLPRI,
  EPOLLRDHUP,
} from "../sys/epoll.ts";
import { check } from "../sys/errno.ts";
import type { Sys } from "../sys/sys.ts";
import { fdShortage } from "./fd-shortage.ts";

/** The direction of a transfer, as epoll's bit for it. (Comparing two strings takes twenty instructions.) */
export const READ: typeof EPOLLIN = EPOLLIN;
export const WRITE: typeof EPOLLOUT = EPOLLOUT;
export type Direction = typeof READ | typeof WRITE;

const READ_STICKY = EPOLLRDHUP | EPOLLHUP | EPOLLERR | EPOLLPRI;
const WRITE_STICKY = EPOLLHUP | EPOLLERR;
/** The events we ask for: of a stream, and of a datagram socket while no future waits to write. */
const BOTH = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLPRI | EPOLLET;
const READS = BOTH & ~EPOLLOUT;

/** Thrown by an operation on a socket, or another fd, that was closed. */
export class ClosedError extends Error {
  override readonly name = "ClosedError";
  readonly code = "ERR_SOCKET_CLOSED";
}

export class Source implements EventSink {
  readonly sys: Sys;
  readonly fd: number;
  /** The directions worth an attempt. Optimistic at first: we simply try an fd that is not registered. */
  ready: number = READ | WRITE;
  isClosed = false;
  #isReadSticky = false;
  /** Created by the first wait. Writes rarely wait, and new memory is cold. */
  #readers: WaitQueue | null = null;
  #writers: WaitQueue | null = null;
  /** Where the fd is registered; null before the first would-block. */
  #reactor: Reactor | null = null;
  #slot = -1;
  readonly #idleInterest: number;
  #interest: number;

  /** Takes ownership of `fd`, which must be open and non-blocking. */
  constructor(sys: Sys, fd: number, isDatagram = false) {
    this.sys = sys;
    this.fd = fd;
    this.#interest = this.#idleInterest = isDatagram ? READS : BOTH;
  }

  /** Clears read readiness after a short read, unless it is sticky. */
  onShortRead(): void {
    if (!this.#isReadSticky) this.ready &= ~READ;
  }

  /** Clears readiness after EAGAIN, until the next edge. */
  clearReady(direction: Direction): void {
    this.ready &= ~direction;
  }

  /**
   * Makes epoll report the current readiness again, because other code that uses the fd may have changed it. The
   * report is a new edge and comes with the next round.
   */
  rearm(cx: Context): void {
    if (this.isClosed) throw this.closedError();
    if (this.#reactor === cx.runtime.reactor) check(this.#setInterest(this.#interest), "epoll_ctl");
    else this.#moveTo(reactorOf(cx)); // adding the fd reports it, too
  }

  /**
   * Queues `waiter` with the target of this poll until `direction` is ready. The first call registers the fd.
   * Throws ClosedError on a closed fd, which is never ready.
   */
  wait(direction: Direction, waiter: Waiter, cx: Context): void {
    if (this.isClosed) throw this.closedError();
    const reactor = cx.runtime.reactor;
    if (this.#reactor !== reactor) {
      this.leave(direction, waiter); // it may be the one that waits in the other runtime
      this.#moveTo(reactorOf(cx));
    }
    if (direction === READ) {
      this.#readers ??= new WaitQueue();
      this.#readers.wait(waiter, cx.target);
    } else {
      this.#writers ??= new WaitQueue();
      this.#writers.wait(waiter, cx.target);
      if (this.#interest !== BOTH) check(this.#setInterest(BOTH), "epoll_ctl");
    }
  }

  leave(direction: Direction, waiter: Waiter): void {
    (direction === READ ? this.#readers : this.#writers)?.leave(waiter);
  }

  onEvents(events: number): void {
    if ((events & READ_STICKY) !== 0) this.#isReadSticky = true;
    const readable = (events & (EPOLLIN | READ_STICKY)) !== 0;
    const writable = (events & (EPOLLOUT | WRITE_STICKY)) !== 0;
    if (readable) this.ready |= READ;
    if (writable) this.ready |= WRITE;
    if (readable) this.#readers?.wakeAll();
    if (writable) this.#writers?.wakeAll();
    if (writable && this.#interest !== this.#idleInterest) this.#setInterest(this.#idleInterest);
  }

  canWake(): boolean {
    return (this.#readers?.size ?? 0) + (this.#writers?.size ?? 0) > 0;
  }

  /** Retries the waiting reads: the fd is readable now, but epoll reports no edge. */
  retryReads(): void {
    if (!this.isClosed) this.onEvents(EPOLLIN);
  }

  /** The reactor closed. The fd stays open, and another runtime may poll it. */
  onReactorClosed(): void {
    this.#reactor = null;
    this.#slot = -1;
    this.ready = READ | WRITE;
  }

  /** Closes the fd and wakes its waiters, whose next poll throws ClosedError. Idempotent. */
  close(): void {
    if (this.isClosed) return;
    this.release();
    this.sys.close(this.fd);
    fdShortage.onFdClosed();
  }

  /** Like `close`, but leaves the fd open: it belongs to the caller now. */
  release(): void {
    this.isClosed = true;
    this.ready = 0;
    this.#deregister();
    this.#readers?.wakeAll();
    this.#writers?.wakeAll();
  }

  closedError(): ClosedError {
    return new ClosedError(`fd ${this.fd} is closed`);
  }

  #moveTo(reactor: Reactor): void {
    if (this.#reactor !== null && this.canWake()) {
      throw new Error(
        `fd ${this.fd} has waiters in another runtime; await it there, or drop those waits first`,
      );
    }
    this.#deregister();
    this.#slot = check(reactor.register(this, this.fd, this.#interest), "epoll_ctl");
    this.#reactor = reactor;
  }

  /** Changes the events we ask for. Events already true are reported again. Returns 0 or the negative errno. */
  #setInterest(interest: number): number {
    if (this.#reactor === null) return 0;
    const result = this.#reactor.modify(this.#slot, this.fd, interest);
    if (result >= 0) this.#interest = interest;
    return result;
  }

  #deregister(): void {
    if (this.#reactor === null) return;
    this.#reactor.deregister(this.#slot, this.fd);
    this.#reactor = null;
    this.#slot = -1;
  }
}
