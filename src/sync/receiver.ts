// What the receivers of mpsc and mpmc channels have in common. channel.ts has the state and the invariants.

import { checkConstructor, checkCount } from "../base/check.ts";
import { inspectableParts } from "../base/inspect.ts";
import { iterateNext } from "../core/async-iteration.ts";
import type { Future } from "../core/future.ts";
import { kept, reuse } from "../core/leaf.ts";
import type { Next } from "../core/poll.ts";
import { ChannelReceive, ChannelState, ReceiverEnd } from "./channel.ts";

/**
 * What the receivers of mpsc and mpmc channels have in common. Iterating with `for await` receives until the end;
 * leaving the loop loses no message and does not close the receiver.
 */
export abstract class AnyReceiver<T> implements Disposable, AsyncIterable<T> {
  static {
    inspectableParts<AnyReceiver<unknown>>(
      AnyReceiver,
      (it) =>
        `${it.end.channel.summary}${it.end.isClosed ? ", closed" : it.end.channel.senders === 0 ? ", the sender is closed" : ""}`,
    );
  }

  /** @internal */
  protected readonly end: ReceiverEnd<T>;
  /** The latest receive, for reuse. */
  #receive: ChannelReceive<T> | null = null;

  /** @internal */
  constructor(channel: ChannelState<T>, isShared: boolean, instead: string) {
    checkConstructor(channel, ChannelState, new.target.name, instead);
    this.end = new ReceiverEnd(channel, isShared);
  }

  /** The number of messages in the channel. A receive that waits may have been granted some of them. */
  get size(): number {
    return this.end.channel.items.length;
  }

  /**
   * Waits for the next message; first come, first served. Returns `{ done: true }` at the end: all messages were
   * received, and all senders or this receiver are closed. Of an mpsc, throws Error if another task already waits on
   * this receiver. Cancel safe: a dropped receive takes no message.
   *
   * @example
   * const { sender, receiver } = mpsc<string>(64);
   * yield* sender.send("hello");
   * const next = yield* receiver.recv();
   * if (!next.done) console.log(next.value); // hello
   */
  recv(): Future<Next<T>> {
    return this.#arm(0);
  }

  /**
   * Receives without waiting. Returns a message, `{ done: true }` at the end, or null if no message has arrived that
   * a waiting receive was not granted.
   */
  tryRecv(): Next<T> | null {
    return this.end.tryReceive();
  }

  /**
   * Waits for at least one message and returns up to `limit`; an empty array at the end. Throws RangeError unless
   * `limit` is a positive integer; of an mpsc, throws Error if another task already waits on this receiver. Cancel
   * safe: a dropped receive takes no message.
   *
   * @example
   * const { sender, receiver } = unboundedMpsc<number>();
   * for (const value of [1, 2, 3]) sender.send(value);
   * console.log(yield* receiver.recvMany(2)); // [1, 2]
   */
  recvMany(limit: number): Future<T[]> {
    checkCount(limit, "recvMany: limit");
    return this.#arm(limit);
  }

  /**
   * Closes this receiver. Once all receivers of the channel are closed (an mpsc has one), waiting and later sends
   * throw ChannelClosedError, and messages already sent can still be received. Before that, a closed receiver receives
   * nothing more. Idempotent.
   */
  close(): void {
    this.end.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  [Symbol.asyncIterator](): AsyncIterator<T> {
    return iterateNext(() => this.recv());
  }

  #arm<R extends Next<T> | T[]>(limit: number): Future<R> {
    const receive = reuse(this.#receive) ?? new ChannelReceive(this.end);
    this.#receive = kept(receive);
    return receive.arm(limit);
  }
}
