// Semaphore: permits, given out first come, first served. Locks and bounded channels stand on it.
//
// A permit is handed to its waiter when it is released, not when the waiter wakes up: nobody can take
// it in between. A waiter that is dropped with a permit in its hand gives it to the next: none is lost.

import type { Context } from "../core/context.ts";
import { describe } from "../core/describe.ts";
import { Future, polledAfterEnd } from "../core/future.ts";
import { List } from "../core/list.ts";
import { Pending, type Poll } from "../core/poll.ts";
import type { Waiter } from "../core/wait-queue.ts";
import type { WakeTarget } from "../core/waker.ts";

export function checkCount(count: unknown, what: string): asserts count is number {
  if (typeof count !== "number" || !Number.isSafeInteger(count) || count < 1) {
    throw new RangeError(`${what} must be a positive integer; got ${describe(count)}`);
  }
}

/** The count, and who waits: what Semaphore, Mutex, RwLock and mpsc share. */
export class Permits {
  available: number;
  /** Set once there will be no more; who waits, or asks, gets this error. */
  closed: Error | null = null;
  readonly #waiters: List<Waiter> = new List();

  constructor(available: number) {
    this.available = available;
  }

  /** Takes `need`, if they are there and nobody has waited longer. */
  take(need: number): boolean {
    if (this.available < need || this.#waiters.size > 0) return false;
    this.available -= need;
    return true;
  }

  give(count: number): void {
    this.available += count;
    this.#grant();
  }

  /** Who waits is woken, and gets `error`. */
  close(error: Error): void {
    this.closed ??= error;
    for (const waiter of this.#waiters) waiter.target?.wake();
  }

  wait(waiter: Acquire<unknown>, target: WakeTarget): void {
    waiter.target = target;
    if (waiter.list === null) this.#waiters.push(waiter);
  }

  leave(waiter: Acquire<unknown>): void {
    const isFirst = this.#waiters.head === waiter;
    this.#waiters.remove(waiter);
    if (isFirst) this.#grant(); // the next may need less
  }

  #grant(): void {
    for (;;) {
      const first = this.#waiters.head as Acquire<unknown> | null;
      if (first === null || first.need > this.available) return;
      this.#waiters.remove(first);
      this.available -= first.need;
      first.isGranted = true;
      first.target?.wake();
    }
  }
}

/** The wait for permits; `make` gives what holds them. */
export class Acquire<T> extends Future<T> implements Waiter {
  target: WakeTarget | null = null;
  before: Waiter | null = null;
  after: Waiter | null = null;
  list: object | null = null;
  readonly need: number;
  /** The permits are ours, though we have not been polled since. */
  isGranted = false;
  readonly #permits: Permits;
  readonly #what: () => string;
  readonly #make: () => T;
  #isEnded = false;

  constructor(permits: Permits, need: number, what: () => string, make: () => T) {
    super();
    this.#permits = permits;
    this.need = need;
    this.#what = what;
    this.#make = make;
  }

  override poll(cx: Context): Poll<T> {
    if (this.#isEnded) throw polledAfterEnd(`the wait for ${this.#what()}`);
    if (cx.isExhausted()) return Pending;
    const permits = this.#permits;
    if (permits.closed !== null && !this.isGranted) {
      this.drop();
      cx.runtime.budget--;
      throw permits.closed;
    }
    if (!this.isGranted && (this.list !== null || !permits.take(this.need))) {
      permits.wait(this, cx.target);
      cx.waitsOn = this;
      return Pending;
    }
    this.isGranted = false;
    this.#isEnded = true;
    cx.runtime.budget--;
    return this.#make();
  }

  waitsOn(): string {
    return this.#what();
  }

  override drop(): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    if (this.isGranted) this.#permits.give(this.need);
    else this.#permits.leave(this);
  }
}

/** Permits that are held until they are released, or disposed. */
export class Permit implements Disposable {
  readonly count: number;
  readonly #permits: Permits;
  #isReleased = false;

  /** Not for users: `semaphore.acquire`. */
  constructor(permits: Permits, count: number) {
    this.#permits = permits;
    this.count = count;
  }

  /** Gives the permits back. Throws when they were given back before. */
  release(): void {
    if (this.#isReleased) throw new Error("Permit.release: this permit was released before");
    this[Symbol.dispose]();
  }

  [Symbol.dispose](): void {
    if (this.#isReleased) return;
    this.#isReleased = true;
    this.#permits.give(this.count);
  }
}

/** What channels and locks may be told. */
export interface SyncOptions {
  /** Shown by `runtime.tasks()` and in deadlocks. */
  readonly name?: string;
}

/**
 * A number of permits, given out first come, first served: one that needs many is not overtaken by
 * those that need few. Throws RangeError unless `permits` is a positive integer.
 *
 * @example
 * const connections = new Semaphore(10);
 * using permit = yield* connections.acquire();
 */
export class Semaphore {
  readonly #permits: Permits;
  readonly #name: string;
  readonly #total: number;

  constructor(permits: number, options: SyncOptions = {}) {
    checkCount(permits, "permits");
    this.#total = permits;
    this.#permits = new Permits(permits);
    this.#name = options.name ?? "semaphore";
  }

  /** Permits that nobody holds. */
  get available(): number {
    return this.#permits.available;
  }

  /** Waits for `count` permits. Throws RangeError for more than there are in all. Cancel safe. */
  acquire(count = 1): Future<Permit> {
    this.#check(count);
    const make = (): Permit => new Permit(this.#permits, count);
    return new Acquire(this.#permits, count, () => `permits of "${this.#name}"`, make);
  }

  /** `count` permits, if they are there and nobody waits for any; else null. */
  tryAcquire(count = 1): Permit | null {
    this.#check(count);
    return this.#permits.take(count) ? new Permit(this.#permits, count) : null;
  }

  #check(count: number): void {
    checkCount(count, "count");
    if (count > this.#total) {
      throw new RangeError(`count must be at most ${this.#total}, all there are; got ${count}`);
    }
  }
}
