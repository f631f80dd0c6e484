// The state of an mpsc channel, and the two leaves that wait on it.

import { Ring } from "../base/ring.ts";
import type { Context } from "../core/context.ts";
import type { Future } from "../core/future.ts";
import { Leaf } from "../core/leaf.ts";
import { type Next, Pending, type Poll } from "../core/poll.ts";
import type { Waiter } from "../core/wait-queue.ts";
import { ChannelClosedError } from "./closed.ts";
import { Acquire, Permits } from "./permits.ts";

export class MpscState<T> {
  readonly name: string;
  readonly items: Ring<T> = new Ring();
  /** Room for messages. */
  readonly room: Permits;
  /** The one wait of the receiver, until it ends. */
  waiting: Waiter | null = null;
  senders = 0;
  isReceiverClosed = false;

  constructor(capacity: number, name: string) {
    this.room = new Permits(capacity);
    this.name = name;
  }

  /** Adds a message. The caller has acquired room for it. */
  push(value: T): void {
    if (this.isReceiverClosed) throw this.closedError();
    this.items.push(value);
    this.waiting?.target?.wake();
  }

  /**
   * Returns a received message that could not be delivered. Another message may occupy its room by now, so
   * `available` may become negative.
   */
  putBack(value: T): void {
    this.room.available--;
    this.items.unshift(value);
    this.waiting?.target?.wake();
  }

  closedError(): ChannelClosedError {
    return new ChannelClosedError(`nobody receives on channel "${this.name}" any more`);
  }
}

/** Waits for room, then sends the message. */
export class MpscSend<T> extends Acquire<void> {
  readonly #channel: MpscState<T>;
  /** undefined after the end, because the sender may keep this future. */
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
    this.#push(this.#value as T); // armed
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
export type MpscReceived<T> = Next<T> | T[];

/**
 * A wait of the receiver, until `attempt` returns a value. Two waits at once would split the messages at random.
 * So the second fails, also when the first was woken but not polled yet.
 */
export class MpscReceive<T> extends Leaf<MpscReceived<T>> {
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
    if (channel.waiting !== null && channel.waiting !== this) {
      throw new Error(`${this.describe()}: another task already waits on this receiver`);
    }
    const value = this.#attempt();
    if (value === Pending) {
      channel.waiting = this;
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
    if (this.#channel.waiting === this) this.#channel.waiting = null;
  }
}
