// The cleanup of a future that was dropped where nobody could wait for it, as a task.

import type { Context } from "../core/context.ts";
import { Future } from "../core/future.ts";
import type { Poll } from "../core/poll.ts";

/** What is left of a dropped future, driven to its end: its task is one that nobody aborts. */
export class Cleanup extends Future<void> {
  readonly #step: (cx: Context) => Poll<void>;

  constructor(step: (cx: Context) => Poll<void>) {
    super();
    this.#step = step;
  }

  override poll(cx: Context): Poll<void> {
    return this.#step(cx);
  }
}
