// Doorbell: the runtime's own eventfd. Another thread rings it when a blocking job has an answer, or when it
// released a waker.

import type { Reactor } from "../../reactor/reactor.ts";
import type { EventSink } from "../../reactor/sink.ts";
import { EPOLLET, EPOLLIN } from "../../sys/epoll.ts";
import { check } from "../../sys/errno.ts";
import { sharedInts } from "../../sys/threads.ts";
import { closeLocked, lockIn, type SharedEventfd } from "./shared-eventfd.ts";

export class Doorbell implements EventSink {
  readonly shared: SharedEventfd;
  readonly #reactor: Reactor;
  readonly #onRing: () => void;
  readonly #canRing: () => boolean;

  /** `canRing` returns true while another thread has a reason to ring. */
  constructor(reactor: Reactor, onRing: () => void, canRing: () => boolean) {
    this.#canRing = canRing;
    this.#reactor = reactor;
    this.#onRing = onRing;
    const fd = check(reactor.sys.eventfd(), "eventfd");
    // We never read it: each write is an edge.
    check(reactor.registerOpened(this, fd, EPOLLIN | EPOLLET), "epoll_ctl");
    this.shared = { fd, lock: lockIn(sharedInts(2)) };
  }

  onEvents(): void {
    this.#onRing();
  }

  canWake(): boolean {
    return this.#canRing();
  }

  onReactorClosed(): void {
    const { sys } = this.#reactor;
    if (closeLocked(sys, this.shared.lock)) sys.close(this.shared.fd);
  }
}
