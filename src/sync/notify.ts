// Notify: wakes tasks without passing a value.
//
// Invariants: a `notifyOne` reaches exactly one waiter. If that waiter is dropped before its awaiter continues,
// the notification passes to the next. A `notifyAll` reaches every waiter that exists at that moment, polled or not,
// and is never passed on. So each waiter records which of the two it received.

import type { Context } from "../core/context.ts";
import type { Future } from "../core/future.ts";
import { Leaf } from "../core/leaf.ts";
import { Pending, type Poll } from "../core/poll.ts";
import { WaitQueue } from "../core/wait-queue.ts";
import type { SyncOptions } from "./options.ts";

/** The state that a Notify shares with its waiters. */
class NotifyState {
  readonly name: string;
  readonly waiters: WaitQueue = new WaitQueue();
  /** A `notifyOne` came while the queue was empty. Never true while a waiter is queued. */
  isStored = false;
  /** How many times `notifyAll` was called. */
  notifyAllCount = 0;

  constructor(name: string) {
    this.name = name;
  }

  notifyOne(): void {
    const first = this.waiters.shift() as Notified | null; // only Notified enters this queue
    if (first === null) this.isStored = true;
    else first.notify();
  }

  notifyAll(): void {
    this.notifyAllCount++;
    this.waiters.wakeAll();
  }
}

class Notified extends Leaf<void> {
  readonly #state: NotifyState;
  /** The state's count at creation. Once that count is greater, a `notifyAll` has reached this waiter. */
  readonly #notifyAllCount: number;
  /** A `notifyOne` chose this waiter. If the awaiter is cancelled, the notification passes to the next waiter. */
  #isChosen = false;
  /** The awaiter received the notification. Until then, a drop passes it on. */
  #isReceived = false;

  constructor(state: NotifyState) {
    super();
    this.#state = state;
    this.#notifyAllCount = state.notifyAllCount;
  }

  notify(): void {
    this.#isChosen = true;
    this.target?.wake();
  }

  protected override attempt(cx: Context): Poll<void> {
    const state = this.#state;
    if (!this.#isChosen && this.#notifyAllCount === state.notifyAllCount) {
      if (!state.isStored) {
        state.waiters.wait(this, cx.target);
        return Pending;
      }
      state.isStored = false;
      this.#isChosen = true;
    }
    this.#isReceived = true;
  }

  override describe(): string {
    return `notification "${this.#state.name}"`;
  }

  protected override release(): void {
    this.#state.waiters.leave(this);
    if (!this.#isReceived) this.reclaim();
  }

  /** Passes a `notifyOne` to the next waiter. */
  override reclaim(): void {
    if (this.#isChosen) this.#state.notifyOne();
    this.#isChosen = false;
  }
}

/**
 * Notifies tasks that something has happened. A `notifyOne` without waiters is stored, at most once, and
 * completes the next wait at once.
 *
 * @example
 * const changed = new Notify();
 * spawn(function* () {
 *   yield* changed.notified();
 *   console.log("changed");
 * });
 * changed.notifyOne();
 */
export class Notify {
  readonly #state: NotifyState;

  constructor(options: SyncOptions = {}) {
    this.#state = new NotifyState(options.name ?? "notify");
  }

  /**
   * Waits for a notification; first come, first served. It also completes for a `notifyAll` between this call and
   * its first poll. Cancel safe: if a `notifyOne` chose a wait that is then dropped, the notification passes to the
   * next wait.
   */
  notified(): Future<void> {
    return new Notified(this.#state);
  }

  /** Wakes the task that has waited longest. Without waiters, stores one notification for the next wait. */
  notifyOne(): void {
    this.#state.notifyOne();
  }

  /** Completes every `notified()` future that exists now, and stores nothing. (tokio's `notify_waiters`.) */
  notifyAll(): void {
    this.#state.notifyAll();
  }
}
