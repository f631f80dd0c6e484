// Mutex: a value that one task at a time may use.

import type { TaskRef } from "../core/context.ts";
import { currentContextOrNull } from "../core/current.ts";
import type { Future } from "../core/future.ts";
import type { SyncOptions } from "./options.ts";
import { Lock, Permits } from "./permits.ts";

/** Exclusive access to the value of a Mutex, until the guard is released or disposed. */
export class MutexGuard<T> implements Disposable {
  /** null once released. */
  #state: { value: T } | null;
  readonly #onRelease: () => void;

  /** Not for users: call `mutex.lock()`. */
  constructor(state: { value: T }, onRelease: () => void) {
    this.#state = state;
    this.#onRelease = onRelease;
  }

  /** The protected value. Reading or setting it throws Error once the guard is released. */
  get value(): T {
    return this.#stateFor("value").value;
  }

  set value(value: T) {
    this.#stateFor("value").value = value;
  }

  /** Unlocks the value for the next waiting task. Throws Error if the guard was already released. */
  release(): void {
    this.#stateFor("release");
    this[Symbol.dispose]();
  }

  /** Does the same as `release`, but is idempotent. */
  [Symbol.dispose](): void {
    if (this.#state === null) return;
    this.#state = null;
    this.#onRelease();
  }

  /** Returns the state for the use of `member`. Throws if the guard is released. */
  #stateFor(member: string): { value: T } {
    if (this.#state === null) {
      throw new Error(`guard.${member}: this guard was already released; lock again`);
    }
    return this.#state;
  }
}

/**
 * Protects a value that one task at a time may use; other tasks wait, first come, first served. Other tasks run
 * only while a task is suspended, so only state that must stay consistent across a `yield*` or `await` needs a mutex.
 *
 * @example
 * const connection = new Mutex(stream);
 * using guard = yield* connection.lock();
 * yield* guard.value.writeAll("no other task writes into this line\n");
 */
export class Mutex<T> {
  readonly #state: { value: T };
  readonly #permits: Permits = new Permits(1);
  readonly #name: string;
  /** The task that holds the lock, or a phrase for another holder. For diagnostics. */
  #holder: TaskRef | string = "no task";

  constructor(value: T, options: SyncOptions = {}) {
    this.#state = { value };
    this.#name = options.name ?? "mutex";
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

  readonly #createGuard = (): MutexGuard<T> => {
    this.#holder = currentContextOrNull()?.task ?? "code outside a task";
    return new MutexGuard(this.#state, this.#release);
  };

  readonly #release = (): void => {
    this.#holder = "the next in line"; // until the next waiting task is polled
    this.#permits.release(1);
  };

  readonly #describe = (): string => `lock "${this.#name}", held by ${this.#holderName()}`;

  #holderName(): string {
    if (typeof this.#holder === "string") return this.#holder;
    const { id, name } = this.#holder;
    return name === `#${id}` ? `task ${id}` : `task ${name}`;
  }
}
