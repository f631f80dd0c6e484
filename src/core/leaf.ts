// Leaf: a future that waits for an event, rather than for other futures. All leaves share one `poll`: the end
// check, the coop budget, the attempts and their charge, the end. A subclass supplies the attempt,
// what it releases, and a phrase for diagnostics. A leaf is also its own queue node, so waiting allocates
// nothing.
//
// A leaf may be reused, so that a task that reads and writes in a loop allocates nothing. (Measured: two new
// futures per echo cost 3 to 4 % of its time. Their memory is touched only once, so most of that is cache misses.)
// A socket or a channel end keeps the latest leaf of each kind and offers it to `reuse`. The invariant: stale
// references must not affect the reused future. It holds because:
//
// - A leaf is reusable only if it completed in a `yield*`, and only for the context of that poll.
//   (Combinators and async functions keep the futures they poll, so what they polled is not reusable.)
// - Only code of that context reuses it, and that is one thread of control. While it waits for the reused
//   future, none of its code runs except cleanup, and unwinding drops the awaited future before any cleanup.
// - A reused future may move to another task while a `using` here still drops its earlier use:
//   `using a = s.read(x); yield* a; spawn(s.read(y))`. So a future bound by `using` is not reusable.
// - The earlier use may be dropped before the reused future is polled: `b = s.read(y); a.drop()`. So a
//   reused future ignores drops until its first poll. Until then it holds nothing.
// - An ended leaf holds neither the caller's buffer nor its message, and knows its context only by its number.

import type { Blocker, Context } from "./context.ts";
import { current, currentContext, wakeOwner } from "./current.ts";
import { COMPLETED, Future, polledAfterEnd, SUSPENDED } from "./future.ts";
import { Again, Pending, type Poll } from "./poll.ts";
import type { Waiter } from "./wait-queue.ts";
import type { WakeTarget } from "./wake-target.ts";

/** The `adopted` of a leaf that a `using` has bound, which makes it not reusable. */
export const BOUND_BY_USING: { promise(): Promise<unknown> } = {
  promise: () => Promise.reject(polledAfterEnd("a leaf")),
};

// The states of a leaf. A number above ENDED is the serial of a context: the leaf completed in a `yield*` there.

/** Reused and not yet polled: a drop now belongs to an earlier use. */
const REUSED = -2;
/** Not ended: a drop ends it. */
const PENDING = -1;
/** Between `beginNext` and `endNext`; and after an attempt that threw there. A drop ends it, a poll throws. */
const ATTEMPTING = 0;
/** Completed, failed or dropped. */
const ENDED = 1;

/**
 * A future that waits for an event, rather than for other futures. Implement `attempt`, `describe` and, if the
 * leaf holds anything, `release`. The class throws Error when an ended leaf is polled. It charges each completed
 * operation to the coop budget, so that a loop of ready futures cannot starve other tasks. It calls `release`
 * exactly once.
 *
 * @example
 * class Countdown extends Leaf<string> {
 *   #left = 3;
 *   protected override attempt(cx: Context): Poll<string> {
 *     if (this.#left-- === 0) return "liftoff";
 *     cx.waker.wakeByRef(); // a real leaf stores cx.waker.clone() where its event finds it
 *     return Pending;
 *   }
 *   override describe(): string {
 *     return "a countdown";
 *   }
 * }
 * console.log(yield* new Countdown()); // liftoff
 */
export abstract class Leaf<T> extends Future<T> implements Blocker {
  static {
    // `using` looks this property up when it binds the future, and calls the method when the block ends.
    Object.defineProperty(Leaf.prototype, Symbol.dispose, {
      configurable: true,
      get(this: Leaf<unknown>) {
        this.adopted ??= BOUND_BY_USING;
        return Future.prototype[Symbol.dispose];
      },
    });
  }

  // The fields of a Waiter. The published declarations leave them out.
  /** @internal The target of the latest poll, while the leaf waits. */
  target: WakeTarget | null = null;
  /** @internal */
  before: Waiter | null = null;
  /** @internal */
  after: Waiter | null = null;
  /** @internal */
  list: object | null = null;
  private state: number = PENDING;

  // biome-ignore lint/complexity/noUselessConstructor: the implicit one passes its arguments on, which takes 30 instructions
  constructor() {
    super();
  }

  /** True once the leaf has completed, failed or been dropped. */
  get isEnded(): boolean {
    return this.state >= ENDED;
  }

  /**
   * Makes one attempt. Returns the value; or `Pending`, after storing `cx.waker.clone()` where the awaited
   * event finds it; or `Again` after partial progress. Throws what the future fails with.
   */
  protected abstract attempt(cx: Context): Poll<T> | Again;

  /**
   * Releases what the leaf holds: its waker, its place in a queue, a timer, the caller's buffer. Called exactly
   * once, when the leaf ends: after it completed, failed, or was dropped. The value that `attempt` returned
   * belongs to the awaiter and is not released here.
   */
  protected release(): void {}

  /** A phrase for `runtime.tasks()` and deadlock errors: what this leaf waits for, such as `sleep, 37 ms left`. */
  abstract describe(): string;

  /** @internal */
  override inspectLine(): string {
    return `Future (${this.isEnded ? "ended" : this.describe()})`;
  }

  override poll(cx: Context): Poll<T> {
    if (this.state >= ATTEMPTING) throw polledAfterEnd(this.describe());
    this.state = PENDING;
    const { runtime } = cx;
    try {
      while (runtime.budget > 0) {
        const value = this.attempt(cx);
        if (value === Pending) {
          cx.blockedOn = this;
          // The attempt ran user code that dropped this leaf: nothing is left to wake its owner.
          if (this.state >= ENDED) throw polledAfterEnd(this.describe());
          if (this.list === null) this.target = cx; // it waits in no queue, which would have stored the target
          return Pending;
        }
        runtime.budget--; // not by `cx.charge()`: the JIT inlines a limited number of calls
        if (value === Again) continue;
        if (this.state < ENDED) {
          this.state = ENDED;
          this.release();
          this.target = null;
        }
        return value;
      }
      cx.isExhausted(); // true: wakes the target
      return Pending;
    } catch (error) {
      this.end();
      cx.charge(); // a loop may catch the error
      throw error;
    }
  }

  override drop(): void {
    if (this.state === REUSED || this.isEnded) return;
    const { target } = this;
    this.end();
    wakeOwner(target);
  }

  override next(): IteratorResult<symbol, T> {
    // Not `super.next()`: looking that up takes 2 % of a channel's time.
    const cx = current.context ?? currentContext();
    const value = this.poll(cx);
    if (value === Pending) return SUSPENDED;
    this.state = cx.serial;
    COMPLETED.value = value;
    return COMPLETED as IteratorReturnResult<T>;
  }

  // What `next` does, in pieces: for a class that loops await often. Its own `next` makes the attempt between `beginNext`
  // and `endNext`. That call has a profile of its own: the JIT sees one class there, and inlines its attempt only. There
  // is no `catch`, which would keep the JIT from inlining it at all. So the operation is charged before the attempt; and
  // an attempt that throws drops the leaf first, which would keep its buffer otherwise.

  /**
   * @internal Begins a poll. Returns false if `Leaf.next` must do it: for an ended leaf, one in a queue, or without coop
   * budget.
   */
  protected beginNext(cx: Context): boolean {
    if (this.state >= ATTEMPTING || this.list !== null || cx.runtime.budget <= 0) return false;
    this.state = ATTEMPTING;
    cx.runtime.budget--;
    return true;
  }

  /** @internal Takes what the attempt has returned. If the attempt has dropped the leaf, this releases it a second time. */
  protected endNext(value: Poll<T> | Again, cx: Context): IteratorResult<symbol, T> {
    if (value === Pending || value === Again) {
      if (this.state !== ATTEMPTING) throw polledAfterEnd(this.describe()); // as in `poll`
      this.state = PENDING;
      if (value === Again) return Leaf.prototype.next.call(this) as IteratorResult<symbol, T>;
      cx.runtime.budget++;
      cx.blockedOn = this;
      return SUSPENDED;
    }
    this.release();
    this.state = cx.serial;
    COMPLETED.value = value;
    return COMPLETED as IteratorReturnResult<T>;
  }

  /**
   * @internal Makes an ended leaf new if code of `cx` may reuse it, and returns true if it did. The rules are at the top
   * of this file. A leaf that was awaited as a promise is not reusable: it would return the old promise.
   */
  tryReuse(cx: Context): boolean {
    if (this.state !== cx.serial || this.adopted !== null) return false;
    this.state = REUSED;
    return true;
  }

  private end(): void {
    if (this.state >= ENDED) return;
    this.state = ENDED;
    this.release();
    this.target = null;
  }
}

/**
 * Returns `latest`, made new, if the running code may reuse it. If it returns null, the caller creates a leaf. (A socket
 * calls `tryReuse` itself: to store the same leaf again, and to call this function, takes 15 instructions.)
 */
export function reuse<L extends Leaf<unknown>>(latest: L | null): L | null {
  const { context } = current;
  return context !== null && latest?.tryReuse(context) ? latest : null;
}

/**
 * Returns `leaf` if its creator may keep it for `reuse`, else null. The leaf of an async function is not reusable: keeping
 * it would keep its value alive while the socket or the channel is idle.
 */
export function kept<L extends Leaf<unknown>>(leaf: L): L | null {
  return current.context === null ? null : leaf;
}
