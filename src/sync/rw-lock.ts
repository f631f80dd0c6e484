// RwLock: a value that many tasks may read at once, or one may change.

import type { Future } from "../core/future.ts";
import { MutexGuard } from "./mutex.ts";
import type { SyncOptions } from "./options.ts";
import { Lock, Permits } from "./permits.ts";

/**
 * A reader needs one permit. A writer needs all, so it waits for the readers, and those after it wait for
 * the writer.
 */
const ALL = 0x7fffffff;

/** The right to read the value, until it is released or disposed. */
export class ReadGuard<T> implements Disposable {
  readonly #guard: MutexGuard<T>;

  /** Not for users: `lock.read`. */
  constructor(guard: MutexGuard<T>) {
    this.#guard = guard;
  }

  /** What the lock is for. To read it throws once the guard was released. */
  get value(): T {
    return this.#guard.value;
  }

  /** Throws when it was released before. */
  release(): void {
    this.#guard.release();
  }

  [Symbol.dispose](): void {
    this.#guard[Symbol.dispose]();
  }
}

/** The right to read and change the value, until it is released or disposed. */
export class WriteGuard<T> extends MutexGuard<T> {}

/**
 * A value that many tasks may read at once, or one may change. First come, first served: a stream of
 * readers does not keep a writer out.
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

  /** Waits until no writer holds it, or has waited longer. Cancel safe. */
  read(): Future<ReadGuard<T>> {
    return new Lock(this.#permits, this.#readGuard, () => `read "${this.#name}"`);
  }

  /** Waits until nobody holds it. Cancel safe. */
  write(): Future<WriteGuard<T>> {
    return new Lock(this.#permits, this.#writeGuard, () => `write "${this.#name}"`, ALL);
  }

  /** A guard, if no writer holds it, and nobody waits; else null. */
  tryRead(): ReadGuard<T> | null {
    return this.#permits.tryAcquire(1) ? this.#readGuard() : null;
  }

  /** The guard, if nobody holds it, and nobody waits; else null. */
  tryWrite(): WriteGuard<T> | null {
    return this.#permits.tryAcquire(ALL) ? this.#writeGuard() : null;
  }

  readonly #readGuard = (): ReadGuard<T> =>
    new ReadGuard(new MutexGuard(this.#state, () => this.#permits.release(1)));

  readonly #writeGuard = (): WriteGuard<T> =>
    new WriteGuard(this.#state, () => this.#permits.release(ALL));
}
