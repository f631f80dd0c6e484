// mpsc: a channel with many producers and one consumer. The bounded channel applies backpressure: its senders
// wait for room. The unbounded channel has its own function, so that a program chooses it deliberately.
//
// Invariants:
// - A message occupies a permit of `room` from before it is pushed until it is received.
// - After the receiver has seen the end, no message is pushed: a send fails if its sender was closed while it waited.
// - A received message returns to the front of the channel if its awaiter was cancelled. So no message is lost or
//   reordered.

import { checkCount } from "../base/check.ts";
import { Ring } from "../base/ring.ts";
import { iterateNext } from "../core/async-iteration.ts";
import type { Context } from "../core/context.ts";
import type { Future } from "../core/future.ts";
import { Leaf, reuse } from "../core/leaf.ts";
import { type Next, Pending, type Poll } from "../core/poll.ts";
import { ChannelClosedError } from "./closed.ts";
import type { SyncOptions } from "./options.ts";
import { Acquire, Permits } from "./permits.ts";

const END: { readonly done: true } = { done: true };

/** The state that the senders and the receiver of one channel share. */
class MpscState<T> {
  readonly name: string;
  readonly items: Ring<T> = new Ring();
  /** One permit for each message that still fits. */
  readonly room: Permits;
  /** The receive that waits; null if none does. */
  pendingReceive: MpscReceive<T> | null = null;
  /** How many senders are open. */
  senders = 0;
  isReceiverClosed = false;

  constructor(capacity: number, name: string) {
    this.room = new Permits(capacity);
    this.name = name;
  }

  wakeReceiver(): void {
    this.pendingReceive?.target?.wake();
  }

  /** Adds a message. The caller has acquired room for it. */
  push(value: T): void {
    if (this.isReceiverClosed) throw this.closedError();
    this.items.push(value);
    this.wakeReceiver();
  }

  /**
   * Returns a received message that could not be delivered. Another message may occupy its room by now, so
   * `available` may become negative.
   */
  putBack(value: T): void {
    this.room.available--;
    this.items.unshift(value);
    this.wakeReceiver();
  }

  closedError(): ChannelClosedError {
    return new ChannelClosedError(`channel "${this.name}": the receiver is closed`);
  }
}

/** Waits for room, then sends the message. */
class MpscSend<T> extends Acquire<void> {
  readonly #channel: MpscState<T>;
  /** Cleared at the end: the sender keeps this future for reuse, and must not retain the value. */
  #value: T | undefined;
  readonly #push: (value: T) => void;

  constructor(channel: MpscState<T>, push: (value: T) => void) {
    super(channel.room, 1);
    this.#channel = channel;
    this.#push = push;
  }

  arm(value: T): this {
    this.#value = value;
    return this;
  }

  protected override hold(): void {
    this.#push(this.#value as T); // set by `arm`
  }

  protected override release(): void {
    this.#value = undefined;
    super.release();
  }

  override describe(): string {
    return `send on channel "${this.#channel.name}"`;
  }
}

/** The value of `recv` or of `recvMany`. */
type MpscReceived<T> = Next<T> | T[];

/**
 * Waits until `attempt` returns a value. Until this receive has ended, any other receive throws: two that wait at once
 * would split the messages at random.
 */
class MpscReceive<T> extends Leaf<MpscReceived<T>> {
  readonly #channel: MpscState<T>;
  #attempt!: () => Poll<MpscReceived<T>>; // set by `arm`

  constructor(channel: MpscState<T>) {
    super();
    this.#channel = channel;
  }

  arm<R extends MpscReceived<T>>(attempt: () => Poll<R>): Future<R> {
    this.#attempt = attempt;
    return this as Future<unknown> as Future<R>;
  }

  protected override attempt(cx: Context): Poll<MpscReceived<T>> {
    const channel = this.#channel;
    if (channel.pendingReceive !== null && channel.pendingReceive !== this) {
      throw new Error(`${this.describe()}: another task already waits on this receiver`);
    }
    const value = this.#attempt();
    if (value === Pending) {
      channel.pendingReceive = this;
      this.target = cx.target;
    }
    return value;
  }

  override describe(): string {
    return `recv on channel "${this.#channel.name}"`;
  }

  override reclaim(received: MpscReceived<T>): void {
    if (Array.isArray(received)) {
      for (const value of received.toReversed()) this.#channel.putBack(value);
    } else if (!received.done) this.#channel.putBack(received.value);
  }

  protected override release(): void {
    this.target = null;
    if (this.#channel.pendingReceive === this) this.#channel.pendingReceive = null;
  }
}

/** The base class of both senders. The channel counts its open senders, and ends when none is left. */
class AnySender<T> implements Disposable {
  /** @internal */
  protected readonly channel: MpscState<T>;
  /** @internal */
  protected isSenderClosed = false;

  constructor(channel: MpscState<T>) {
    this.channel = channel;
    channel.senders++;
  }

  /** True once the receiver is closed: every send throws ChannelClosedError. */
  get isClosed(): boolean {
    return this.channel.isReceiverClosed;
  }

  /**
   * Closes this sender. A send that waits for room then throws Error when room becomes available. Once all senders
   * are closed, the channel ends after its last message. Idempotent.
   */
  close(): void {
    if (this.isSenderClosed) return;
    this.isSenderClosed = true;
    this.channel.senders--;
    if (this.channel.senders === 0) this.channel.wakeReceiver();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /** @internal Throws Error if this sender is closed. */
  protected checkOpen(): void {
    if (this.isSenderClosed) {
      throw new Error(`channel "${this.channel.name}": this sender is closed`);
    }
  }
}

/** A sender of a bounded channel. Close it with `using` or `close`, so that the receiver sees the end. */
export class Sender<T> extends AnySender<T> {
  /** The latest send, for reuse. */
  #send: MpscSend<T> | null = null;

  /**
   * Waits for room and sends `value`; first come, first served. Throws ChannelClosedError if the receiver is
   * closed, and Error if this sender is closed before the message is sent. Cancel safe: a dropped send has sent
   * nothing.
   *
   * @example
   * const { sender } = mpsc<string>(64);
   * yield* sender.send("hello");
   */
  send(value: T): Future<void> {
    this.checkOpen();
    this.#send = reuse(this.#send) ?? new MpscSend(this.channel, this.#push);
    return this.#send.arm(value);
  }

  /**
   * Sends `value` if the channel has room and no send waits for it. Returns whether it did. Throws
   * ChannelClosedError if the receiver is closed, and Error if this sender is closed.
   */
  trySend(value: T): boolean {
    this.checkOpen();
    const { channel } = this;
    if (channel.isReceiverClosed) throw channel.closedError();
    if (!channel.room.tryAcquire(1)) return false;
    channel.push(value);
    return true;
  }

  /** Returns another sender of the same channel, to be closed separately. Throws Error if this sender is closed. */
  clone(): Sender<T> {
    this.checkOpen();
    return new Sender(this.channel);
  }

  /** Sends in the acquired room. Throws if this sender is closed, because the receiver may have seen the end. */
  readonly #push = (value: T): void => {
    if (this.isSenderClosed) this.channel.room.release(1);
    this.checkOpen();
    this.channel.push(value);
  };
}

/** A sender of an unbounded channel. Close it with `using` or `close`, so that the receiver sees the end. */
export class UnboundedSender<T> extends AnySender<T> {
  /**
   * Sends `value` at once. Throws ChannelClosedError if the receiver is closed, and Error if this sender is closed.
   */
  send(value: T): void {
    this.checkOpen();
    this.channel.push(value);
  }

  /** Returns another sender of the same channel, to be closed separately. Throws Error if this sender is closed. */
  clone(): UnboundedSender<T> {
    this.checkOpen();
    return new UnboundedSender(this.channel);
  }
}

/**
 * The receiver of a channel. One task at a time may wait on it. Iterating with `for await` receives until the
 * end; leaving the loop loses no message and does not close the channel.
 */
export class Receiver<T> implements Disposable, AsyncIterable<T> {
  readonly #channel: MpscState<T>;
  /** The latest receive, for reuse. */
  #receive: MpscReceive<T> | null = null;

  /** Not for users: call `mpsc(capacity)` or `unboundedMpsc()`. */
  constructor(channel: MpscState<T>) {
    this.#channel = channel;
  }

  /** The number of messages that can be received without waiting. */
  get size(): number {
    return this.#channel.items.length;
  }

  /**
   * Waits for the next message. Returns `{ done: true }` at the end: all messages were received, and all senders
   * or this receiver are closed. Throws Error if another task already waits on this receiver. Cancel safe: a
   * dropped receive takes no message.
   *
   * @example
   * const { sender, receiver } = mpsc<string>(64);
   * yield* sender.send("hello");
   * const next = yield* receiver.recv();
   * if (!next.done) console.log(next.value); // hello
   */
  recv(): Future<Next<T>> {
    return this.#receiveBy(this.#tryReceive);
  }

  /** Receives without waiting. Returns a message, `{ done: true }` at the end, or null if no message has arrived. */
  tryRecv(): Next<T> | null {
    const received = this.#tryReceive();
    return received === Pending ? null : received;
  }

  /**
   * Waits for at least one message and returns up to `limit`; an empty array at the end. Throws RangeError unless
   * `limit` is a positive integer, and Error if another task already waits on this receiver. Cancel safe: a
   * dropped receive takes no message.
   *
   * @example
   * const { sender, receiver } = unboundedMpsc<number>();
   * for (const value of [1, 2, 3]) sender.send(value);
   * console.log(yield* receiver.recvMany(2)); // [1, 2]
   */
  recvMany(limit: number): Future<T[]> {
    checkCount(limit, "recvMany: limit");
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

  /**
   * Refuses further messages: waiting and later sends throw ChannelClosedError. Messages already sent can still be
   * received. Idempotent.
   */
  close(): void {
    const channel = this.#channel;
    if (channel.isReceiverClosed) return;
    channel.isReceiverClosed = true;
    channel.room.close(channel.closedError());
    channel.wakeReceiver();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  [Symbol.asyncIterator](): AsyncIterator<T> {
    return iterateNext(() => this.recv());
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
 * Creates a channel that holds up to `capacity` messages. When it is full, senders wait for room. Throws
 * RangeError unless `capacity` is a positive integer.
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
  checkCount(capacity, "mpsc: capacity");
  const channel = new MpscState<T>(capacity, options.name ?? "mpsc");
  return { sender: new Sender(channel), receiver: new Receiver(channel) };
}

/**
 * Creates a channel without a capacity limit. Sending never waits, so a slow receiver lets the channel grow until
 * memory runs out. Prefer `mpsc` where senders can wait.
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
