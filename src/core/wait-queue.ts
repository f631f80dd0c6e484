// WaitQueue: the futures that wait for one event. An intrusive list, first come, first served.

import { type Linked, List } from "../base/list.ts";
import type { WakeTarget } from "./wake-target.ts";

/** A future that waits in a queue is its own node, so waiting allocates nothing. */
export interface Waiter extends Linked<Waiter> {
  /** The target of the *latest* poll; null before the first. */
  target: WakeTarget | null;
}

/** A waiter that is not a future itself: for a future that waits in several queues at once. */
export class WaiterNode implements Waiter {
  target: WakeTarget | null = null;
  before: Waiter | null = null;
  after: Waiter | null = null;
  list: object | null = null;
}

export class WaitQueue extends List<Waiter> {
  /** Adds `waiter`, to be woken through `target`. If it is already in the queue, only stores the new target. */
  wait(waiter: Waiter, target: WakeTarget | null): void {
    waiter.target = target;
    if (waiter.list === null) this.push(waiter);
  }

  /** Removes `waiter` if it is in the queue. */
  leave(waiter: Waiter): void {
    this.remove(waiter);
    waiter.target = null;
  }

  /** Wakes all waiters in order, each once: `wake` never polls, so no waiter enters the queue again during the loop. */
  wakeAll(): void {
    for (let waiter = this.shift(); waiter !== null; waiter = this.shift()) {
      const target = waiter.target;
      waiter.target = null;
      target?.wake();
    }
  }
}
