// The cleanup of a future that was dropped where nobody could wait for it, as a task.

import type { Context } from "../core/context.ts";
import { Future } from "../core/future.ts";
import type { Poll } from "../core/poll.ts";

/** What is left of a dropped future, driven to its end: its task is one that nobody aborts. */
export class Cleanup extends Future<void> {
  readonly #future: Future<unknown>;

  constructor(future: Future<unknown>) {
    super();
    this.#future = future;
  }

  override poll(cx: Context): Poll<void> {
    return this.#future.pollCancel(cx);
  }
}
