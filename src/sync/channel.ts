// What an mpsc channel holds, and the two futures that wait on it.

import { Ring } from "../base/ring.ts";
import type { Context } from "../core/context.ts";
import { type Future, polledAfterEnd } from "../core/future.ts";
import { type Next, Pending, type Poll } from "../core/poll.ts";
import type { Waiter } from "../core/wait-queue.ts";
import { ENDED, LIVE, Waiting } from "../core/waiting.ts";
import { ChannelClosedError } from "./closed.ts";
import { Acquire, Permits } from "./permits.ts";

export class Channel<T> {
  readonly name: string;
  readonly items: Ring<T> = new Ring();
  /** Room for messages. */
  readonly room: Permits;
  /** The one wait of the receiver, until it has ended. */
  waiting: Waiter | null = null;
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

  /** It was received, and could not be passed on. Its room may be another's by now: `available` may be negative. */
  putBack(value: T): void {
    this.room.available--;
    this.items.unshift(value);
    this.waiting?.target?.wake();
  }

  closedError(): ChannelClosedError {
    return new ChannelClosedError(`nobody receives on channel "${this.name}" any more`);
  }
}

/** A wait for room, and then the message is sent. */
export class Send<T> extends Acquire<void> {
  readonly #channel: Channel<T>;
  /** undefined once it was sent. */
  #value: T | undefined;
  readonly #push: (value: T) => void;

  constructor(channel: Channel<T>, push: (value: T) => void) {
    super(channel.room, 1);
    this.#channel = channel;
    this.#push = push;
  }

  of(value: T): this {
    this.#value = value;
    return this;
  }

  protected override make(): void {
    const value = this.#value as T; // made once
    this.#value = undefined;
    this.#push(value);
  }

  override drop(): void {
    super.drop();
    if (this.isEnded) this.#value = undefined; // its sender may keep this
  }

  override waitsOn(): string {
    return `send on channel "${this.#channel.name}"`;
  }
}

/** What `recv` gives, or `recvMany`. */
export type Received<T> = Next<T> | T[];

/**
 * A wait of the receiver, until `attempt` gives something. A second one at once would split the messages
 * by chance: it is an error, also when the first was woken and has not been polled yet.
 */
export class Receive<T> extends Waiting<Received<T>> {
  readonly #channel: Channel<T>;
  #attempt!: () => Poll<Received<T>>; // by `of`

  constructor(channel: Channel<T>) {
    super();
    this.#channel = channel;
  }

  /** It gives what `attempt` does. */
  of<R extends Received<T>>(attempt: () => Poll<R>): Future<R> {
    this.#attempt = attempt;
    return this as Future<unknown> as Future<R>;
  }

  override poll(cx: Context): Poll<Received<T>> {
    if (this.isEnded) throw polledAfterEnd(`the wait for ${this.waitsOn()}`);
    this.life = LIVE;
    if (cx.isExhausted()) return Pending;
    const channel = this.#channel;
    if (channel.waiting !== null && channel.waiting !== this) {
      this.#end();
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
    this.#end();
    cx.runtime.budget--;
    return value;
  }

  override waitsOn(): string {
    return `recv on channel "${this.#channel.name}"`;
  }

  override drop(): void {
    if (this.life === LIVE) this.#end();
  }

  override reclaim(received: Received<T>): void {
    if (Array.isArray(received)) {
      for (const value of received.toReversed()) this.#channel.putBack(value);
    } else if (!received.done) this.#channel.putBack(received.value);
  }

  #end(): void {
    this.life = ENDED;
    this.target = null;
    if (this.#channel.waiting === this) this.#channel.waiting = null;
  }
}
