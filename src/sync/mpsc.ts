// mpsc: a channel with many producers and one consumer. The bounded channel applies backpressure: its senders
// wait for room. The unbounded channel has its own function, so that a program chooses it deliberately.

import { checkCount } from "../base/check.ts";
import { ChannelState } from "./channel.ts";
import { nameOf, type SyncOptions } from "./options.ts";
import { AnyReceiver } from "./receiver.ts";
import { Sender, UnboundedSender } from "./sender.ts";

/** The receiver of an mpsc. One task at a time may wait on it. */
export class Receiver<T> extends AnyReceiver<T> {
  private constructor(channel: ChannelState<T>) {
    super(channel, false, "mpsc(capacity) or unboundedMpsc()");
  }

  /** @internal */
  static create<T>(channel: ChannelState<T>): Receiver<T> {
    return new Receiver(channel);
  }
}

/**
 * Creates a channel that holds up to `capacity` messages. When it is full, senders wait for room. Throws
 * RangeError unless `capacity` is a positive integer, and TypeError when an option is bad.
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
  const channel = new ChannelState<T>(capacity, nameOf(options, "mpsc", "mpsc"));
  return { sender: Sender.create(channel), receiver: Receiver.create(channel) };
}

/**
 * Creates a channel without a capacity limit. Sending never waits, so a slow receiver lets the channel grow until
 * memory runs out. Prefer `mpsc` where senders can wait. Throws TypeError when an option is bad.
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
  const name = nameOf(options, "unboundedMpsc", "unbounded mpsc");
  const channel = new ChannelState<T>(Number.POSITIVE_INFINITY, name);
  return { sender: UnboundedSender.create(channel), receiver: Receiver.create(channel) };
}
