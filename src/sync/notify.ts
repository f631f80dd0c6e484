// Notify: a wake without a value.
//
// A notification by `notifyOne` is one waiter's, and goes on to the next when that one is dropped; one by
// `notifyAll` is everybody's, and ends with whom it reached. So a waiter remembers which it got.

import type { Context } from "../core/context.ts";
import type { Future } from "../core/future.ts";
import { Leaf } from "../core/leaf.ts";
import { Pending, type Poll } from "../core/poll.ts";
import { WaitQueue } from "../core/wait-queue.ts";
import type { SyncOptions } from "./options.ts";

/** What a Notify shares with those who wait on it. */
class Notifications {
  readonly name: string;
  readonly waiters: WaitQueue = new WaitQueue();
  /** One came while nobody waited. Never set while somebody does. */
  isStored = false;
  /** How often all were notified. */
  rounds = 0;

  constructor(name: string) {
    this.name = name;
  }

  one(): void {
    const first = this.waiters.shift() as Notified | null; // no others enter the queue
    if (first === null) this.isStored = true;
    else first.notify();
  }

  all(): void {
    this.rounds++;
    this.waiters.wakeAll();
  }
}

class Notified extends Leaf<void> {
  readonly #shared: Notifications;
  /** A later round notifies this waiter, even one that was created but not polled before. */
  readonly #round: number;
  /** A `notifyOne` chose this waiter. If the awaiter cannot continue, the notification passes to the next. */
  #isChosen = false;
  /** The awaiter received the notification. Until then, a drop passes it on. */
  #isReceived = false;

  constructor(shared: Notifications) {
    super();
    this.#shared = shared;
    this.#round = shared.rounds;
  }

  notify(): void {
    this.#isChosen = true;
    this.target?.wake();
  }

  protected override attempt(cx: Context): Poll<void> {
    const shared = this.#shared;
    if (!this.#isChosen && this.#round === shared.rounds) {
      if (!shared.isStored) {
        shared.waiters.wait(this, cx.target);
        return Pending;
      }
      shared.isStored = false;
      this.#isChosen = true;
    }
    this.#isReceived = true;
  }

  override describe(): string {
    return `notification "${this.#shared.name}"`;
  }

  protected override release(): void {
    this.#shared.waiters.leave(this);
    if (!this.#isReceived) this.reclaim();
  }

  /** Passes a `notifyOne` to the next waiter. */
  override reclaim(): void {
    if (this.#isChosen) this.#shared.one();
    this.#isChosen = false;
  }
}

/**
 * Wakes tasks that wait for something to have happened. `notifyOne` with nobody waiting is stored, once:
 * the next to wait goes on at once.
 *
 * @example
 * const changed = new Notify();
 * spawn(function* () {
 *   yield* changed.notified();
 *   console.log("it has changed");
 * });
 * changed.notifyOne();
 */
export class Notify {
  readonly #shared: Notifications;

  constructor(options: SyncOptions = {}) {
    this.#shared = new Notifications(options.name ?? "notify");
  }

  /**
   * Waits to be notified; first come, first served. It also hears a `notifyAll` that comes after this
   * call, and before its first poll. Cancel safe: a `notifyOne` that it was chosen by goes on to the next.
   */
  notified(): Future<void> {
    return new Notified(this.#shared);
  }

  /** Wakes the one who has waited longest, or, if nobody waits, the next to wait. */
  notifyOne(): void {
    this.#shared.one();
  }

  /** Wakes all who wait now; stores nothing. (tokio's `notify_waiters`.) */
  notifyAll(): void {
    this.#shared.all();
  }
}
