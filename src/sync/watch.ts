// watch: the latest value, and a wake when it changes. What lies between is not kept.

import type { Future } from "../core/future.ts";
import { Pending, type Poll } from "../core/poll.ts";
import { ReclaimableAttempt } from "../core/queued-attempt.ts";
import { WaitQueue } from "../core/wait-queue.ts";
import { ChannelClosedError } from "./closed.ts";
import type { SyncOptions } from "./options.ts";

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

  closedError(): ChannelClosedError {
    return new ChannelClosedError(`watch "${this.name}" was closed: it changes no more`);
  }
}

/** The sending side. */
export class WatchSender<T> implements Disposable {
  readonly #channel: WatchState<T>;

  /** Not for users: `watch(initial)`. */
  constructor(channel: WatchState<T>) {
    this.#channel = channel;
  }

  /** Changes the value, and wakes who waits. Throws ChannelClosedError after `close`. */
  send(value: T): void {
    const channel = this.#channel;
    if (channel.isClosed) throw channel.closedError();
    channel.value = value;
    channel.version++;
    channel.waiters.wakeAll();
  }

  /** The value now. */
  get value(): T {
    return this.#channel.value;
  }

  /** A receiver that has seen the value of now. */
  subscribe(): WatchReceiver<T> {
    return new WatchReceiver(this.#channel);
  }

  /** It changes no more. Idempotent. */
  close(): void {
    this.#channel.isClosed = true;
    this.#channel.waiters.wakeAll();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/** A receiving side; each knows which value it has seen. */
export class WatchReceiver<T> {
  readonly #channel: WatchState<T>;
  #seen: number;

  /** Not for users: `watch(initial)`, `sender.subscribe()`. */
  constructor(channel: WatchState<T>) {
    this.#channel = channel;
    this.#seen = channel.version;
  }

  /** The value now. `changed` still tells of it, if it was not seen. */
  get value(): T {
    return this.#channel.value;
  }

  /** The value now; it counts as seen. */
  markSeen(): T {
    this.#seen = this.#channel.version;
    return this.#channel.value;
  }

  /**
   * Completes when there is a value that was not seen, which then counts as seen; several tasks that
   * wait at once all hear of it. Throws ChannelClosedError when there will be none. Cancel safe.
   */
  changed(): Future<void> {
    let seen = Number.POSITIVE_INFINITY;
    return this.#wait(() => {
      // As it was at the first poll (another task may have seen it before us), or lower: it came back.
      seen = Math.min(seen, this.#seen);
      if (seen === this.#channel.version) return Pending;
      this.#seen = this.#channel.version;
    });
  }

  /**
   * Completes with the value, as soon as `predicate` holds for it: at once, if it does now; it counts as
   * seen. Throws what the predicate throws, and ChannelClosedError when it will not hold any more. Cancel
   * safe.
   */
  waitFor(predicate: (value: T) => boolean): Future<T> {
    return this.#wait(() => {
      for (;;) {
        const { value, version } = this.#channel;
        if (predicate(value)) {
          this.#seen = version;
          return value;
        }
        // Unless the predicate itself has sent: that woke nobody, since nobody waited yet.
        if (version === this.#channel.version) return Pending;
      }
    });
  }

  #wait<R>(attempt: () => Poll<R>): Future<R> {
    const channel = this.#channel;
    let before = 0;
    let after = 0;
    return new ReclaimableAttempt(
      channel.waiters,
      () => `watch "${channel.name}"`,
      () => {
        before = this.#seen;
        const value = attempt();
        after = this.#seen;
        if (value === Pending && channel.isClosed) throw channel.closedError();
        return value;
      },
      () => {
        if (before === after || this.#seen !== after) return; // it was seen before, or a later one was
        this.#seen = before;
        channel.waiters.wakeAll();
      },
    );
  }
}

/**
 * A value that may change, and can be watched.
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
  const channel = new WatchState(initial, options.name ?? "watch");
  return { sender: new WatchSender(channel), receiver: new WatchReceiver(channel) };
}
