// Waiting: a future that waits in a queue, of which it is a node; and where in its life it is.

import { Future } from "./future.ts";
import type { Waiter } from "./wait-queue.ts";
import type { WakeTarget } from "./waker.ts";

/** Not ended: a drop ends it. */
export const LIVE = 0;
/** Used again (spare.ts), and not polled since: a drop now is one of its earlier use. */
const ANEW = 1;
/** Completed, failed or dropped. */
export const ENDED = 2;

type Life = typeof LIVE | typeof ANEW | typeof ENDED;

export abstract class Waiting<T> extends Future<T> implements Waiter {
  static {
    // `using` looks it up when it takes the future, and calls it at the end of the block.
    Object.defineProperty(Waiting.prototype, Symbol.dispose, {
      configurable: true,
      get(this: Waiting<unknown>) {
        this.isHeld = true;
        return Future.prototype[Symbol.dispose];
      },
    });
  }

  target: WakeTarget | null = null;
  before: Waiter | null = null;
  after: Waiter | null = null;
  list: object | null = null;
  protected life: Life = LIVE;
  /** A `using` has taken it, and drops it later, also after its end: part of the contract with Spares. */
  isHeld = false;

  /** What for, in words. */
  abstract waitsOn(): string;

  /** It has completed, and nobody knows it any more: part of the contract with Spares. */
  useAgain(): void {
    this.life = ANEW;
  }
}
