// broadcast: a channel on which every receiver gets every message. The sender never waits. It overwrites the
// oldest messages; a receiver that missed some gets a LaggedError with their count.

import { checkConstructor, checkCount } from "../base/check.ts";
import { codedError } from "../base/coded-error.ts";
import { counted, inspectableParts } from "../base/inspect.ts";
import { iterateNext } from "../core/async-iteration.ts";
import type { Future } from "../core/future.ts";
import { type Next, Pending, type Poll } from "../core/poll.ts";
import { ReclaimableAttempt } from "../core/queued-attempt.ts";
import { WaitQueue } from "../core/wait-queue.ts";
import { ChannelClosedError } from "./closed.ts";
import { nameOf, type SyncOptions } from "./options.ts";

/** A receiver was too slow: messages it had not received were overwritten. Its next `recv` continues after them. */
export class LaggedError extends Error {
  override readonly name = "LaggedError";
  readonly code = "ERR_LAGGED";
  /** How many messages the receiver missed. */
  readonly missed: number;

  constructor(missed: number) {
    super(
      `this receiver was too slow and missed ${missed} message(s); receive faster or raise the capacity`,
    );
    this.missed = missed;
  }
}

const END: { readonly done: true } = { done: true };

/** The state that the sender and the receivers of one channel share. */
class BroadcastState<T> {
  readonly name: string;
  /** The latest messages. Message number `n` is at index `n % capacity`. */
  readonly slots: T[] = [];
  readonly capacity: number;
  /** How many messages were sent. Messages are numbered from 0, so this is also the next message's number. */
  sent = 0;
  /** How many receivers are open. */
  receivers = 0;
  isClosed = false;
  readonly waiters: WaitQueue = new WaitQueue();

  constructor(capacity: number, name: string) {
    this.capacity = capacity;
    this.name = name;
  }
}

/** The sender. Close it with `using` or `close`, so that the receivers see the end. */
export class BroadcastSender<T> implements Disposable {
  static {
    inspectableParts<BroadcastSender<unknown>>(
      BroadcastSender,
      (it) =>
        `"${it.#channel.name}", ${counted(it.#channel.receivers, "receiver")}${it.#channel.isClosed ? ", closed" : ""}`,
    );
  }

  readonly #channel: BroadcastState<T>;

  private constructor(channel: BroadcastState<T>) {
    checkConstructor(channel, BroadcastState, "BroadcastSender", "broadcast(capacity)");
    this.#channel = channel;
  }

  /** @internal */
  static create<T>(channel: BroadcastState<T>): BroadcastSender<T> {
    return new BroadcastSender(channel);
  }

  /**
   * Sends `value` to all open receivers without waiting. Returns the number of open receivers. The receiver that
   * `broadcast` returned counts until it is closed. Throws ChannelClosedError once this sender is closed.
   */
  send(value: T): number {
    const channel = this.#channel;
    if (channel.isClosed) {
      throw new ChannelClosedError(`broadcast "${channel.name}": this sender is closed`);
    }
    channel.slots[channel.sent % channel.capacity] = value;
    channel.sent++;
    channel.waiters.wakeAll();
    return channel.receivers;
  }

  /** Returns a new receiver, which gets all messages sent from now on. */
  subscribe(): BroadcastReceiver<T> {
    return BroadcastReceiver.create(this.#channel);
  }

  /** Ends the channel: receivers see the end after the last message. Idempotent. */
  close(): void {
    this.#channel.isClosed = true;
    this.#channel.waiters.wakeAll();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/**
 * A receiver, which has its own position in the stream of messages. One task at a time may wait on it. Iterating
 * with `for await` receives until the end; leaving the loop loses no message and does not close the receiver.
 */
export class BroadcastReceiver<T> implements Disposable, AsyncIterable<T> {
  static {
    inspectableParts<BroadcastReceiver<unknown>>(
      BroadcastReceiver,
      (it) =>
        `"${it.#channel.name}", ${it.#isClosed ? "closed" : `${counted(it.#channel.sent - it.#next, "message")}${it.#channel.isClosed ? ", the sender is closed" : ""}`}`,
    );
  }

  readonly #channel: BroadcastState<T>;
  /** The number of the next message to receive. */
  #next: number;
  #isClosed = false;
  /**
   * The latest `recv` that had to wait; it may have ended. While it has not, any other `recv` throws: two that wait
   * at once would split the messages at random.
   */
  #pendingReceive: ReclaimableAttempt<Next<T>> | null = null;

  private constructor(channel: BroadcastState<T>) {
    checkConstructor(channel, BroadcastState, "BroadcastReceiver", "sender.subscribe()");
    this.#channel = channel;
    this.#next = channel.sent;
    channel.receivers++;
  }

  /** @internal */
  static create<T>(channel: BroadcastState<T>): BroadcastReceiver<T> {
    return new BroadcastReceiver(channel);
  }

  /**
   * Waits for the next message. Returns `{ done: true }` at the end: the sender is closed and all messages were
   * received, or this receiver is closed. Throws LaggedError if messages were overwritten, and Error if another
   * task already waits on this receiver. Cancel safe: a dropped receive takes no message.
   */
  recv(): Future<Next<T>> {
    const { waiters, name } = this.#channel;
    let nextAfter = 0; // `#next` after this receive
    const receive: ReclaimableAttempt<Next<T>> = new ReclaimableAttempt(
      waiters,
      () => `recv on broadcast "${name}"`,
      () => {
        const pending = this.#pendingReceive;
        if (pending !== null && pending !== receive && !pending.isEnded) {
          const message = `${receive.describe()}: another task already waits on this receiver`;
          throw codedError("ERR_RECEIVER_BUSY", message);
        }
        const received = this.#tryReceive();
        nextAfter = this.#next;
        this.#pendingReceive = received === Pending ? receive : null;
        return received;
      },
      ({ done }) => {
        // Put the message back, unless a later message was received meanwhile: messages must not be reordered.
        if (done || this.#next !== nextAfter) return;
        this.#next--;
        waiters.wakeAll();
      },
    );
    return receive;
  }

  /**
   * Receives without waiting. Returns a message, `{ done: true }` at the end, or null if no message has arrived.
   * Throws LaggedError if messages were overwritten.
   */
  tryRecv(): Next<T> | null {
    const received = this.#tryReceive();
    return received === Pending ? null : received;
  }

  /** Closes this receiver: it receives nothing more. Idempotent. */
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
    return iterateNext(() => this.recv());
  }

  #tryReceive(): Poll<Next<T>> {
    const { sent, capacity, slots, isClosed } = this.#channel;
    if (this.#isClosed) return END;
    const missed = sent - capacity - this.#next;
    if (missed > 0) {
      this.#next += missed;
      throw new LaggedError(missed);
    }
    if (this.#next < sent) return { done: false, value: slots[this.#next++ % capacity] as T };
    return isClosed ? END : Pending;
  }
}

/**
 * Creates a channel on which every receiver gets every message. It keeps the latest `capacity` messages and never
 * waits for a slow receiver. The `recv` of a receiver that missed messages throws LaggedError. Throws RangeError unless
 * `capacity` is a positive integer, and TypeError when an option is bad.
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
  checkCount(capacity, "broadcast: capacity");
  const channel = new BroadcastState<T>(capacity, nameOf(options, "broadcast", "broadcast"));
  return { sender: BroadcastSender.create(channel), receiver: BroadcastReceiver.create(channel) };
}
