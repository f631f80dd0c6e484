// Permits: a count of permits, granted first come, first served. Semaphores, locks, mpsc channels and join sets are
// built on it.
//
// Invariants: a release grants permits to the next waiter before that waiter is polled, so no other caller can
// acquire them in between. A waiter that is dropped while it holds a grant passes its permits on. No permit is lost.

import type { Context, Resource, TaskRef } from "../core/context.ts";
import { Leaf } from "../core/leaf.ts";
import { Pending, type Poll } from "../core/poll.ts";
import { WaitQueue } from "../core/wait-queue.ts";
import type { WakeTarget } from "../core/wake-target.ts";

/** A number of available permits, and the queue of their waiters. */
export class Permits {
  available: number;
  /** Set once no more permits will come. Waiters and later callers fail with this error. */
  closed: Error | null = null;
  private readonly waiters: WaitQueue = new WaitQueue();
  /** How many waiters hold a grant that they have not collected yet. */
  granted = 0;

  constructor(available: number) {
    this.available = available;
  }

  /** Acquires `need` permits if they are available and no waiter is queued. Returns whether it did. */
  tryAcquire(need: number): boolean {
    if (this.available < need || this.waiters.size > 0) return false;
    this.available -= need;
    return true;
  }

  /** Grants `waiter` its permits if it is first, and queues it otherwise. Called before the first poll of `waiter`. */
  request(waiter: Acquire<unknown>): void {
    this.waiters.wait(waiter, null);
    this.grant();
  }

  /** Returns `count` permits and grants them to waiters. */
  release(count: number): void {
    this.available += count;
    if (this.waiters.size > 0) this.grant();
  }

  /** Fails all waiters, and all later callers, with `error`. */
  close(error: Error): void {
    this.closed ??= error;
    this.evict();
  }

  /**
   * Removes the waiters of `end`, which all need one permit, or all waiters from the queue and wakes them: their next
   * poll calls `refuse`.
   */
  evict(end: object | null = null): void {
    for (const waiter of this.waiters) {
      if (end !== null && (waiter as Acquire<unknown>).channelEnd !== end) continue;
      const { target } = waiter;
      this.waiters.leave(waiter);
      target?.wake();
    }
  }

  /** Returns the tasks that hold permits, if they are known. */
  holdingTasks(): readonly TaskRef[] {
    return [];
  }

  wait(waiter: Acquire<unknown>, target: WakeTarget): void {
    this.waiters.wait(waiter, target);
  }

  leave(waiter: Acquire<unknown>): void {
    const isFirst = this.waiters.head === waiter;
    this.waiters.leave(waiter);
    if (isFirst) this.grant(); // the next waiter may need fewer
  }

  private grant(): void {
    for (;;) {
      const first = this.waiters.head as Acquire<unknown> | null;
      if (first === null || first.need > this.available) return;
      const { target } = first;
      this.waiters.leave(first);
      this.available -= first.need;
      first.isGranted = true;
      this.granted++;
      target?.wake();
    }
  }
}

/** A future that waits for permits. A subclass creates the value that holds them. */
export abstract class Acquire<T> extends Leaf<T> {
  readonly need: number;
  /** This future was granted its permits, and has not been polled since. */
  isGranted = false;
  protected readonly permits: Permits;

  constructor(permits: Permits, need: number) {
    super();
    this.permits = permits;
    this.need = need;
  }

  /** The end of a channel that waits, so that closing it can end the wait; null if the wait belongs to none. */
  get channelEnd(): object | null {
    return null;
  }

  /** Creates the value that holds the permits from now on. If it throws, it must release them first. */
  protected abstract hold(): T;

  /** Like `hold`, for permits that were granted while the future waited. */
  protected holdGranted(): T {
    return this.hold();
  }

  /** Called before the future waits. Throws, or returns a value, if no permits will come; else returns Pending. */
  protected refuse(): Poll<T> {
    if (this.permits.closed !== null) throw this.permits.closed;
    return Pending;
  }

  /** Called each time the future begins or continues to wait. */
  protected onWait(): void {}

  protected override attempt(cx: Context): Poll<T> {
    const { permits } = this;
    if (this.collectGrant()) return this.holdGranted();
    const refused = this.refuse();
    if (refused !== Pending) return refused;
    if (this.list !== null || !permits.tryAcquire(this.need)) {
      permits.wait(this, cx.target);
      this.onWait();
      return Pending;
    }
    return this.hold();
  }

  protected override release(): void {
    if (this.isGranted || this.list !== null) this.leaveQueue();
  }

  /** Leaves the queue, or passes the grant on. (A subclass calls it in `release`: looking up `super` costs time.) */
  protected leaveQueue(): void {
    if (this.collectGrant()) this.permits.release(this.need);
    else if (this.list !== null) this.permits.leave(this);
  }

  /** Marks the grant as used or returned. Returns false if there is none. */
  private collectGrant(): boolean {
    if (!this.isGranted) return false;
    this.isGranted = false;
    this.permits.granted--;
    return true;
  }
}

/** A future that waits for permits and returns a guard; disposing the guard releases them. */
export class Lock<G extends Disposable> extends Acquire<G> {
  private readonly guard: (count: number) => G;
  private readonly what: () => string;

  /** `guard` creates the guard; `what` returns the phrase for `describe`. Several waits may share both. */
  constructor(permits: Permits, guard: (count: number) => G, what: () => string, need = 1) {
    super(permits, need);
    this.guard = guard;
    this.what = what;
  }

  protected override hold(): G {
    return this.guard(this.need);
  }

  override reclaim(guard: G): void {
    guard[Symbol.dispose]();
  }

  override describe(): string {
    return this.what();
  }

  get waitingResource(): Resource {
    return { key: this.permits, kind: "lock", text: this.what() };
  }

  /** The tasks that hold the permits. */
  get holders(): readonly TaskRef[] {
    return this.permits.holdingTasks();
  }
}
