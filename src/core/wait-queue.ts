// WaitQueue: the futures that wait for one event. An intrusive list, first come, first served.

import { type Linked, List } from "../base/list.ts";
import type { WakeTarget } from "./wake-target.ts";

/** A future that waits in a queue is its own node, so waiting allocates nothing. */
export interface Waiter extends Linked<Waiter> {
  /** The target of the *latest* poll; null before the first. */
  target: WakeTarget | null;
}

export class WaitQueue extends List<Waiter> {
  /** Adds `waiter`; if it is already in the queue, only stores its new target. */
  wait(waiter: Waiter, target: WakeTarget | null): void {
    waiter.target = target;
    if (waiter.list === null) this.push(waiter);
  }

  /** Removes `waiter` if it is in the queue. */
  leave(waiter: Waiter): void {
    this.remove(waiter);
    waiter.target = null;
  }

  /** Wakes all waiters in order. A waiter that waits again is not woken twice, because it is polled only later. */
  wakeAll(): void {
    for (let waiter = this.shift(); waiter !== null; waiter = this.shift()) {
      const target = waiter.target;
      waiter.target = null;
      target?.wake();
    }
  }
}
