// Stoppable: a future that other code than its awaiter can end. An adapter for streams or iterators needs it: the
// consumer cancels while the runtime awaits the read on its behalf. Dropping that read from outside would fail its task.

import type { Context } from "./context.ts";
import { Future, polledAfterEnd } from "./future.ts";
import { Pending, type Poll } from "./poll.ts";
import type { WakeTarget } from "./wake-target.ts";

/** Runs `inner` and returns its value, as `convert` returns it. After `stop`, returns `whenStopped`. */
export class Stoppable<V, T = V> extends Future<T> {
  private readonly inner: Future<V>;
  private readonly convert: (value: V) => T;
  private readonly whenStopped: T;
  /** The value of `inner`, for `reclaim`. */
  private value: V | typeof Pending = Pending;
  private target: WakeTarget | null = null;
  private isStopped = false;
  private isEnded = false;

  constructor(inner: Future<V>, convert: (value: V) => T, whenStopped: T) {
    super();
    this.inner = inner;
    this.convert = convert;
    this.whenStopped = whenStopped;
  }

  override get runsUserCode(): boolean {
    return this.inner.runsUserCode;
  }

  override poll(cx: Context): Poll<T> {
    if (this.isEnded) throw polledAfterEnd("a stoppable future");
    this.target = cx.target;
    try {
      if (!this.isStopped) {
        const value = this.inner.poll(cx);
        if (value !== Pending) {
          this.end();
          this.value = value;
          return this.convert(value);
        }
      }
    } catch (error) {
      this.end();
      if (!this.isStopped) throw error;
    }
    if (!this.isStopped) return Pending; // the poll itself may have stopped this future
    this.end();
    return this.whenStopped;
  }

  /** Drops the inner future and completes with `whenStopped`. Idempotent; does nothing after the end. */
  stop(): void {
    if (this.isEnded || this.isStopped) return;
    this.isStopped = true;
    this.inner.drop();
    this.target?.wake();
  }

  override pollCancel(cx: Context): Poll<void> {
    this.end();
    return this.inner.pollCancel(cx);
  }

  override drop(): void {
    this.end();
    this.inner.drop();
  }

  override reclaim(): void {
    if (this.value !== Pending) this.inner.reclaim(this.value);
  }

  /** Called when the future completes, fails or is dropped, perhaps more than once. */
  protected end(): void {
    this.isEnded = true;
    this.target = null;
  }
}
