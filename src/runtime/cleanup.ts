// Cleanup: runs the remaining cleanup of a future that was dropped where nobody could wait for it.

import type { Context } from "../core/context.ts";
import { Future } from "../core/future.ts";
import type { Poll } from "../core/poll.ts";

/** The remaining cleanup of a dropped future. Its task is shielded: nobody can abort it. */
export class Cleanup extends Future<void> {
  private readonly step: (cx: Context) => Poll<void>;

  /** `step` is one poll of the cleanup. */
  constructor(step: (cx: Context) => Poll<void>) {
    super();
    this.step = step;
  }

  override poll(cx: Context): Poll<void> {
    return this.step(cx);
  }
}
