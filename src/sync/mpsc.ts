// mpsc: many producers, one consumer. Bounded, so that a producer waits for the consumer; the
// unbounded one has a name of its own, so that it is a choice.

import { checkCount } from "../base/check.ts";
import type { Future } from "../core/future.ts";
import { reuse } from "../core/leaf.ts";
import { type Next, Pending, type Poll } from "../core/poll.ts";
import { MpscReceive, type MpscReceived, MpscSend, MpscState } from "./mpsc-futures.ts";
import type { SyncOptions } from "./options.ts";

const END: { readonly done: true } = { done: true };

/** What both kinds of sender share: they are counted. */
class AnySender<T> implements Disposable {
  protected readonly channel: MpscState<T>;
  /** By `close`. */
  protected hasLeft = false;

  constructor(channel: MpscState<T>) {
    this.channel = channel;
    channel.senders++;
  }

  /** True when messages would be lost: the receiver is closed. */
  get isClosed(): boolean {
    return this.channel.isReceiverClosed;
  }

  /** Closes this sender; with the last one the channel ends, when all was received. Idempotent. */
  close(): void {
    if (this.hasLeft) return;
    this.hasLeft = true;
    this.channel.senders--;
    if (this.channel.senders === 0) this.channel.waiting?.target?.wake();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  protected check(): void {
    if (this.hasLeft) throw new Error(`this sender of channel "${this.channel.name}" was closed`);
  }
}

/** A sending side of a bounded channel. */
export class Sender<T> extends AnySender<T> {
  /** The latest, which may be used again. */
  #send: MpscSend<T> | null = null;

  /**
   * Sends `value`, when there is room; first come, first served. Throws ChannelClosedError when nobody
   * receives any more; Error when this sender is closed, also while the send waits. Cancel safe: dropped,
   * it has sent nothing.
   */
  send(value: T): Future<void> {
    this.check();
    this.#send = reuse(this.#send) ?? new MpscSend(this.channel, this.#push);
    return this.#send.arm(value);
  }

  /** Sends `value` now, if there is room and nobody waits for it: whether it did. Throws as `send` does. */
  trySend(value: T): boolean {
    this.check();
    const { channel } = this;
    if (channel.isReceiverClosed) throw channel.closedError();
    if (!channel.room.tryAcquire(1)) return false;
    channel.push(value);
    return true;
  }

  /** Another sender of the same channel. */
  clone(): Sender<T> {
    this.check();
    return new Sender(this.channel);
  }

  /** There is room for it. */
  readonly #push = (value: T): void => {
    // The receiver may have been told that the last sender is gone: nothing may come after that.
    if (this.hasLeft) this.channel.room.release(1);
    this.check();
    this.channel.push(value);
  };
}

/** A sending side of an unbounded channel. */
export class UnboundedSender<T> extends AnySender<T> {
  /** Sends `value`, now. Throws ChannelClosedError when nobody receives any more; Error when this is closed. */
  send(value: T): void {
    this.check();
    this.channel.push(value);
  }

  /** Another sender of the same channel. */
  clone(): UnboundedSender<T> {
    this.check();
    return new UnboundedSender(this.channel);
  }
}

/** The receiving side; one task at a time may wait on it. */
export class Receiver<T> implements Disposable, AsyncIterable<T> {
  readonly #channel: MpscState<T>;
  /** The latest, which may be used again. */
  #receive: MpscReceive<T> | null = null;

  /** Not for users: `mpsc(capacity)`. */
  constructor(channel: MpscState<T>) {
    this.#channel = channel;
  }

  /** How many messages are there now. */
  get size(): number {
    return this.#channel.items.length;
  }

  /**
   * The next message; `{ done: true }` when all senders are closed and all was received. Throws Error
   * when another task waits for one. Cancel safe: dropped, it has taken nothing.
   */
  recv(): Future<Next<T>> {
    return this.#receiveBy(this.#tryReceive);
  }

  /** A message that is there now; `{ done: true }` at the end; null when there is none yet. */
  tryRecv(): Next<T> | null {
    const received = this.#tryReceive();
    return received === Pending ? null : received;
  }

  /**
   * Up to `limit` messages, at least one; an empty array at the end. Throws RangeError unless `limit` is a
   * positive integer; else as `recv`. Cancel safe.
   */
  recvMany(limit: number): Future<T[]> {
    checkCount(limit, "limit");
    const attempt = (): Poll<T[]> => {
      const values: T[] = [];
      while (values.length < limit) {
        const received = this.#tryReceive();
        if (received === Pending) return values.length > 0 ? values : Pending;
        if (received.done) break;
        values.push(received.value);
      }
      return values;
    };
    return this.#receiveBy(attempt);
  }

  /** Refuses further messages; those that were sent may still be received. Idempotent. */
  close(): void {
    const channel = this.#channel;
    if (channel.isReceiverClosed) return;
    channel.isReceiverClosed = true;
    channel.room.close(channel.closedError());
    channel.waiting?.target?.wake();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  [Symbol.asyncIterator](): AsyncIterator<T> {
    return { next: () => this.recv().then() as Promise<IteratorResult<T>> };
  }

  #receiveBy<R extends MpscReceived<T>>(attempt: () => Poll<R>): Future<R> {
    this.#receive = reuse(this.#receive) ?? new MpscReceive(this.#channel);
    return this.#receive.arm(attempt);
  }

  readonly #tryReceive = (): Poll<Next<T>> => {
    const { items, room, senders, isReceiverClosed } = this.#channel;
    if (items.length > 0) {
      const value = items.shift() as T; // length > 0
      room.release(1);
      return { done: false, value };
    }
    return senders === 0 || isReceiverClosed ? END : Pending;
  };
}

/**
 * A channel that holds up to `capacity` messages; a sender waits for room. Throws RangeError unless
 * it is a positive integer.
 *
 * @example
 * const { sender, receiver } = mpsc<string>(64);
 * spawn(function* () { using _ = sender; yield* sender.send("hello"); });
 * for (let next; !(next = yield* receiver.recv()).done; ) console.log(next.value);
 */
export function mpsc<T>(
  capacity: number,
  options: SyncOptions = {},
): { sender: Sender<T>; receiver: Receiver<T> } {
  checkCount(capacity, "capacity");
  const channel = new MpscState<T>(capacity, options.name ?? "mpsc");
  return { sender: new Sender(channel), receiver: new Receiver(channel) };
}

/**
 * A channel without a bound: sending never waits, and memory is the limit.
 *
 * @example
 * const { sender, receiver } = unboundedMpsc<string>();
 * sender.send("hello");
 * const hello = yield* receiver.recv();
 */
export function unboundedMpsc<T>(options: SyncOptions = {}): {
  sender: UnboundedSender<T>;
  receiver: Receiver<T>;
} {
  const channel = new MpscState<T>(Number.POSITIVE_INFINITY, options.name ?? "unbounded mpsc");
  return { sender: new UnboundedSender(channel), receiver: new Receiver(channel) };
}
