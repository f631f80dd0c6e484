// Who waits for one event: an intrusive list of waiters, first come, first served.

import { type Linked, List } from "../base/list.ts";
import type { WakeTarget } from "./waker.ts";

/** A future that waits in a queue is its own node: waiting allocates nothing. */
export interface Waiter extends Linked<Waiter> {
  /** Whom to wake: the target of the *latest* poll; null before the first. */
  target: WakeTarget | null;
}

export class WaitQueue extends List<Waiter> {
  /** Enters `waiter`, or, if it is in already, only takes note of its new target. */
  wait(waiter: Waiter, target: WakeTarget | null): void {
    waiter.target = target;
    if (waiter.list === null) this.push(waiter);
  }

  leave(waiter: Waiter): void {
    this.remove(waiter);
    waiter.target = null;
  }

  /** Wakes all, in order. A waiter that waits again enters a later round: it is polled only later. */
  wakeAll(): void {
    for (let waiter = this.shift(); waiter !== null; waiter = this.shift()) {
      const target = waiter.target;
      waiter.target = null;
      target?.wake();
    }
  }
}
