// Waiting: a future that waits in a queue, of which it is a node; where in its life it is; and how it is used
// again, so that a task that reads and writes in a loop allocates nothing. (Measured: what is new is cold. Two
// futures per echo, read and written once, cost 3 to 4 % of its time, most of that in cache misses.)
//
// A socket, or an end of a channel, keeps the one of each kind that it made last, and asks it (`useAgain`) before
// it makes another. What must hold: nobody who still knows it by its earlier use can disturb the later one.
//
// - It may be used again only if it completed in a `yield*`, and by the context of that poll. (Combinators and
//   async functions hold on to the futures they poll: what they polled is not used again.)
// - Only code of that context does so, and that is one thread of control: while it waits for the later
//   use, none of its code runs but cleanup, and unwinding drops what is waited for before any cleanup.
// - But the later use may go to another task, while a `using` of this one still drops the earlier:
//   `using a = s.read(x); yield* a; spawn(s.read(y))`. So what `using` has taken is not used again.
// - And the earlier may be dropped before the later is polled: `b = s.read(y); a.drop()`. So one that is used
//   again ignores drops until then; it holds nothing yet.
// - It lets go of the caller's buffer, or message, when it ends; and it knows its context by a number.

import { current, currentContext } from "./context.ts";
import { COMPLETED, Future, made, SUSPENDED } from "./future.ts";
import { Pending } from "./poll.ts";
import type { Waiter } from "./wait-queue.ts";
import type { WakeTarget } from "./waker.ts";

/** Used again, and not polled since: a drop now is one of its earlier use. */
const ANEW = -2;
/** Not ended: a drop ends it. */
export const LIVE: number = -1;
/** Completed, failed or dropped; any greater number: completed in a `yield*` of the context of that number. */
export const ENDED: number = 0;

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
  protected life: number = LIVE;
  /** A `using` has taken it, and drops it later, also after its end. */
  private isHeld = false;

  get isEnded(): boolean {
    return this.life >= ENDED;
  }

  /** What for, in words. */
  abstract waitsOn(): string;

  override next(): IteratorResult<symbol, T> {
    // Not by `super.next()`: to look that up takes a channel a fiftieth of its time.
    const cx = current.context ?? currentContext();
    const value = this.poll(cx);
    if (value === Pending) return SUSPENDED;
    this.life = cx.serial;
    COMPLETED.value = value;
    return COMPLETED as IteratorReturnResult<T>;
  }

  /** What its maker keeps: nothing in debug mode, which tells of one that was collected, and never polled. */
  get kept(): this | null {
    return made.hook === null ? this : null;
  }

  /**
   * Makes it new for the code that is running, if that is the only one who knows it: whether it did. In debug
   * mode it never is, since each future has a place where it was made; nor when it was awaited by promise,
   * since it would give that one again.
   */
  useAgain(): boolean {
    if (this.life !== current.context?.serial || this.isHeld) return false;
    if (this.isAdopted || made.hook !== null) return false;
    this.life = ANEW;
    return true;
  }
}
