// Timers: all deadlines of a runtime behind one timerfd.
//
// A pairing heap: a timer that ends before all others costs the same beside none and beside a
// million (one comparison in, one link out), and a timer is its own node. The timerfd is made and
// registered by the first timer. It is set only when the earliest deadline came *closer*: a cancelled
// timer leaves it armed, which costs one early wake-up later instead of one syscall now.

import type { WakeTarget } from "../core/waker.ts";
import { EPOLLET, EPOLLIN } from "../sys/epoll.ts";
import { check } from "../sys/errno.ts";
import type { EventSink, Reactor } from "./reactor.ts";

/** One deadline; the future that waits for it is its own node. */
export interface Timer {
  /** On `performance.now()`'s clock. */
  deadlineMs: number;
  target: WakeTarget | null;
  isPending: boolean;
  /** Heap links: first child; next sibling; previous sibling, or the parent of a first child. */
  child: Timer | null;
  sibling: Timer | null;
  back: Timer | null;
}

export class Timers implements EventSink {
  size = 0;
  #root: Timer | null = null;
  readonly #reactor: Reactor;
  /** -1 before the first timer, and while the process is out of fds. */
  #fd = -1;
  #slot = -1;
  /** When the timerfd will fire; Infinity when it is not armed. */
  #armedMs = Number.POSITIVE_INFINITY;
  /** The timerfd fired, or stands in for one: look at the clock. */
  #isDue = false;

  constructor(reactor: Reactor) {
    this.#reactor = reactor;
  }

  /** The earliest deadline, or Infinity. */
  get nextMs(): number {
    return this.#root?.deadlineMs ?? Number.POSITIVE_INFINITY;
  }

  insert(timer: Timer): void {
    timer.isPending = true;
    this.#root = this.#root === null ? timer : meld(this.#root, timer);
    this.size++;
  }

  /** Takes a timer out, if it is in. */
  remove(timer: Timer): void {
    if (!timer.isPending) return;
    timer.isPending = false;
    timer.target = null;
    this.size--;
    if (timer === this.#root) {
      this.#root = meldPairs(timer.child);
      timer.child = null;
      return;
    }
    const back = timer.back!; // not the root: it has a parent or an elder sibling
    if (back.child === timer) back.child = timer.sibling;
    else back.sibling = timer.sibling;
    if (timer.sibling !== null) timer.sibling.back = back;
    timer.sibling = timer.back = null;
    const orphans = meldPairs(timer.child);
    timer.child = null;
    if (orphans !== null) this.#root = meld(this.#root!, orphans);
  }

  /** Arms the timerfd if need be; returns the timeout for epoll_wait. */
  prepare(canSleep: boolean): number {
    if (this.#root === null) return canSleep ? -1 : 0;
    const deadlineMs = this.#root.deadlineMs;
    if (deadlineMs < this.#armedMs) {
      const delayMs = deadlineMs - performance.now();
      if (delayMs <= 0) {
        this.#isDue = true;
        return 0;
      }
      if (!this.#open()) {
        // Out of fds: epoll_wait's own timeout keeps time until a timerfd can be had.
        this.#isDue = true;
        return canSleep ? Math.min(Math.ceil(delayMs), 0x7fffffff) : 0;
      }
      check(this.#reactor.sys.timerfdSet(this.#fd, delayMs), "timerfd_settime");
      this.#armedMs = deadlineMs;
    }
    return canSleep ? -1 : 0;
  }

  /** Wakes all whose deadline has passed; never one whose has not. */
  expire(): void {
    if (!this.#isDue) return;
    this.#isDue = false;
    const nowMs = performance.now();
    if (this.#root === null || this.#root.deadlineMs > nowMs) return;
    const due = this.#takeDue(nowMs);
    if (due.length > 1) due.sort(byDeadline);
    for (const timer of due) {
      const { target } = timer;
      timer.target = null;
      target?.wake();
    }
  }

  /**
   * Takes out all that are due, in any order: the top of the heap. One at a time would cost a way down
   * the heap for each, through memory that is seldom in the cache: eight times as much with 100,000.
   */
  #takeDue(nowMs: number): Timer[] {
    const due: Timer[] = [];
    const families: Timer[] = this.#root === null ? [] : [this.#root]; // eldest siblings
    let later: Timer | null = null; // linked through `sibling`
    for (let eldest = families.pop(); eldest !== undefined; eldest = families.pop()) {
      for (let timer: Timer | null = eldest; timer !== null; ) {
        const next: Timer | null = timer.sibling;
        if (timer.deadlineMs <= nowMs) {
          if (timer.child !== null) families.push(timer.child);
          timer.child = timer.sibling = timer.back = null;
          timer.isPending = false;
          due.push(timer);
        } else {
          timer.sibling = later;
          later = timer;
        }
        timer = next;
      }
    }
    this.size -= due.length;
    this.#root = meldPairs(later);
    return due;
  }

  onEvents(): void {
    this.#armedMs = Number.POSITIVE_INFINITY;
    this.#isDue = true;
  }

  onReactorClosed(): void {}

  canWake(): boolean {
    return this.size > 0;
  }

  close(): void {
    if (this.#fd < 0) return;
    const { sys, epollFd } = this.#reactor;
    sys.epollDelete(epollFd, this.#fd);
    this.#reactor.remove(this.#slot);
    sys.close(this.#fd);
    this.#fd = -1;
  }

  #open(): boolean {
    if (this.#fd >= 0) return true;
    const { sys, epollFd } = this.#reactor;
    const fd = sys.timerfdCreate();
    if (fd < 0) return false;
    const slot = this.#reactor.add(this);
    // Never read: a set timer counts from zero again, and each expiry is an edge.
    const added = sys.epollAdd(
      epollFd,
      fd,
      EPOLLIN | EPOLLET,
      slot,
      this.#reactor.generationOf(slot),
    );
    if (added < 0) {
      this.#reactor.remove(slot);
      sys.close(fd);
      return false;
    }
    this.#fd = fd;
    this.#slot = slot;
    return true;
  }
}

function byDeadline(a: Timer, b: Timer): number {
  return a.deadlineMs - b.deadlineMs;
}

/** Two heaps as one: the later root becomes the first child of the earlier. */
function meld(a: Timer, b: Timer): Timer {
  const [parent, child] = b.deadlineMs < a.deadlineMs ? [b, a] : [a, b];
  child.sibling = parent.child;
  if (parent.child !== null) parent.child.back = child;
  child.back = parent;
  parent.child = child;
  parent.sibling = parent.back = null;
  return parent;
}

/** The two passes of a pairing heap over a list of siblings: in pairs, then from the last to the first. */
function meldPairs(first: Timer | null): Timer | null {
  let pairs: Timer | null = null; // linked through `sibling`, the last pair first
  for (let left = first; left !== null; ) {
    const right: Timer | null = left.sibling;
    const rest: Timer | null = right === null ? null : right.sibling;
    left.sibling = left.back = null;
    if (right !== null) right.sibling = right.back = null;
    const pair: Timer = right === null ? left : meld(left, right);
    pair.sibling = pairs;
    pairs = pair;
    left = rest;
  }
  let root: Timer | null = null;
  while (pairs !== null) {
    const pair: Timer = pairs;
    pairs = pair.sibling;
    pair.sibling = null;
    root = root === null ? pair : meld(pair, root);
  }
  return root;
}
