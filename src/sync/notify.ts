// Notify: a wake without a value.

import type { Future } from "../core/future.ts";
import { Acquire, Permits, type SyncOptions } from "./semaphore.ts";

/** No more than one notification is stored, also when a waiter that was dropped gives its own back. */
class Notifications extends Permits {
  limit = 1;

  override give(count: number): void {
    super.give(count);
    if (this.available > this.limit) this.available = this.limit;
  }
}

/**
 * Wakes tasks that wait for something to have happened. `notifyOne` with nobody waiting is stored, once:
 * the next to wait goes on at once.
 *
 * @example
 * const changed = new Notify();
 * yield* changed.notified(); // in one task
 * changed.notifyOne();       // in another
 */
export class Notify {
  /** Those who wait now; after `notifyAll` there is a new one. */
  #permits = new Notifications(0);
  readonly #name: string;

  constructor(options: SyncOptions = {}) {
    this.#name = options.name ?? "notify";
  }

  /** Waits to be notified; first come, first served. Cancel safe: a notification it got goes on. */
  notified(): Future<void> {
    return new Acquire(
      this.#permits,
      1,
      () => `notification "${this.#name}"`,
      () => {},
    );
  }

  /** Wakes the one who has waited longest, or, if nobody waits, the next to wait. */
  notifyOne(): void {
    this.#permits.give(1);
  }

  /** Wakes all who wait now; stores nothing. */
  notifyAll(): void {
    const waiting = this.#permits;
    this.#permits = new Notifications(waiting.available);
    waiting.limit = Number.POSITIVE_INFINITY;
    waiting.give(Number.POSITIVE_INFINITY);
  }
}
