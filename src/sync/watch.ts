// watch: a channel that keeps only the latest value and notifies receivers when it changes.
//
// Each value has a version, and each receiver remembers the version it has seen. A receiver may miss intermediate
// values, but never the latest.

import { checkConstructor, checkFunction } from "../base/check.ts";
import { counted, inspectableParts } from "../base/inspect.ts";
import type { Future } from "../core/future.ts";
import { Pending, type Poll } from "../core/poll.ts";
import { ReclaimableAttempt } from "../core/queued-attempt.ts";
import { WaitQueue } from "../core/wait-queue.ts";
import { ChannelClosedError } from "./closed.ts";
import { nameOf, type SyncOptions } from "./options.ts";

/** The state that the sender and the receivers of one channel share. */
class WatchState<T> {
  readonly name: string;
  value: T;
  version = 0;
  isClosed = false;
  readonly waiters: WaitQueue = new WaitQueue();

  constructor(value: T, name: string) {
    this.value = value;
    this.name = name;
  }

  send(value: T): void {
    this.value = value;
    this.version++;
    this.waiters.wakeAll();
  }

  closedError(): ChannelClosedError {
    return new ChannelClosedError(`watch "${this.name}": the sender is closed`);
  }
}

/** The sender. Close it with `using` or `close`, so that waiting receivers see the end. */
export class WatchSender<T> implements Disposable {
  static {
    inspectableParts<WatchSender<unknown>>(
      WatchSender,
      (it) =>
        `"${it.#channel.name}", ${counted(it.#channel.version, "change")}${it.#channel.isClosed ? ", closed" : ""}`,
    );
  }

  readonly #channel: WatchState<T>;

  private constructor(channel: WatchState<T>) {
    checkConstructor(channel, WatchState, "WatchSender", "watch(initial)");
    this.#channel = channel;
  }

  /** @internal */
  static create<T>(channel: WatchState<T>): WatchSender<T> {
    return new WatchSender(channel);
  }

  /** Replaces the value and wakes the waiting receivers. Throws ChannelClosedError once this sender is closed. */
  send(value: T): void {
    this.#checkOpen();
    this.#channel.send(value);
  }

  /**
   * Calls `modify` with the latest value and sends what it returns, which may be the same object, changed. If `modify`
   * throws, sends nothing and throws that error. Throws ChannelClosedError once this sender is closed, and TypeError
   * unless `modify` is a function.
   *
   * @example
   * const { sender, receiver } = watch(new Map<string, number>());
   * sender.sendModify((sizes) => sizes.set("a", 1));
   * yield* receiver.changed();
   */
  sendModify(modify: (value: T) => T): void {
    checkFunction(modify, "sendModify: modify");
    this.#checkOpen();
    this.send(modify(this.#channel.value));
  }

  /**
   * Like `sendModify`, but sends nothing if `modify` returns the latest value itself (by `Object.is`). Returns whether
   * it sent. An object that `modify` has changed in place is still the same value: return a new one.
   *
   * @example
   * const { sender } = watch(3);
   * console.log(sender.sendIfChanged((highest) => Math.max(highest, 2))); // false
   */
  sendIfChanged(modify: (value: T) => T): boolean {
    checkFunction(modify, "sendIfChanged: modify");
    this.#checkOpen();
    const value = modify(this.#channel.value);
    if (Object.is(value, this.#channel.value)) return false; // `modify` itself may have sent
    this.send(value);
    return true;
  }

  /** The latest value. */
  get value(): T {
    return this.#channel.value;
  }

  /** Returns a new receiver, for which the latest value counts as seen. */
  subscribe(): WatchReceiver<T> {
    return WatchReceiver.create(this.#channel);
  }

  /** Ends the channel: the value no longer changes, and waits for a change throw ChannelClosedError. Idempotent. */
  close(): void {
    this.#channel.isClosed = true;
    this.#channel.waiters.wakeAll();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #checkOpen(): void {
    if (this.#channel.isClosed) throw this.#channel.closedError();
  }
}

/** A receiver, which remembers which value it has seen. Several tasks may wait on it at once. */
export class WatchReceiver<T> {
  static {
    inspectableParts<WatchReceiver<unknown>>(
      WatchReceiver,
      (it) =>
        `"${it.#channel.name}", ${counted(it.#channel.version - it.#seen, "unseen change")}${it.#channel.isClosed ? ", the sender is closed" : ""}`,
    );
  }

  readonly #channel: WatchState<T>;
  /** The version of the value that counts as seen. */
  #seen: number;

  private constructor(channel: WatchState<T>) {
    const instead = "watch(initial) or sender.subscribe()";
    checkConstructor(channel, WatchState, "WatchReceiver", instead);
    this.#channel = channel;
    this.#seen = channel.version;
  }

  /** @internal */
  static create<T>(channel: WatchState<T>): WatchReceiver<T> {
    return new WatchReceiver(channel);
  }

  /** The latest value. Reading it does not mark it as seen, so `changed` still completes for it. */
  get value(): T {
    return this.#channel.value;
  }

  /** Marks the latest value as seen and returns it. */
  markSeen(): T {
    this.#seen = this.#channel.version;
    return this.#channel.value;
  }

  /**
   * Waits for a value that this receiver has not seen, and marks it as seen. One new value completes the waits of
   * all tasks. Throws ChannelClosedError if the sender is closed and the latest value was seen. Cancel safe: a
   * dropped wait marks nothing as seen.
   *
   * @example
   * const { sender, receiver } = watch(1);
   * sender.send(2);
   * yield* receiver.changed();
   * console.log(receiver.value); // 2
   */
  changed(): Future<void> {
    let seen = Number.POSITIVE_INFINITY;
    return this.#wait(() => {
      // Compare with the version seen at the first poll: another task may have marked a later version since. If a
      // cancelled wait has undone its mark, `#seen` is lower: then compare with `#seen`.
      seen = Math.min(seen, this.#seen);
      if (seen === this.#channel.version) return Pending;
      this.#seen = this.#channel.version;
    });
  }

  /**
   * Waits until `predicate` returns true for the latest value, marks that value as seen and returns it. Completes
   * at the first poll if the predicate already holds. Throws what `predicate` throws, and ChannelClosedError if the
   * sender is closed and the predicate does not hold. Throws TypeError unless `predicate` is a function. Cancel safe: a
   * dropped wait marks nothing as seen.
   *
   * @example
   * const { sender, receiver } = watch("starting");
   * spawn(async () => sender.send("ready"));
   * yield* receiver.waitFor((state) => state === "ready");
   */
  waitFor(predicate: (value: T) => boolean): Future<T> {
    checkFunction(predicate, "waitFor: predicate");
    return this.#wait(() => {
      for (;;) {
        const { value, version } = this.#channel;
        if (predicate(value)) {
          this.#seen = version;
          return value;
        }
        // The predicate itself may have sent a value. This wait was not in the queue then, so no wake comes:
        // try again.
        if (version === this.#channel.version) return Pending;
      }
    });
  }

  #wait<R>(attempt: () => Poll<R>): Future<R> {
    const channel = this.#channel;
    let seenBefore = 0;
    let seenAfter = 0;
    return new ReclaimableAttempt(
      channel.waiters,
      () => `watch "${channel.name}"`,
      () => {
        seenBefore = this.#seen;
        const value = attempt();
        seenAfter = this.#seen;
        if (value === Pending && channel.isClosed) throw channel.closedError();
        return value;
      },
      () => {
        // Undo the mark, unless this wait marked nothing or a later value was marked since.
        if (seenBefore === seenAfter || this.#seen !== seenAfter) return;
        this.#seen = seenBefore;
        channel.waiters.wakeAll();
      },
    );
  }
}

/**
 * Creates a channel for a value that changes, such as a configuration or a state. Receivers see the latest value
 * and can wait for a change. Throws TypeError when an option is bad.
 *
 * @example
 * const { sender, receiver } = watch("starting");
 * spawn(async () => sender.send("ready"));
 * yield* receiver.changed();
 * console.log(receiver.value);
 */
export function watch<T>(
  initial: T,
  options: SyncOptions = {},
): { sender: WatchSender<T>; receiver: WatchReceiver<T> } {
  const channel = new WatchState(initial, nameOf(options, "watch", "watch"));
  return { sender: WatchSender.create(channel), receiver: WatchReceiver.create(channel) };
}
