// A task as a child: to cancel this future is to abort the task, and to wait for its end. What scopes
// hold.

import type { Context } from "../core/context.ts";
import { Pending, type Poll } from "../core/poll.ts";
import { Join, type JoinHandle, taskOf } from "./join-handle.ts";

export class OwnedTask<T> extends Join<T> {
  constructor(handle: JoinHandle<T>) {
    super(taskOf(handle));
    this.claim(); // its failure is its owner's, also if it comes before the first poll of this
  }

  /** What it failed with; null if it did not, or only by being aborted. */
  get failure(): { readonly error: unknown } | null {
    const { outcome, isAborted } = this.task;
    return outcome !== null && "error" in outcome && !isAborted ? outcome : null;
  }

  override pollCancel(cx: Context): Poll<void> {
    this.task.abort();
    if (!this.task.isEnded && this.poll(cx) === Pending) return Pending;
    this.drop();
  }

  override drop(): void {
    this.task.abort();
    if (this.task.isEnded) this.task.take(); // `failure` tells of it
    super.drop();
  }
}
