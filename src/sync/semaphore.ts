// Semaphore: limits how many tasks do something at once.

import { checkCount } from "../base/check.ts";
import type { Future } from "../core/future.ts";
import type { SyncOptions } from "./options.ts";
import { Lock, Permits } from "./permits.ts";

/** One or more permits of a Semaphore, held until `release` or disposal. */
export class Permit implements Disposable {
  /** How many permits of the semaphore this object holds. */
  readonly count: number;
  readonly #permits: Permits;
  #isReleased = false;

  /** Not for users: call `semaphore.acquire()`. */
  constructor(permits: Permits, count: number) {
    this.#permits = permits;
    this.count = count;
  }

  /** Returns the permits to the semaphore. Throws Error if they were already released. */
  release(): void {
    if (this.#isReleased) throw new Error("permit.release: this permit was already released");
    this[Symbol.dispose]();
  }

  /** Does the same as `release`, but is idempotent. */
  [Symbol.dispose](): void {
    if (this.#isReleased) return;
    this.#isReleased = true;
    this.#permits.release(this.count);
  }
}

/**
 * A fixed number of permits, granted first come, first served: a task that needs many permits is not overtaken by
 * tasks that need few. Throws RangeError unless `permits` is a positive integer.
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
    checkCount(permits, "Semaphore: permits");
    this.#total = permits;
    this.#permits = new Permits(permits);
    this.#name = options.name ?? "semaphore";
  }

  /** How many permits are available. A permit that was granted to a waiting task does not count. */
  get available(): number {
    return this.#permits.available;
  }

  /**
   * Waits for `count` permits; first come, first served. Returns a Permit that holds them. Throws RangeError unless
   * `count` is an integer from 1 to the semaphore's total. Cancel safe: a dropped wait leaves the queue, or passes
   * permits it was already granted to the next task.
   */
  acquire(count = 1): Future<Permit> {
    this.#checkCount(count, "acquire");
    return new Lock(this.#permits, this.#createPermit, this.#describe, count);
  }

  /**
   * Returns a Permit that holds `count` permits if they are available and no task waits; else null. Throws RangeError
   * unless `count` is an integer from 1 to the semaphore's total.
   */
  tryAcquire(count = 1): Permit | null {
    this.#checkCount(count, "tryAcquire");
    return this.#permits.tryAcquire(count) ? this.#createPermit(count) : null;
  }

  readonly #createPermit = (count: number): Permit => new Permit(this.#permits, count);

  readonly #describe = (): string => `permits of "${this.#name}"`;

  #checkCount(count: number, method: string): void {
    checkCount(count, `${method}: count`);
    if (count > this.#total) {
      throw new RangeError(
        `${method}: count must be at most ${this.#total}, the semaphore's total; got ${count}`,
      );
    }
  }
}
