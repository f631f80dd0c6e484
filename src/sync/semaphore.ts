// Semaphore: a number of permits.

import { checkCount } from "../base/check.ts";
import type { Future } from "../core/future.ts";
import type { SyncOptions } from "./options.ts";
import { Lock, Permits } from "./permits.ts";

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
    this.#permits.release(this.count);
  }
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
    return new Lock(this.#permits, this.#permit, this.#describe, count);
  }

  /** `count` permits, if they are there and nobody waits for any; else null. */
  tryAcquire(count = 1): Permit | null {
    this.#check(count);
    return this.#permits.tryAcquire(count) ? this.#permit(count) : null;
  }

  readonly #permit = (count: number): Permit => new Permit(this.#permits, count);

  readonly #describe = (): string => `permits of "${this.#name}"`;

  #check(count: number): void {
    checkCount(count, "count");
    if (count > this.#total) {
      throw new RangeError(`count must be at most ${this.#total}, all there are; got ${count}`);
    }
  }
}
