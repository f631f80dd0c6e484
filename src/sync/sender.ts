// The senders of mpsc and mpmc channels. channel.ts has the state and the invariants.

import { checkConstructor } from "../base/check.ts";
import { codedError } from "../base/coded-error.ts";
import { inspectableParts } from "../base/inspect.ts";
import type { Future } from "../core/future.ts";
import { kept, reuse } from "../core/leaf.ts";
import { Pending } from "../core/poll.ts";
import { QueuedAttempt } from "../core/queued-attempt.ts";
import { ChannelReserve, ChannelSend, ChannelState, SenderEnd } from "./channel.ts";

/** What both kinds of senders have. The channel counts its open senders, and ends when none is left. */
export abstract class AnySender<T> implements Disposable {
  static {
    inspectableParts<AnySender<unknown>>(
      AnySender,
      (it) =>
        `${it.end.channel.summary}${it.end.isClosed ? ", closed" : it.isClosed ? ", the receiver is closed" : ""}`,
    );
  }

  /** @internal */
  protected readonly end: SenderEnd<T>;

  /** @internal */
  constructor(channel: ChannelState<T>, instead: string) {
    checkConstructor(channel, ChannelState, new.target.name, instead);
    this.end = new SenderEnd(channel);
  }

  /** True once the receiver (of an mpmc: each receiver) is closed: every send throws ChannelClosedError. */
  get isClosed(): boolean {
    return this.end.channel.receivers === 0;
  }

  /**
   * Completes once no message can be received any more: the receiver (of an mpmc: each receiver) is closed. Cancel safe.
   *
   * @example
   * const { sender, receiver } = mpsc<string>(64);
   * spawn(async () => receiver.close());
   * yield* sender.closed(); // stop producing
   */
  closed(): Future<void> {
    const { channel } = this.end;
    const what = (): string => `the receiver of channel "${channel.name}" to close`;
    return new QueuedAttempt(channel.closeWaiters, what, () =>
      channel.receivers === 0 ? undefined : Pending,
    );
  }

  /**
   * Closes this sender: its waiting sends throw ChannelClosedError, and send nothing. Once all senders are closed, the
   * channel ends after its last message. Idempotent.
   */
  close(): void {
    this.end.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /** @internal Throws ChannelClosedError if nothing can be sent. */
  protected checkOpen(): void {
    const error = this.end.closedError;
    if (error !== null) throw error;
  }
}

/** A sender of a bounded channel. Close it with `using` or `close`, so that the receiver sees the end. */
export class Sender<T> extends AnySender<T> {
  /** The latest send, for reuse. */
  #send: ChannelSend<T> | null = null;

  private constructor(channel: ChannelState<T>) {
    super(channel, "mpsc(capacity) or mpmc(capacity)");
  }

  /** @internal */
  static create<T>(channel: ChannelState<T>): Sender<T> {
    return new Sender(channel);
  }

  /** How many messages fit now without waiting: the capacity without messages and permits. It may be 0. */
  get capacity(): number {
    return Math.max(0, this.end.channel.room.available);
  }

  /** How many messages the channel holds at most: the capacity it was created with. */
  get maxCapacity(): number {
    return this.end.channel.capacity;
  }

  /**
   * Waits for room and sends `value`; first come, first served. Throws ChannelClosedError if the receiver or this
   * sender is closed before the message is sent. Cancel safe: a dropped send has sent nothing.
   *
   * @example
   * const { sender } = mpsc<string>(64);
   * yield* sender.send("hello");
   */
  send(value: T): Future<void> {
    const send = reuse(this.#send) ?? new ChannelSend(this.end);
    this.#send = kept(send);
    return send.arm(value);
  }

  /**
   * Sends `value` if the channel has room and no send waits for it. Returns whether it did. `false` need not mean that
   * the receiver is slow: it may not have run since the last send. Throws ChannelClosedError if the receiver or this
   * sender is closed.
   *
   * @example
   * const { sender } = mpsc<string>(1);
   * if (!sender.trySend("hello")) yield* sender.send("hello"); // lets the receiver run
   */
  trySend(value: T): boolean {
    this.checkOpen();
    const { channel } = this.end;
    if (!channel.room.tryAcquire(1)) return false;
    channel.push(value);
    return true;
  }

  /**
   * Waits for room for one message; first come, first served. Returns a permit that holds the room, so that a value is
   * produced only once it can be sent. Throws ChannelClosedError if the receiver or this sender is closed meanwhile.
   * Cancel safe: a dropped wait leaves the queue, or passes room that it was already granted to the next send.
   *
   * @example
   * const { sender } = mpsc<string>(64);
   * using permit = yield* sender.reserve();
   * permit.send("hello"); // without waiting
   */
  reserve(): Future<SendPermit<T>> {
    return new ChannelReserve(this.end, SendPermit.create<T>);
  }

  /** Returns another sender of the same channel, to be closed separately. Throws ChannelClosedError if this is closed. */
  clone(): Sender<T> {
    checkCloneable(this.end);
    return Sender.create(this.end.channel);
  }
}

/** A sender of an unbounded channel. Close it with `using` or `close`, so that the receiver sees the end. */
export class UnboundedSender<T> extends AnySender<T> {
  private constructor(channel: ChannelState<T>) {
    super(channel, "unboundedMpsc() or unboundedMpmc()");
  }

  /** @internal */
  static create<T>(channel: ChannelState<T>): UnboundedSender<T> {
    return new UnboundedSender(channel);
  }

  /** Sends `value` at once. Throws ChannelClosedError if the receiver or this sender is closed. */
  send(value: T): void {
    this.checkOpen();
    this.end.channel.push(value);
  }

  /** Returns another sender of the same channel, to be closed separately. Throws ChannelClosedError if this is closed. */
  clone(): UnboundedSender<T> {
    checkCloneable(this.end);
    return UnboundedSender.create(this.end.channel);
  }
}

/** Throws ChannelClosedError if the sender itself is closed: the end may have been received since. */
function checkCloneable(end: SenderEnd<unknown>): void {
  if (end.isClosed) throw end.closedError!; // set: the sender is closed
}

/**
 * Room for one message, held until `send` or disposal. `sender.reserve()` returns one. It belongs to that sender:
 * once that is closed, it cannot send.
 */
export class SendPermit<T> implements Disposable {
  static {
    inspectableParts<SendPermit<unknown>>(SendPermit, (it) =>
      it.#end === null ? "used" : it.#end.channel.summary,
    );
  }

  /** null once used or disposed. */
  #end: SenderEnd<T> | null;

  private constructor(end: SenderEnd<T>) {
    checkConstructor(end, SenderEnd, "SendPermit", "sender.reserve()");
    this.#end = end;
  }

  /** @internal */
  static create<T>(end: SenderEnd<T>): SendPermit<T> {
    return new SendPermit(end);
  }

  /**
   * Sends `value` in the reserved room, without waiting. Throws ChannelClosedError if the receiver or the sender is
   * closed, which also uses up the permit, and Error if this permit was already used or disposed.
   */
  send(value: T): void {
    const end = this.#end;
    if (end === null) {
      const message = "permit.send: this permit was already used or disposed; reserve again";
      throw codedError("ERR_GUARD_RELEASED", message);
    }
    const error = end.closedError;
    if (error !== null) {
      this[Symbol.dispose]();
      throw error;
    }
    this.#end = null;
    end.channel.push(value);
  }

  /** Returns the room to the channel, unless the permit was used. Idempotent. */
  [Symbol.dispose](): void {
    this.#end?.channel.room.release(1);
    this.#end = null;
  }
}
