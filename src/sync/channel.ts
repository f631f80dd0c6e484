// The state of an mpsc or mpmc channel, and the futures that wait for it. sender.ts and receiver.ts have the classes
// that users hold.
//
// Both directions are permits: a send waits for a permit of `room`, a receive for one of `messages`. So both are
// served first come, first served, and a wait that is dropped passes on what it was granted.
//
// Invariants:
// - A message occupies a permit of `room` from before it is pushed until it is received. A permit of a user
//   (`reserve`) occupies one until it is used or disposed.
// - `items` holds one message for each available permit of `messages`, and one for each receive that was granted a
//   message and has not been polled since. Such a receive takes the oldest message when it is polled, or passes it on
//   if its receiver was closed while others are open.
// - After a receiver has seen the end, no message is pushed. A send, and a use of a permit, fail once their sender is
//   closed.
// - A received message returns to the front of the channel if its awaiter was cancelled. So no message is lost or
//   reordered.

import { codedError } from "../base/coded-error.ts";
import { counted } from "../base/inspect.ts";
import { Ring } from "../base/ring.ts";
import type { Resource, TaskRef } from "../core/context.ts";
import type { Future } from "../core/future.ts";
import { type Next, Pending, type Poll } from "../core/poll.ts";
import { WaitQueue } from "../core/wait-queue.ts";
import { ChannelClosedError } from "./closed.ts";
import { Acquire, Permits } from "./permits.ts";

const END: { readonly done: true } = { done: true };

/** The state that the senders and the receivers of one channel share. */
export class ChannelState<T> {
  readonly name: string;
  readonly capacity: number;
  readonly items: Ring<T> = new Ring();
  /** One permit for each message that still fits. */
  readonly room: Permits;
  /** One permit for each message that no receive was granted. */
  readonly messages: Permits = new Permits(0);
  /** The futures of `sender.closed()`. */
  readonly closeWaiters: WaitQueue = new WaitQueue();
  /** In debug mode: the task that sent, or waits to send, most recently; and the one that received. */
  lastSender: TaskRef | null = null;
  lastReceiver: TaskRef | null = null;
  /** How many senders are open. */
  senders = 0;
  /** How many receivers are open. */
  receivers = 0;

  constructor(capacity: number, name: string) {
    this.capacity = capacity;
    this.room = new Permits(capacity);
    this.name = name;
  }

  /** `"jobs", 3 of 64 messages` */
  get summary(): string {
    const { capacity, items, name } = this;
    const isBounded = capacity !== Number.POSITIVE_INFINITY;
    const fill = isBounded
      ? `${items.length} of ${capacity} messages`
      : counted(items.length, "message");
    return `"${name}", ${fill}`;
  }

  /** Adds a message. The caller has acquired room for it, and a receiver is open. */
  push(value: T): void {
    this.items.push(value);
    this.messages.release(1);
  }

  /** Removes the oldest message. The caller has acquired a permit of `messages`. */
  take(): T {
    const value = this.items.shift() as T; // a permit stands for a message
    this.room.release(1);
    if (this.senders === 0 || this.receivers === 0) this.endReceives();
    return value;
  }

  /**
   * Returns a received message that could not be delivered. Another message may occupy its room by now, so
   * `room.available` may become negative.
   */
  putBack(value: T): void {
    this.room.available--;
    this.items.unshift(value);
    this.messages.release(1);
  }

  /** The channel, as the console shows it. */
  get resource(): Resource {
    const { name, items, capacity, senders, receivers } = this;
    const text = `channel "${name}": ${items.length} of ${capacity} messages, senders: ${senders}, receivers: ${receivers}`;
    return { key: this, kind: "channel", text };
  }

  /** True once all messages were received and no more can be sent. */
  get isOver(): boolean {
    return this.items.length === 0 && (this.senders === 0 || this.receivers === 0);
  }

  /** Ends the receives that wait, once the channel is over. */
  endReceives(): void {
    if (this.isOver) this.messages.evict();
  }
}

/** The state of one sender. */
export class SenderEnd<T> {
  readonly channel: ChannelState<T>;
  isClosed = false;
  /** How many sends and reserves of this sender wait. */
  waits = 0;

  constructor(channel: ChannelState<T>) {
    this.channel = channel;
    channel.senders++;
  }

  /** Why nothing can be sent; null if something can. */
  get closedError(): ChannelClosedError | null {
    const { channel, isClosed } = this;
    if (!isClosed && channel.receivers > 0) return null;
    const closed = isClosed ? "this sender" : "the receiver";
    return new ChannelClosedError(`channel "${channel.name}": ${closed} is closed`);
  }

  close(): void {
    if (this.isClosed) return;
    this.isClosed = true;
    const { channel } = this;
    channel.senders--;
    if (this.waits > 0) channel.room.evict(this);
    channel.endReceives();
  }
}

/** Waits for room, for one sender. */
abstract class SenderWait<T, R> extends Acquire<R> {
  protected readonly sender: SenderEnd<T>;
  /** True from its first wait to its end: the sender counts it. */
  protected isWaiting = false;

  constructor(sender: SenderEnd<T>) {
    super(sender.channel.room, 1);
    this.sender = sender;
  }

  override noteUser(task: TaskRef): void {
    this.sender.channel.lastSender = task;
  }

  get waitingResource(): Resource {
    return this.sender.channel.resource;
  }

  /** The receiver: it makes room. */
  get holders(): readonly TaskRef[] {
    const { receivers, lastReceiver } = this.sender.channel;
    return userOf(receivers, lastReceiver);
  }

  override get channelEnd(): SenderEnd<T> {
    return this.sender;
  }

  protected override onWait(): void {
    if (this.isWaiting) return;
    this.isWaiting = true;
    this.sender.waits++;
  }

  protected override refuse(): Poll<R> {
    const error = this.sender.closedError;
    if (error !== null) throw error;
    return Pending;
  }

  protected override holdGranted(): R {
    const error = this.sender.closedError; // the sender may have been closed after the grant
    if (error === null) return this.hold();
    this.permits.release(1);
    throw error;
  }

  protected override release(): void {
    if (this.isWaiting) this.leaveQueue();
  }

  protected override leaveQueue(): void {
    this.isWaiting = false;
    this.sender.waits--;
    super.leaveQueue();
  }
}

/** Returns the task that uses an end of a channel, if that end has one user, who is known. */
function userOf(ends: number, last: TaskRef | null): readonly TaskRef[] {
  return ends === 1 && last !== null ? [last] : [];
}

/** Waits for room, then sends the message. */
export class ChannelSend<T> extends SenderWait<T, void> {
  /** Cleared at the end: the sender keeps this future for reuse, and must not retain the value. */
  private value: T | undefined;

  arm(value: T): this {
    this.value = value;
    return this;
  }

  protected override hold(): void {
    this.sender.channel.push(this.value as T); // set by `arm`
  }

  protected override release(): void {
    this.value = undefined;
    if (this.isWaiting) this.leaveQueue();
  }

  override describe(): string {
    return `send on channel "${this.sender.channel.name}"`;
  }
}

/** Waits for room, and returns the permit that holds it. */
export class ChannelReserve<T, P extends Disposable> extends SenderWait<T, P> {
  private readonly createPermit: (sender: SenderEnd<T>) => P;

  constructor(sender: SenderEnd<T>, createPermit: (sender: SenderEnd<T>) => P) {
    super(sender);
    this.createPermit = createPermit;
  }

  protected override hold(): P {
    return this.createPermit(this.sender);
  }

  override reclaim(permit: P): void {
    permit[Symbol.dispose]();
  }

  override describe(): string {
    return `reserve on channel "${this.sender.channel.name}"`;
  }
}

/** The state of one receiver. */
export class ReceiverEnd<T> {
  readonly channel: ChannelState<T>;
  /** True if several tasks may wait on the receiver at once. */
  readonly isShared: boolean;
  isClosed = false;
  /** The latest receive that had to wait, until it ends. */
  pending: ChannelReceive<T> | null = null;

  constructor(channel: ChannelState<T>, isShared: boolean) {
    this.channel = channel;
    this.isShared = isShared;
    channel.receivers++;
  }

  /**
   * True once this receiver receives nothing more. What was sent before the last receiver was closed can still be
   * received.
   */
  get isOver(): boolean {
    return this.channel.isOver || (this.isClosed && this.channel.receivers > 0);
  }

  tryReceive(): Next<T> | null {
    const { channel } = this;
    if (this.isOver) return END;
    return channel.messages.tryAcquire(1) ? { done: false, value: channel.take() } : null;
  }

  close(): void {
    if (this.isClosed) return;
    this.isClosed = true;
    const { channel } = this;
    channel.receivers--;
    if (channel.receivers > 0) {
      channel.messages.evict(this);
      return;
    }
    channel.room.evict();
    channel.closeWaiters.wakeAll();
    channel.endReceives();
  }
}

/** The value of `recv` or of `recvMany`. */
type Received<T> = Next<T> | T[];

/** Waits for one message, or for at least one. */
export class ChannelReceive<T> extends Acquire<Received<T>> {
  private readonly receiver: ReceiverEnd<T>;
  /** How many messages `recvMany` may return; 0 for `recv`. */
  private limit = 0;

  constructor(receiver: ReceiverEnd<T>) {
    super(receiver.channel.messages, 1);
    this.receiver = receiver;
  }

  override noteUser(task: TaskRef): void {
    this.receiver.channel.lastReceiver = task;
  }

  get waitingResource(): Resource {
    return this.receiver.channel.resource;
  }

  /** The only sender. */
  get holders(): readonly TaskRef[] {
    const { senders, lastSender } = this.receiver.channel;
    return userOf(senders, lastSender);
  }

  override get channelEnd(): ReceiverEnd<T> {
    return this.receiver;
  }

  arm<R extends Received<T>>(limit: number): Future<R> {
    this.limit = limit;
    return this as Future<unknown> as Future<R>;
  }

  protected override onWait(): void {
    this.receiver.pending = this;
  }

  protected override refuse(): Poll<Received<T>> {
    const { receiver } = this;
    if (receiver.pending !== null && receiver.pending !== this && !receiver.isShared) {
      // Two that wait at once would split the messages at random.
      const message = `${this.describe()}: another task already waits on this receiver`;
      throw codedError("ERR_RECEIVER_BUSY", message);
    }
    return receiver.isOver ? this.nothing : Pending;
  }

  /** The value at the end of the receiver. */
  private get nothing(): Received<T> {
    return this.limit === 0 ? END : [];
  }

  protected override holdGranted(): Received<T> {
    if (!this.receiver.isOver) return this.hold();
    this.permits.release(1); // closed after the grant: the message is for the other receivers
    return this.nothing;
  }

  protected override hold(): Received<T> {
    const { channel } = this.receiver;
    if (this.limit === 0) return { done: false, value: channel.take() };
    const values = [channel.take()];
    while (values.length < this.limit && channel.messages.tryAcquire(1)) {
      values.push(channel.take());
    }
    return values;
  }

  override reclaim(received: Received<T>): void {
    const { channel } = this.receiver;
    if (Array.isArray(received)) {
      for (const value of received.toReversed()) channel.putBack(value);
    } else if (!received.done) channel.putBack(received.value);
  }

  protected override release(): void {
    if (this.receiver.pending === this) this.receiver.pending = null;
    if (this.isGranted || this.list !== null) this.leaveQueue();
  }

  override describe(): string {
    return `recv on channel "${this.receiver.channel.name}"`;
  }
}
