// oneshot: one value, from one task to another.

import type { Context } from "../core/context.ts";
import type { Future } from "../core/future.ts";
import { Leaf } from "../core/leaf.ts";
import { Pending, type Poll } from "../core/poll.ts";
import { QueuedAttempt } from "../core/queued-attempt.ts";
import { WaitQueue } from "../core/wait-queue.ts";
import { ChannelClosedError } from "./closed.ts";
import type { SyncOptions } from "./options.ts";

interface OneshotState<T> {
  readonly name: string;
  sent: { readonly value: T } | null;
  isSenderGone: boolean;
  /** It was dropped, or has completed: either way it takes no value any more. */
  isReceiverGone: boolean;
  readonly receivers: WaitQueue;
  readonly watchers: WaitQueue;
}

/** The sending side; disposed unused, the receiver gets a ChannelClosedError. */
export class OneshotSender<T> implements Disposable {
  readonly #state: OneshotState<T>;

  /** Not for users: `oneshot()`. */
  constructor(state: OneshotState<T>) {
    this.#state = state;
  }

  /** Sends the value. Throws ChannelClosedError if nobody will receive it; Error the second time. */
  send(value: T): void {
    const state = this.#state;
    if (state.isSenderGone) throw new Error("OneshotSender.send: this sender was used, or closed");
    if (state.isReceiverGone) {
      throw new ChannelClosedError(`nobody receives oneshot "${state.name}" any more`);
    }
    state.isSenderGone = true;
    state.sent = { value };
    state.receivers.wakeAll();
  }

  /** Completes when nobody will receive a value any more: it was received, or the receiver dropped. Cancel safe. */
  closed(): Future<void> {
    const state = this.#state;
    const what = (): string => `the receiver of oneshot "${state.name}" to end`;
    return new QueuedAttempt(state.watchers, what, () =>
      state.isReceiverGone ? undefined : Pending,
    );
  }

  [Symbol.dispose](): void {
    this.#state.isSenderGone = true;
    this.#state.receivers.wakeAll();
  }
}

/**
 * The future of the value. Throws ChannelClosedError when the sender is gone without sending one. Not cancel
 * safe: a dropped receiver refuses the value.
 */
export class OneshotReceiver<T> extends Leaf<T> {
  readonly #state: OneshotState<T>;

  /** Not for users: call `oneshot()`. */
  constructor(state: OneshotState<T>) {
    super();
    this.#state = state;
  }

  protected override attempt(cx: Context): Poll<T> {
    const state = this.#state;
    if (state.sent !== null) return state.sent.value;
    if (state.isSenderGone) {
      throw new ChannelClosedError(`the sender of oneshot "${state.name}" is gone`);
    }
    state.receivers.wait(this, cx.target);
    return Pending;
  }

  override describe(): string {
    return `recv on oneshot "${this.#state.name}"`;
  }

  protected override release(): void {
    this.#state.receivers.leave(this);
    this.#state.isReceiverGone = true;
    this.#state.watchers.wakeAll();
  }
}

/**
 * A channel for one value: `sender.send(value)`, `yield* receiver`.
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
  const state: OneshotState<T> = {
    name: options.name ?? "oneshot",
    sent: null,
    isSenderGone: false,
    isReceiverGone: false,
    receivers: new WaitQueue(),
    watchers: new WaitQueue(),
  };
  return { sender: new OneshotSender(state), receiver: new OneshotReceiver(state) };
}
