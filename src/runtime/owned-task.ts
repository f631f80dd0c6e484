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

  /** As the task has it. */
  get failure(): { readonly error: unknown } | null {
    return this.task.failure;
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
