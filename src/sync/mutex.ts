// Mutex: a value that one task at a time may use.

import { inspectableParts } from "../base/inspect.ts";
import type { Future } from "../core/future.ts";
import { ExclusiveGuard } from "./guard.ts";
import { type Held, HeldPermits } from "./holders.ts";
import { nameOf, type SyncOptions } from "./options.ts";
import { Lock } from "./permits.ts";

/** Exclusive access to the value of a Mutex, until the guard is released or disposed. `mutex.lock()` returns one. */
export class MutexGuard<T> extends ExclusiveGuard<T> {
  private constructor(state: { value: T }, held: Held) {
    super(state, held, "mutex.lock()");
  }

  /** @internal */
  static create<T>(state: { value: T }, held: Held): MutexGuard<T> {
    return new MutexGuard(state, held);
  }
}

/**
 * Protects a value that one task at a time may use; other tasks wait, first come, first served. Other tasks run
 * only while a task is suspended, so only state that must stay consistent across a `yield*` or `await` needs a mutex.
 * Throws TypeError when an option is bad.
 *
 * @example
 * const connection = new Mutex(stream);
 * using guard = yield* connection.lock();
 * yield* guard.value.writeAll("no other task writes into this line\n");
 */
export class Mutex<T> {
  static {
    inspectableParts<Mutex<unknown>>(
      Mutex,
      (it) => `"${it.#name}", held by ${it.#permits.describeHolders()}`,
    );
  }

  readonly #state: { value: T };
  readonly #permits: HeldPermits = new HeldPermits(1);
  readonly #name: string;

  constructor(value: T, options: SyncOptions = {}) {
    this.#name = nameOf(options, "Mutex", "mutex");
    this.#state = { value };
  }

  /** True while a guard exists, or the lock is being handed to the next waiting task. */
  get isLocked(): boolean {
    return this.#permits.available === 0;
  }

  /**
   * Waits for exclusive access; first come, first served. Returns the guard. Not reentrant: a task that locks twice
   * waits for itself. Cancel safe: a dropped wait leaves the queue, or passes a lock it was already granted to the
   * next task.
   */
  lock(): Future<MutexGuard<T>> {
    return new Lock(this.#permits, this.#createGuard, this.#describe);
  }

  /** Returns the guard if the mutex is unlocked and no task waits for it; else null. */
  tryLock(): MutexGuard<T> | null {
    return this.#permits.tryAcquire(1) ? this.#createGuard() : null;
  }

  readonly #createGuard = (): MutexGuard<T> =>
    MutexGuard.create(this.#state, this.#permits.hold(1));

  readonly #describe = (): string =>
    `lock "${this.#name}", held by ${this.#permits.describeHolders()}`;
}
