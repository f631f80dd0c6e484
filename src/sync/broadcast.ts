// broadcast: every receiver gets every message; a slow one is told how many it has missed.

import { checkCount } from "../base/check.ts";
import type { Future } from "../core/future.ts";
import { type Next, Pending } from "../core/poll.ts";
import { ReclaimableAttempt } from "../core/queued-attempt.ts";
import { WaitQueue } from "../core/wait-queue.ts";
import { ChannelClosedError } from "./closed.ts";
import type { SyncOptions } from "./options.ts";

/** A receiver was too slow: messages it had not received were overwritten. The next `recv` goes on. */
export class LaggedError extends Error {
  override readonly name = "LaggedError";
  readonly code = "ERR_LAGGED";
  /** How many it missed. */
  readonly missed: number;

  constructor(missed: number) {
    super(`this receiver was too slow, and missed ${missed} messages`);
    this.missed = missed;
  }
}

class BroadcastState<T> {
  readonly name: string;
  /** The last messages; message number `n` is at `n % capacity`. */
  readonly slots: T[] = [];
  readonly capacity: number;
  /** How many were sent in all. */
  sent = 0;
  receivers = 0;
  isClosed = false;
  readonly waiters: WaitQueue = new WaitQueue();

  constructor(capacity: number, name: string) {
    this.capacity = capacity;
    this.name = name;
  }
}

/** The sending side. */
export class BroadcastSender<T> implements Disposable {
  readonly #channel: BroadcastState<T>;

  /** Not for users: `broadcast(capacity)`. */
  constructor(channel: BroadcastState<T>) {
    this.#channel = channel;
  }

  /**
   * Sends to all receivers that are not closed, the one that was made with the channel among them; returns
   * how many. Throws ChannelClosedError after `close`.
   */
  send(value: T): number {
    const channel = this.#channel;
    if (channel.isClosed) throw new ChannelClosedError(`broadcast "${channel.name}" was closed`);
    channel.slots[channel.sent % channel.capacity] = value;
    channel.sent++;
    channel.waiters.wakeAll();
    return channel.receivers;
  }

  /** A receiver of all that is sent from now on. */
  subscribe(): BroadcastReceiver<T> {
    return new BroadcastReceiver(this.#channel);
  }

  /** No more will be sent. Idempotent. */
  close(): void {
    this.#channel.isClosed = true;
    this.#channel.waiters.wakeAll();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/** A receiving side; each has its own place in the stream. */
export class BroadcastReceiver<T> implements Disposable, AsyncIterable<T> {
  readonly #channel: BroadcastState<T>;
  /** The number of the next message. */
  #next: number;
  #isClosed = false;
  /**
   * The one wait, which may have ended. A second one at once would split the messages by chance: it is an
   * error, also when the first was woken and has not been polled yet.
   */
  #waiting: ReclaimableAttempt<Next<T>> | null = null;

  /** Not for users: `sender.subscribe()`. */
  constructor(channel: BroadcastState<T>) {
    this.#channel = channel;
    this.#next = channel.sent;
    channel.receivers++;
  }

  /**
   * The next message; `{ done: true }` when the sender was closed and all was received. Throws LaggedError
   * when messages were overwritten, and Error when another task waits on this receiver. Cancel safe:
   * dropped, it has taken nothing.
   */
  recv(): Future<Next<T>> {
    const { waiters, name } = this.#channel;
    let after = 0; // where it left the stream
    const wait: ReclaimableAttempt<Next<T>> = new ReclaimableAttempt(
      waiters,
      () => `recv on broadcast "${name}"`,
      () => {
        if (this.#waiting !== null && this.#waiting !== wait && !this.#waiting.isEnded) {
          throw new Error(`${wait.describe()}: another task already waits on this receiver`);
        }
        const next = this.#take();
        after = this.#next;
        this.#waiting = next === null ? wait : null;
        return next ?? Pending;
      },
      ({ done }) => {
        if (done || this.#next !== after) return; // a later one was received: it cannot come after that
        this.#next--;
        waiters.wakeAll();
      },
    );
    return wait;
  }

  /** A message that is there now; `{ done: true }` at the end; null when there is none yet. */
  tryRecv(): Next<T> | null {
    return this.#take();
  }

  /** Receives no more. Idempotent. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#channel.receivers--;
    this.#channel.waiters.wakeAll();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  [Symbol.asyncIterator](): AsyncIterator<T> {
    return { next: () => this.recv().then() as Promise<IteratorResult<T>> };
  }

  #take(): Next<T> | null {
    const { sent, capacity, slots, isClosed } = this.#channel;
    if (this.#isClosed) return { done: true };
    const missed = sent - capacity - this.#next;
    if (missed > 0) {
      this.#next += missed;
      throw new LaggedError(missed);
    }
    if (this.#next < sent) return { done: false, value: slots[this.#next++ % capacity] as T };
    return isClosed ? { done: true } : null;
  }
}

/**
 * A channel on which every receiver gets every message. It keeps the last `capacity`; nobody waits for
 * a slow receiver. Throws RangeError unless `capacity` is a positive integer.
 *
 * @example
 * const { sender, receiver } = broadcast<string>(16);
 * const another = sender.subscribe();
 * sender.send("hello");
 * console.log(yield* receiver.recv(), yield* another.recv());
 */
export function broadcast<T>(
  capacity: number,
  options: SyncOptions = {},
): { sender: BroadcastSender<T>; receiver: BroadcastReceiver<T> } {
  checkCount(capacity, "capacity");
  const channel = new BroadcastState<T>(capacity, options.name ?? "broadcast");
  return { sender: new BroadcastSender(channel), receiver: new BroadcastReceiver(channel) };
}
