// RwLock: a value that many tasks may read at once, or one task may write.

import type { Future } from "../core/future.ts";
import { MutexGuard } from "./mutex.ts";
import type { SyncOptions } from "./options.ts";
import { Lock, Permits } from "./permits.ts";

/**
 * All permits of the lock. A reader needs one, a writer needs all. Permits are first come, first served. So a writer
 * waits for the readers before it, and the readers after it wait for the writer.
 */
const ALL = 0x7fffffff;

/** Shared access to the value of an RwLock, until the guard is released or disposed. */
export class ReadGuard<T> implements Disposable {
  readonly #guard: MutexGuard<T>;

  /** Not for users: call `lock.read()`. */
  constructor(guard: MutexGuard<T>) {
    this.#guard = guard;
  }

  /** The protected value. Reading it throws Error once the guard is released. */
  get value(): T {
    return this.#guard.value;
  }

  /** Ends this access. Throws Error if the guard was already released. */
  release(): void {
    this.#guard.release();
  }

  /** Does the same as `release`, but is idempotent. */
  [Symbol.dispose](): void {
    this.#guard[Symbol.dispose]();
  }
}

/** Exclusive access to the value of an RwLock, until the guard is released or disposed. */
export class WriteGuard<T> extends MutexGuard<T> {}

/**
 * Protects a value that many tasks may read at once, or one may write. Access is first come, first served, so a
 * stream of readers cannot starve a writer.
 *
 * @example
 * const table = new RwLock(new Map<string, number>());
 * using reading = yield* table.read();
 */
export class RwLock<T> {
  readonly #state: { value: T };
  readonly #permits: Permits = new Permits(ALL);
  readonly #name: string;

  constructor(value: T, options: SyncOptions = {}) {
    this.#state = { value };
    this.#name = options.name ?? "rw lock";
  }

  /**
   * Waits until no writer holds the lock or came earlier. Returns the guard. Cancel safe: a dropped wait leaves the
   * queue.
   */
  read(): Future<ReadGuard<T>> {
    return new Lock(this.#permits, this.#createReadGuard, () => `read "${this.#name}"`);
  }

  /**
   * Waits until no reader or writer holds the lock or came earlier. Returns the guard. Cancel safe: a dropped wait
   * leaves the queue.
   */
  write(): Future<WriteGuard<T>> {
    return new Lock(this.#permits, this.#createWriteGuard, () => `write "${this.#name}"`, ALL);
  }

  /** Returns a guard if no writer holds the lock and no task waits for it; else null. */
  tryRead(): ReadGuard<T> | null {
    return this.#permits.tryAcquire(1) ? this.#createReadGuard() : null;
  }

  /** Returns the guard if no task holds the lock or waits for it; else null. */
  tryWrite(): WriteGuard<T> | null {
    return this.#permits.tryAcquire(ALL) ? this.#createWriteGuard() : null;
  }

  readonly #createReadGuard = (): ReadGuard<T> =>
    new ReadGuard(new MutexGuard(this.#state, () => this.#permits.release(1)));

  readonly #createWriteGuard = (): WriteGuard<T> =>
    new WriteGuard(this.#state, () => this.#permits.release(ALL));
}
