// Semaphore: limits how many tasks do something at once.

import { checkConstructor, checkCount, outOfRange } from "../base/check.ts";
import { codedError } from "../base/coded-error.ts";
import { inspectableParts } from "../base/inspect.ts";
import type { Future } from "../core/future.ts";
import { SemaphoreClosedError } from "./closed.ts";
import { Held, HeldPermits } from "./holders.ts";
import { nameOf, type SyncOptions } from "./options.ts";
import { Lock } from "./permits.ts";

/** One or more permits of a Semaphore, held until `release` or disposal. `semaphore.acquire()` returns one. */
export class Permit implements Disposable {
  static {
    inspectableParts(Permit, (it) =>
      it.#held.isReleased ? "released" : `${it.count} held by ${it.#held.holder}`,
    );
  }

  /** How many permits of the semaphore this object holds. */
  readonly count: number;
  readonly #held: Held;

  private constructor(held: Held) {
    checkConstructor(held, Held, "Permit", "semaphore.acquire()");
    this.#held = held;
    this.count = held.count;
  }

  /** @internal */
  static create(held: Held): Permit {
    return new Permit(held);
  }

  /** Returns the permits to the semaphore. Throws Error if they were already released or forgotten. */
  release(): void {
    this.#check("release");
    this.#held.release();
  }

  /**
   * Ends this object without returning the permits: the semaphore has fewer from now on. Throws Error if the permits
   * were already released or forgotten.
   *
   * @example
   * const connections = new Semaphore(10);
   * const permit = yield* connections.acquire(4);
   * permit.forget(); // from now on there are six
   */
  forget(): void {
    this.#check("forget");
    this.#held.forget();
  }

  /** Does the same as `release`, but is idempotent, and does nothing after `forget`. */
  [Symbol.dispose](): void {
    this.#held.release();
  }

  #check(member: string): void {
    if (!this.#held.isReleased) return;
    const message = `permit.${member}: this permit was already released or forgotten; acquire another`;
    throw codedError("ERR_GUARD_RELEASED", message);
  }
}

/**
 * A number of permits, granted first come, first served: a task that needs many permits is not overtaken by tasks that
 * need few. With 0 permits, tasks wait until `addPermits`. Throws RangeError unless `permits` is an integer >= 0, and
 * TypeError when an option is bad.
 *
 * @example
 * const connections = new Semaphore(10);
 * using permit = yield* connections.acquire();
 */
export class Semaphore {
  static {
    inspectableParts(
      Semaphore,
      (it) =>
        `"${it.#name}", ${it.isClosed ? "closed" : `${it.available} available`}, held by ${it.#permits.describeHolders()}`,
    );
  }

  readonly #permits: HeldPermits;
  readonly #name: string;

  constructor(permits: number, options: SyncOptions = {}) {
    checkCount(permits, "Semaphore: permits", 0);
    this.#name = nameOf(options, "Semaphore", "semaphore");
    this.#permits = new HeldPermits(permits);
  }

  /** How many permits are available. A permit that was granted to a waiting task does not count. */
  get available(): number {
    return this.#permits.available;
  }

  /** True once `close` was called. */
  get isClosed(): boolean {
    return this.#permits.closed !== null;
  }

  /**
   * Waits for `count` permits; first come, first served. Returns a Permit that holds them. If the semaphore never has
   * that many, it waits for `addPermits`. Throws RangeError unless `count` is a positive integer, and
   * SemaphoreClosedError once the semaphore is closed. Cancel safe: a dropped wait leaves the queue, or passes
   * permits it was already granted to the next task.
   */
  acquire(count = 1): Future<Permit> {
    checkCount(count, "acquire: count");
    return new Lock(this.#permits, this.#createPermit, this.#describe, count);
  }

  /**
   * Returns a Permit that holds `count` permits if they are available and no task waits; else null. Throws RangeError
   * unless `count` is a positive integer, and SemaphoreClosedError once the semaphore is closed.
   */
  tryAcquire(count = 1): Permit | null {
    checkCount(count, "tryAcquire: count");
    const { closed } = this.#permits;
    if (closed !== null) throw closed;
    return this.#permits.tryAcquire(count) ? this.#createPermit(count) : null;
  }

  /**
   * Adds `count` permits, which go to the waiting tasks first. Throws RangeError unless `count` is a positive integer,
   * or when more than 2^53 - 1 permits would be available.
   *
   * @example
   * const ready = new Semaphore(0);
   * spawn(async () => ready.addPermits(2));
   * yield* ready.acquire();
   */
  addPermits(count: number): void {
    checkCount(count, "addPermits: count");
    const { available } = this.#permits;
    if (!Number.isSafeInteger(available + count)) {
      throw outOfRange(
        `addPermits: count must be at most ${Number.MAX_SAFE_INTEGER - available}, so that the permits can be counted; got ${count}`,
      );
    }
    this.#permits.release(count);
  }

  /**
   * Closes the semaphore: waiting and later acquires throw SemaphoreClosedError. Permits that are held stay valid, and
   * so do those that a waiting task was granted before: that task still receives them. Idempotent.
   *
   * @example
   * const jobs = new Semaphore(1);
   * jobs.close(); // no job may start any more
   */
  close(): void {
    this.#permits.close(new SemaphoreClosedError(`semaphore "${this.#name}" is closed`));
  }

  readonly #createPermit = (count: number): Permit => Permit.create(this.#permits.hold(count));

  readonly #describe = (): string =>
    `permits of "${this.#name}", held by ${this.#permits.describeHolders()}`;
}
