// Waiting: a future that waits in a queue, of which it is a node.

import { Future } from "./future.ts";
import type { Waiter } from "./wait-queue.ts";
import type { WakeTarget } from "./waker.ts";

export abstract class Waiting<T> extends Future<T> implements Waiter {
  target: WakeTarget | null = null;
  before: Waiter | null = null;
  after: Waiter | null = null;
  list: object | null = null;

  /** What for, in words. */
  abstract waitsOn(): string;
}
