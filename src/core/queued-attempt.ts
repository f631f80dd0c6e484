// QueuedAttempt: a leaf that waits in a queue until an attempt succeeds. Each poll makes an attempt. The queue
// only wakes the leaf; being woken does not mean that the attempt will succeed.

import type { Context } from "./context.ts";
import { Leaf } from "./leaf.ts";
import { Pending, type Poll } from "./poll.ts";
import type { WaitQueue } from "./wait-queue.ts";

/**
 * `attempt` returns the value or Pending. `what` returns the phrase for `describe`. Several leaves may share both
 * functions.
 */
export class QueuedAttempt<T> extends Leaf<T> {
  private readonly queue: WaitQueue;
  private readonly what: () => string;
  private readonly callback: () => Poll<T>;

  constructor(queue: WaitQueue, what: () => string, attempt: () => Poll<T>) {
    super();
    this.queue = queue;
    this.what = what;
    this.callback = attempt;
  }

  protected override attempt(cx: Context): Poll<T> {
    const value = this.callback();
    // The attempt may call a user's predicate that drops this leaf. An ended leaf must not enter the queue.
    if (value === Pending && !this.isEnded) this.queue.wait(this, cx.target);
    return value;
  }

  protected override release(): void {
    this.queue.leave(this);
  }

  override describe(): string {
    return this.what();
  }
}

/**
 * A QueuedAttempt with a value that belongs to its awaiter alone. `onReclaim` receives the value if the awaiter was
 * cancelled before the value reached it.
 */
export class ReclaimableAttempt<T> extends QueuedAttempt<T> {
  private readonly onReclaim: (value: T) => void;

  constructor(
    queue: WaitQueue,
    what: () => string,
    attempt: () => Poll<T>,
    onReclaim: (value: T) => void,
  ) {
    super(queue, what, attempt);
    this.onReclaim = onReclaim;
  }

  override reclaim(value: T): void {
    this.onReclaim(value);
  }
}
