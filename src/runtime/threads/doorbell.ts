// Doorbell: the runtime's own eventfd. Another thread rings it, by a write, when a blocking job has an answer, or when
// that thread has released a waker.

import type { Reactor } from "../../reactor/reactor.ts";
import type { EventSink } from "../../reactor/sink.ts";
import { EPOLLET, EPOLLIN } from "../../sys/epoll.ts";
import { check } from "../../sys/errno.ts";
import { sharedInts } from "../../sys/threads.ts";
import { closeLocked, lockIn, type SharedEventfd } from "./shared-eventfd.ts";

export class Doorbell implements EventSink {
  readonly shared: SharedEventfd;
  private readonly reactor: Reactor;
  private readonly onRing: () => void;
  private readonly canRing: () => boolean;

  /**
   * Calls `onRing` when another thread rings. `canRing` returns true while a ring is expected and could wake a task.
   * Throws SysError without a free fd.
   */
  constructor(reactor: Reactor, onRing: () => void, canRing: () => boolean) {
    this.canRing = canRing;
    this.reactor = reactor;
    this.onRing = onRing;
    const fd = check(reactor.sys.eventfd(), "eventfd");
    // We never read the eventfd: each write is an edge.
    check(reactor.registerOpened(this, fd, EPOLLIN | EPOLLET), "epoll_ctl");
    this.shared = { fd, lock: lockIn(sharedInts(2)) };
  }

  onEvents(): void {
    this.onRing();
  }

  canWake(): boolean {
    return this.canRing();
  }

  onReactorClosed(): void {
    const { sys } = this.reactor;
    if (closeLocked(sys, this.shared.lock)) sys.close(this.shared.fd);
  }
}
