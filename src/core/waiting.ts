// Waiting: a future that waits in a queue, of which it is a node; and where in its life it is.

import { Future } from "./future.ts";
import type { Waiter } from "./wait-queue.ts";
import type { WakeTarget } from "./waker.ts";

/** Not polled yet. */
export const NEW = 0;
/** The same, but it is used again (spare.ts): a drop now is one of its earlier use. */
export const ANEW = 1;
/** Polled, and Pending. */
export const BEGUN = 2;
/** Completed, failed or dropped. */
export const ENDED = 3;

export type Life = typeof NEW | typeof ANEW | typeof BEGUN | typeof ENDED;

export abstract class Waiting<T> extends Future<T> implements Waiter {
  target: WakeTarget | null = null;
  before: Waiter | null = null;
  after: Waiter | null = null;
  list: object | null = null;
  protected life: Life = NEW;

  /** What for, in words. */
  abstract waitsOn(): string;

  /** Whether a drop is of this use, and the first. */
  protected get canBeDropped(): boolean {
    return this.life === NEW || this.life === BEGUN;
  }
}
