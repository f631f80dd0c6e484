// Permits: given out first come, first served. Semaphore, locks, bounded channels and join sets stand on it.
//
// A permit is handed to its waiter when it is released, not when the waiter wakes up: nobody can take
// it in between. A waiter that is dropped with a permit in its hand gives it to the next: none is lost.

import type { Context } from "../core/context.ts";
import { polledAfterEnd } from "../core/future.ts";
import { Pending, type Poll } from "../core/poll.ts";
import { WaitQueue } from "../core/wait-queue.ts";
import { ENDED, LIVE, Waiting } from "../core/waiting.ts";
import type { WakeTarget } from "../core/waker.ts";

/** The count, and who waits: what Semaphore, Mutex, RwLock, mpsc and JoinSet share. */
export class Permits {
  available: number;
  /** Set once there will be no more; who waits, or asks, gets this error. */
  closed: Error | null = null;
  readonly #waiters: WaitQueue = new WaitQueue();
  /** Waiters that have been granted theirs, and have not taken them yet. */
  granted = 0;

  constructor(available: number) {
    this.available = available;
  }

  /** Whether somebody has asked, and has neither got on nor given up. */
  get isAwaited(): boolean {
    return this.granted > 0 || this.#waiters.size > 0;
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
    this.#waiters.wait(waiter, target);
  }

  leave(waiter: Acquire<unknown>): void {
    const isFirst = this.#waiters.head === waiter;
    this.#waiters.leave(waiter);
    if (isFirst) this.#grant(); // the next may need less
  }

  #grant(): void {
    for (;;) {
      const first = this.#waiters.head as Acquire<unknown> | null;
      if (first === null || first.need > this.available) return;
      const { target } = first;
      this.#waiters.leave(first);
      this.available -= first.need;
      first.isGranted = true;
      this.granted++;
      target?.wake();
    }
  }
}

/** The wait for permits, and what holds them. */
export abstract class Acquire<T> extends Waiting<T> {
  readonly need: number;
  /** The permits are ours, though we have not been polled since. */
  isGranted = false;
  protected readonly permits: Permits;

  constructor(permits: Permits, need: number) {
    super();
    this.permits = permits;
    this.need = need;
  }

  /** What holds the permits, which are ours from now on. */
  protected abstract make(): T;

  override poll(cx: Context): Poll<T> {
    if (this.isEnded) throw polledAfterEnd(`the wait for ${this.waitsOn()}`);
    this.life = LIVE;
    if (cx.isExhausted()) return Pending;
    const permits = this.permits;
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
    this.#take();
    this.life = ENDED;
    cx.runtime.budget--;
    return this.make();
  }

  override drop(): void {
    if (this.life !== LIVE) return;
    this.life = ENDED;
    if (this.#take()) this.permits.give(this.need);
    else this.permits.leave(this);
  }

  /** What was granted is granted no longer: it is used, or given back. False if nothing was. */
  #take(): boolean {
    if (!this.isGranted) return false;
    this.isGranted = false;
    this.permits.granted--;
    return true;
  }
}

/** The wait for a guard, which `guard` makes, and whose disposal gives the permits back. */
export class Lock<G extends Disposable> extends Acquire<G> {
  readonly #guard: (count: number) => G;
  readonly #words: () => string;

  /** `words` are what it waits on. Both functions may serve many waits. */
  constructor(permits: Permits, guard: (count: number) => G, words: () => string, need = 1) {
    super(permits, need);
    this.#guard = guard;
    this.#words = words;
  }

  protected override make(): G {
    return this.#guard(this.need);
  }

  override reclaim(guard: G): void {
    guard[Symbol.dispose]();
  }

  override waitsOn(): string {
    return this.#words();
  }
}
