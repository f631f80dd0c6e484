// mpsc: many producers, one consumer. Bounded, so that a producer waits for the consumer; the
// unbounded one has a name of its own, so that it is a choice.

import type { Context } from "../core/context.ts";
import { Future, polledAfterEnd } from "../core/future.ts";
import { type Next, Pending, type Poll } from "../core/poll.ts";
import { Ring } from "../core/ring.ts";
import type { WakeTarget } from "../core/waker.ts";
import { ChannelClosedError } from "./closed.ts";
import { checkCount, type SyncOptions } from "./options.ts";
import { Acquire, Permits } from "./permits.ts";

const END: { readonly done: true } = { done: true };

class Channel<T> {
  readonly name: string;
  readonly items: Ring<T> = new Ring();
  /** Room for messages. */
  readonly room: Permits;
  /** The one wait of the receiver, until it has ended. */
  waiting: Receive<T, unknown> | null = null;
  senders = 0;
  isReceiverClosed = false;

  constructor(capacity: number, name: string) {
    this.room = new Permits(capacity);
    this.name = name;
  }

  /** Room for it was taken. */
  push(value: T): void {
    if (this.isReceiverClosed) throw this.closedError();
    this.items.push(value);
    this.waiting?.target?.wake();
  }

  closedError(): ChannelClosedError {
    return new ChannelClosedError(`nobody receives on channel "${this.name}" any more`);
  }
}

/** What both kinds of sender share: they are counted. */
class AnySender<T> implements Disposable {
  protected readonly channel: Channel<T>;
  /** By `close`. */
  protected hasLeft = false;

  constructor(channel: Channel<T>) {
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
  /**
   * Sends `value`, when there is room; first come, first served. Throws ChannelClosedError when nobody
   * receives any more; Error when this sender is closed, also while the send waits. Cancel safe: dropped,
   * it has sent nothing.
   */
  send(value: T): Future<void> {
    this.check();
    return new Send(this.channel, value, this.#push);
  }

  /** Sends `value` now, if there is room and nobody waits for it: whether it did. */
  trySend(value: T): boolean {
    this.check();
    const { channel } = this;
    if (channel.isReceiverClosed) throw channel.closedError();
    if (!channel.room.take(1)) return false;
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
    if (this.hasLeft) this.channel.room.give(1);
    this.check();
    this.channel.push(value);
  };
}

class Send<T> extends Acquire<void> {
  readonly #channel: Channel<T>;
  readonly #value: T;
  readonly #push: (value: T) => void;

  constructor(channel: Channel<T>, value: T, push: (value: T) => void) {
    super(channel.room, 1);
    this.#channel = channel;
    this.#value = value;
    this.#push = push;
  }

  protected override make(): void {
    this.#push(this.#value);
  }

  override waitsOn(): string {
    return `send on channel "${this.#channel.name}"`;
  }
}

/** A sending side of an unbounded channel. */
export class UnboundedSender<T> extends AnySender<T> {
  /** Sends `value`, now. Throws ChannelClosedError when nobody receives any more. */
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

/**
 * A wait of the receiver, until `attempt` gives something. A second one at once would split the messages
 * by chance: it is an error, also when the first was woken and has not been polled yet.
 */
class Receive<T, R> extends Future<R> {
  target: WakeTarget | null = null;
  readonly #channel: Channel<T>;
  readonly #attempt: () => Poll<R>;
  #isEnded = false;

  constructor(channel: Channel<T>, attempt: () => Poll<R>) {
    super();
    this.#channel = channel;
    this.#attempt = attempt;
  }

  override poll(cx: Context): Poll<R> {
    if (this.#isEnded) throw polledAfterEnd(`the wait for ${this.waitsOn()}`);
    if (cx.isExhausted()) return Pending;
    const channel = this.#channel;
    if (channel.waiting !== null && channel.waiting !== this) {
      this.drop();
      cx.runtime.budget--;
      throw new Error(`${this.waitsOn()}: another task waits on this receiver already`);
    }
    const value = this.#attempt();
    if (value === Pending) {
      channel.waiting = this;
      this.target = cx.target;
      cx.waitsOn = this;
      return Pending;
    }
    this.drop();
    cx.runtime.budget--;
    return value;
  }

  waitsOn(): string {
    return `recv on channel "${this.#channel.name}"`;
  }

  override drop(): void {
    this.#isEnded = true;
    this.target = null;
    if (this.#channel.waiting === this) this.#channel.waiting = null;
  }
}

/** The receiving side; one task at a time may wait on it. */
export class Receiver<T> implements Disposable, AsyncIterable<T> {
  readonly #channel: Channel<T>;

  /** Not for users: `mpsc(capacity)`. */
  constructor(channel: Channel<T>) {
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
    return new Receive(this.#channel, this.#take);
  }

  /** A message that is there now; `{ done: true }` at the end; null when there is none yet. */
  tryRecv(): Next<T> | null {
    const received = this.#take();
    return received === Pending ? null : received;
  }

  /** Up to `limit` messages, at least one; none at the end. Cancel safe. Throws RangeError. */
  recvMany(limit: number): Future<T[]> {
    checkCount(limit, "limit");
    const attempt = (): Poll<T[]> => {
      const values: T[] = [];
      while (values.length < limit) {
        const received = this.#take();
        if (received === Pending) return values.length > 0 ? values : Pending;
        if (received.done) break;
        values.push(received.value);
      }
      return values;
    };
    return new Receive(this.#channel, attempt);
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

  readonly #take = (): Poll<Next<T>> => {
    const { items, room, senders, isReceiverClosed } = this.#channel;
    if (items.length > 0) {
      const value = items.shift() as T; // length > 0
      room.give(1);
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
  const channel = new Channel<T>(capacity, options.name ?? "mpsc");
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
  const channel = new Channel<T>(Number.POSITIVE_INFINITY, options.name ?? "unbounded mpsc");
  return { sender: new UnboundedSender(channel), receiver: new Receiver(channel) };
}
