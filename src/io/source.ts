// Source: one fd, its cached readiness per direction, and who waits on it.
// It owns the fd: registered at the first would-block, deregistered before it is closed, closed once.
//
// Facts about edge-triggered epoll, and what they mean for us:
// - An event says that something *became* ready since the last one. So readiness is remembered, and
//   forgotten only by an operation that would block, or a transfer that came up short.
// - Adding an fd reports what is ready already: nothing is lost between a would-block and the add.
// - Data and FIN can arrive as one edge. Forget it after the short read, and the end never comes: a
//   direction that has seen RDHUP, HUP or ERR stays ready after a short one (`isReadSticky`).
// - A read stops short at TCP's urgent mark with more data behind it; EPOLLPRI makes reads sticky too.
// - A datagram socket says that it can be written each time that one has left it: an event, and a
//   round of epoll, for each. So it is asked only while someone waits for that. (TCP says so only
//   after a write that came up short.)
// - EAGAIN is the kernel's own word that nothing is there, and whatever comes next is a new edge. So
//   it ends even a sticky readiness: after urgent data, or a UDP socket's error, both do happen, and
//   to try again at once would be to spin.

import type { Context } from "../core/context.ts";
import { type Waiter, WaitQueue } from "../core/wait-queue.ts";
import { type EventSink, type Reactor, reactorOf } from "../reactor/reactor.ts";
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

/** Which way bytes go: epoll's bit for it. (Numbers: to compare two strings takes twenty instructions.) */
export const READ: typeof EPOLLIN = EPOLLIN;
export const WRITE: typeof EPOLLOUT = EPOLLOUT;
export type Direction = typeof READ | typeof WRITE;

const READ_STICKY = EPOLLRDHUP | EPOLLHUP | EPOLLERR | EPOLLPRI;
const WRITE_STICKY = EPOLLHUP | EPOLLERR;
/** What a stream is asked for, and what a datagram socket is that nobody waits to write to. */
const BOTH = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLPRI | EPOLLET;
const READS = BOTH & ~EPOLLOUT;

/** What an operation on a closed socket, or another fd that was, throws. */
export class ClosedError extends Error {
  override readonly name = "ClosedError";
  readonly code = "ERR_SOCKET_CLOSED";
}

export class Source implements EventSink {
  /** Who waits for an fd to become free (EMFILE): a close of ours is one way that one does. */
  static readonly shortage: WaitQueue = new WaitQueue();
  readonly sys: Sys;
  readonly fd: number;
  /** Which directions are worth an attempt. Optimistic at first: an unregistered fd is simply tried. */
  ready: number = READ | WRITE;
  isClosed = false;
  #isReadSticky = false;
  /** Made by the first wait: a write hardly ever has to, and memory that is new is cold. */
  #readers: WaitQueue | null = null;
  #writers: WaitQueue | null = null;
  /** Where it is registered; null before the first would-block. */
  #reactor: Reactor | null = null;
  #slot = -1;
  readonly #idleInterest: number;
  #interest: number;

  /** Takes over `fd`, which is open and non-blocking. */
  constructor(sys: Sys, fd: number, isDatagram = false) {
    this.sys = sys;
    this.fd = fd;
    this.#interest = this.#idleInterest = isDatagram ? READS : BOTH;
  }

  /** A read came up short: forgets readiness, unless it is sticky. */
  drained(): void {
    if (!this.#isReadSticky) this.ready &= ~READ;
  }

  /** The kernel said EAGAIN: not ready before the next edge. */
  block(direction: Direction): void {
    this.ready &= ~direction;
  }

  /**
   * Has epoll say anew what is true: who uses the fd elsewhere may have changed that. As a new edge, so an
   * attempt that is made before would not know.
   */
  recheck(cx: Context): void {
    if (this.isClosed) throw this.closedError();
    if (this.#reactor === cx.runtime.reactor) check(this.#ask(this.#interest), "epoll_ctl");
    else this.#moveTo(reactorOf(cx)); // to add it says so, too
  }

  /**
   * Keeps the target of this poll until `direction` is ready. Registers the fd the first time. Throws
   * ClosedError: a closed fd is never ready, so who polls one comes here.
   */
  wait(direction: Direction, waiter: Waiter, cx: Context): void {
    if (this.isClosed) throw this.closedError();
    const reactor = cx.runtime.reactor;
    if (this.#reactor !== reactor) {
      this.leave(direction, waiter); // it may have waited in the other runtime itself
      this.#moveTo(reactorOf(cx));
    }
    if (direction === READ) {
      this.#readers ??= new WaitQueue();
      this.#readers.wait(waiter, cx.target);
    } else {
      this.#writers ??= new WaitQueue();
      this.#writers.wait(waiter, cx.target);
      if (this.#interest !== BOTH) check(this.#ask(BOTH), "epoll_ctl");
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
    if (writable && this.#interest !== this.#idleInterest) this.#ask(this.#idleInterest);
  }

  canWake(): boolean {
    return (this.#readers?.size ?? 0) + (this.#writers?.size ?? 0) > 0;
  }

  /** It can be read after all, and makes no edge: who waits for that tries again. */
  retryReads(): void {
    if (!this.isClosed) this.onEvents(EPOLLIN);
  }

  /** The reactor is gone; the fd stays ours, and may be polled by another runtime. */
  onReactorClosed(): void {
    this.#reactor = null;
    this.#slot = -1;
    this.ready = READ | WRITE;
  }

  /** Closes the fd, and wakes who waits on it: their next poll throws ClosedError. Idempotent. */
  close(): void {
    if (this.isClosed) return;
    this.release();
    this.sys.close(this.fd);
    Source.shortage.wakeAll();
  }

  /** The same, but that the fd stays open, and is somebody else's. */
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
        `fd ${this.fd} is waited on in another runtime; await it there, or drop those waits first`,
      );
    }
    this.#deregister();
    this.#slot = check(reactor.register(this, this.fd, this.#interest), "epoll_ctl");
    this.#reactor = reactor;
  }

  /** Changes what the fd is asked for: 0, or the negative errno. What is true already makes an event. */
  #ask(interest: number): number {
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
