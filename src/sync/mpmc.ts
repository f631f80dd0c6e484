// mpmc: a channel with many producers and many consumers. Each message goes to exactly one receiver, the one that has
// waited longest. For a channel on which every receiver gets every message, see broadcast.ts.

import { checkCount } from "../base/check.ts";
import { ChannelState } from "./channel.ts";
import { nameOf, type SyncOptions } from "./options.ts";
import { AnyReceiver } from "./receiver.ts";
import { Sender, UnboundedSender } from "./sender.ts";

/** A receiver of an mpmc. Several tasks may wait on it at once. Close each with `using` or `close`. */
export class MpmcReceiver<T> extends AnyReceiver<T> {
  private constructor(channel: ChannelState<T>) {
    super(channel, true, "mpmc(capacity) or unboundedMpmc()");
  }

  /** @internal */
  static create<T>(channel: ChannelState<T>): MpmcReceiver<T> {
    return new MpmcReceiver(channel);
  }

  /**
   * Returns another receiver of the same channel, to be closed separately. If all receivers are closed, so is the new
   * one.
   *
   * @example
   * const { sender, receiver } = mpmc<string>(64);
   * for (const worker of [receiver, receiver.clone()]) {
   *   spawn(async () => {
   *     using mine = worker;
   *     for await (const job of mine) console.log(job);
   *   }).detach();
   * }
   * await sender.send("a job for one of them");
   * sender.close();
   */
  clone(): MpmcReceiver<T> {
    const { channel } = this.end;
    const isClosed = channel.receivers === 0;
    const clone = MpmcReceiver.create(channel);
    if (isClosed) clone.close();
    return clone;
  }
}

/**
 * Creates a channel of which each message goes to exactly one receiver. Receivers are served first come, first served.
 * Senders and receivers can be cloned. The channel holds up to `capacity` messages; when it is full, senders wait for
 * room. Once all senders are closed, receivers see the end after the last message; once all receivers are closed,
 * sends throw ChannelClosedError. Throws RangeError unless `capacity` is a positive integer, and TypeError when an
 * option is bad.
 *
 * @example
 * const { sender, receiver } = mpmc<number>(64);
 * const workers = [1, 2, 3].map(() => spawn(async () => {
 *   for await (const job of receiver) console.log(job);
 * }));
 * for (let job = 0; job < 10; job++) await sender.send(job);
 * sender.close();
 * await join(workers);
 */
export function mpmc<T>(
  capacity: number,
  options: SyncOptions = {},
): { sender: Sender<T>; receiver: MpmcReceiver<T> } {
  checkCount(capacity, "mpmc: capacity");
  const channel = new ChannelState<T>(capacity, nameOf(options, "mpmc", "mpmc"));
  return { sender: Sender.create(channel), receiver: MpmcReceiver.create(channel) };
}

/**
 * Creates an mpmc without a capacity limit. Sending never waits, so slow receivers let the channel grow until
 * memory runs out. Prefer `mpmc` where senders can wait. Throws TypeError when an option is bad.
 *
 * @example
 * const { sender, receiver } = unboundedMpmc<string>();
 * sender.send("hello");
 * const hello = yield* receiver.clone().recv();
 */
export function unboundedMpmc<T>(options: SyncOptions = {}): {
  sender: UnboundedSender<T>;
  receiver: MpmcReceiver<T>;
} {
  const name = nameOf(options, "unboundedMpmc", "unbounded mpmc");
  const channel = new ChannelState<T>(Number.POSITIVE_INFINITY, name);
  return { sender: UnboundedSender.create(channel), receiver: MpmcReceiver.create(channel) };
}
