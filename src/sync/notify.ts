// Notify: wakes tasks without passing a value.
//
// Invariants: a `notifyOne` reaches exactly one waiter. If that waiter is dropped before its awaiter continues,
// the notification passes to the next. A `notifyAll` reaches every waiter that exists at that moment, polled or not,
// and is never passed on. So each waiter records which of the two it received.

import { checkConstructor } from "../base/check.ts";
import { inspectableParts } from "../base/inspect.ts";
import type { Context } from "../core/context.ts";
import { polledAfterEnd } from "../core/future.ts";
import { Leaf } from "../core/leaf.ts";
import { Pending, type Poll } from "../core/poll.ts";
import { WaitQueue } from "../core/wait-queue.ts";
import { nameOf, type SyncOptions } from "./options.ts";

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

/** A wait for a notification. `notify.notified()` returns one. */
export class Notified extends Leaf<void> {
  readonly #state: NotifyState;
  /** The state's count at creation. Once that count is greater, a `notifyAll` has reached this waiter. */
  readonly #notifyAllCount: number;
  /** A `notifyOne` chose this waiter. If the awaiter is cancelled, the notification passes to the next waiter. */
  #isChosen = false;
  /** The awaiter received the notification. Until then, a drop passes it on. */
  #isReceived = false;

  private constructor(state: NotifyState) {
    checkConstructor(state, NotifyState, "Notified", "notify.notified()");
    super();
    this.#state = state;
    this.#notifyAllCount = state.notifyAllCount;
  }

  /** @internal */
  static create(state: NotifyState): Notified {
    return new Notified(state);
  }

  /** @internal */
  notify(): void {
    this.#isChosen = true;
    this.target?.wake();
  }

  /**
   * Puts this wait into the queue now, rather than at its first poll, so that a `notifyOne` from now on can choose it.
   * Returns whether it was notified already. Await it afterwards, or drop it: until then it may hold a notification that
   * another wait needs. Throws Error once the wait has ended.
   *
   * To wait for a condition without missing a change, enable the wait before the check:
   *
   * @example
   * const changed = new Notify();
   * const jobs: string[] = [];
   * spawn(function* () {
   *   jobs.push("a");
   *   changed.notifyOne();
   * });
   * while (jobs.length === 0) {
   *   using notified = changed.notified();
   *   notified.enable();
   *   if (jobs.length === 0) yield* notified;
   * }
   */
  enable(): boolean {
    if (this.isEnded) throw polledAfterEnd(this.describe());
    if (this.#isNotified()) return true;
    this.#state.waiters.wait(this, this.target);
    return false;
  }

  protected override attempt(cx: Context): Poll<void> {
    if (!this.#isNotified()) {
      this.#state.waiters.wait(this, cx.target);
      return Pending;
    }
    this.#isReceived = true;
  }

  /** Takes the stored notification if there is one. */
  #isNotified(): boolean {
    const state = this.#state;
    if (this.#isChosen || this.#notifyAllCount !== state.notifyAllCount) return true;
    if (!state.isStored) return false;
    state.isStored = false;
    this.#isChosen = true;
    return true;
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
 * completes the next wait at once. Throws TypeError when an option is bad.
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
  static {
    inspectableParts(
      Notify,
      (it) =>
        `"${it.#state.name}", ${it.#state.isStored ? "a stored notification" : `${it.#state.waiters.size} waiting`}`,
    );
  }

  readonly #state: NotifyState;

  constructor(options: SyncOptions = {}) {
    this.#state = new NotifyState(nameOf(options, "Notify", "notify"));
  }

  /**
   * Waits for a notification; first come, first served. It also completes for a `notifyAll` between this call and
   * its first poll; for a `notifyOne` in between, call `enable` on it. Cancel safe: if a `notifyOne` chose a wait that is then dropped, the notification passes to the
   * next wait.
   */
  notified(): Notified {
    return Notified.create(this.#state);
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
