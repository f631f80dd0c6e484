// oneshot: a channel for one value from one task to another.

import { checkConstructor } from "../base/check.ts";
import { inspectableParts } from "../base/inspect.ts";
import type { Context } from "../core/context.ts";
import type { Future } from "../core/future.ts";
import { Leaf } from "../core/leaf.ts";
import { Pending, type Poll } from "../core/poll.ts";
import { QueuedAttempt } from "../core/queued-attempt.ts";
import { WaitQueue } from "../core/wait-queue.ts";
import type { WakeTarget } from "../core/wake-target.ts";
import { ChannelClosedError } from "./closed.ts";
import { nameOf, type SyncOptions } from "./options.ts";

/** The state that the sender and the receiver share. */
class OneshotState<T> {
  readonly name: string;
  sent: { readonly value: T } | null = null;
  /** The sender has sent or was disposed. */
  isSenderClosed = false;
  /** The receiver has completed or was dropped. */
  isReceiverClosed = false;
  /** The wake target of the receiver's latest poll. */
  receiver: WakeTarget | null = null;
  /** The futures of `sender.closed()`. */
  readonly closeWaiters: WaitQueue = new WaitQueue();

  constructor(name: string) {
    this.name = name;
  }
}

/** The sender. Disposing it without sending makes the receiver throw ChannelClosedError. */
export class OneshotSender<T> implements Disposable {
  static {
    inspectableParts<OneshotSender<unknown>>(
      OneshotSender,
      (it) =>
        `"${it.#state.name}", ${it.#state.isSenderClosed ? "closed" : it.#state.isReceiverClosed ? "the receiver was dropped" : "open"}`,
    );
  }

  readonly #state: OneshotState<T>;

  private constructor(state: OneshotState<T>) {
    checkConstructor(state, OneshotState, "OneshotSender", "oneshot()");
    this.#state = state;
  }

  /** @internal */
  static create<T>(state: OneshotState<T>): OneshotSender<T> {
    return new OneshotSender(state);
  }

  /** True once no value can be received any more: the receiver has completed or was dropped. */
  get isClosed(): boolean {
    return this.#state.isReceiverClosed;
  }

  /**
   * Sends the value without waiting. Throws ChannelClosedError if the receiver was dropped, such as by a timeout, or if
   * this sender was already used or disposed.
   */
  send(value: T): void {
    if (this.trySend(value)) return;
    throw new ChannelClosedError(`oneshot "${this.#state.name}": the receiver was dropped`);
  }

  /**
   * Sends the value without waiting, unless the receiver was dropped. Returns whether it did. Throws ChannelClosedError
   * if this sender was already used or disposed.
   *
   * @example
   * const { sender, receiver } = oneshot<number>();
   * yield* orUndefined(10, receiver); // the request times out
   * if (!sender.trySend(42)) console.log("nobody waits for the reply");
   */
  trySend(value: T): boolean {
    const state = this.#state;
    if (state.isSenderClosed) {
      throw new ChannelClosedError(
        `oneshot "${state.name}": this sender was already used or closed`,
      );
    }
    if (state.isReceiverClosed) return false;
    state.sent = { value };
    this[Symbol.dispose]();
    return true;
  }

  /**
   * Completes once no value can be received any more: the receiver has completed or was dropped. Cancel safe.
   *
   * @example
   * const { sender, receiver } = oneshot<number>();
   * receiver.drop();
   * yield* sender.closed();
   */
  closed(): Future<void> {
    const state = this.#state;
    const what = (): string => `the receiver of oneshot "${state.name}" to end`;
    return new QueuedAttempt(state.closeWaiters, what, () =>
      state.isReceiverClosed ? undefined : Pending,
    );
  }

  [Symbol.dispose](): void {
    if (this.#state.isSenderClosed) return;
    this.#state.isSenderClosed = true;
    this.#state.receiver?.wake();
  }
}

/**
 * The receiver: a future that returns the value. Awaiting it throws ChannelClosedError if the sender was disposed
 * without sending. Not cancel safe: dropping it loses a value that was sent, and makes a later `send` throw.
 */
export class OneshotReceiver<T> extends Leaf<T> {
  readonly #state: OneshotState<T>;

  private constructor(state: OneshotState<T>) {
    checkConstructor(state, OneshotState, "OneshotReceiver", "oneshot()");
    super();
    this.#state = state;
  }

  /** @internal */
  static create<T>(state: OneshotState<T>): OneshotReceiver<T> {
    return new OneshotReceiver(state);
  }

  protected override attempt(cx: Context): Poll<T> {
    const state = this.#state;
    if (state.sent !== null) {
      const { value } = state.sent;
      state.sent = null; // a sender that is kept does not keep the value
      return value;
    }
    if (state.isSenderClosed) {
      throw new ChannelClosedError(
        `oneshot "${state.name}": the sender was closed without sending a value`,
      );
    }
    state.receiver = cx.target;
    return Pending;
  }

  override describe(): string {
    return `recv on oneshot "${this.#state.name}"`;
  }

  protected override release(): void {
    this.#state.receiver = null;
    this.#state.isReceiverClosed = true;
    this.#state.closeWaiters.wakeAll();
  }
}

/**
 * Creates a channel for one value: `sender.send(value)` and `yield* receiver`. Throws TypeError when an option is bad.
 *
 * @example
 * const { sender, receiver } = oneshot<number>();
 * spawn(async () => sender.send(42));
 * const answer = yield* receiver;
 */
export function oneshot<T>(options: SyncOptions = {}): {
  sender: OneshotSender<T>;
  receiver: OneshotReceiver<T>;
} {
  const state = new OneshotState<T>(nameOf(options, "oneshot", "oneshot"));
  return { sender: OneshotSender.create(state), receiver: OneshotReceiver.create(state) };
}
