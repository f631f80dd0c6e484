// Doorbell: the runtime's own eventfd, by which other threads ask it to look again: a blocking job
// is done, or a waker's handle was dropped elsewhere.

import type { Reactor } from "../../reactor/reactor.ts";
import type { EventSink } from "../../reactor/sink.ts";
import { EPOLLET, EPOLLIN } from "../../sys/epoll.ts";
import { check } from "../../sys/errno.ts";
import { closeLocked, lockIn, type SharedEventfd, sharedWords } from "./shared-eventfd.ts";

export class Doorbell implements EventSink {
  readonly shared: SharedEventfd;
  readonly #reactor: Reactor;
  readonly #onRing: () => void;
  readonly #canRing: () => boolean;

  /** `canRing`: whether another thread has a reason to. */
  constructor(reactor: Reactor, onRing: () => void, canRing: () => boolean) {
    this.#canRing = canRing;
    this.#reactor = reactor;
    this.#onRing = onRing;
    const fd = check(reactor.sys.eventfd(), "eventfd");
    // Never read: each write is an edge.
    check(reactor.registerOpened(this, fd, EPOLLIN | EPOLLET), "epoll_ctl");
    this.shared = { fd, lock: lockIn(sharedWords(2)) };
  }

  onEvents(): void {
    this.#onRing();
  }

  canWake(): boolean {
    return this.#canRing();
  }

  onReactorClosed(): void {
    if (closeLocked(this.shared.lock)) this.#reactor.sys.close(this.shared.fd);
  }
}
