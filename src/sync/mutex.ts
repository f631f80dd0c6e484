// Mutex: a value that one task at a time may use.

import type { TaskRef } from "../core/context.ts";
import { currentContextOrNull } from "../core/current.ts";
import type { Future } from "../core/future.ts";
import type { SyncOptions } from "./options.ts";
import { Lock, Permits } from "./permits.ts";

/** The right to use the value, until it is released or disposed. */
export class MutexGuard<T> implements Disposable {
  #mutex: { value: T } | null;
  readonly #release: () => void;

  /** Not for users: `mutex.lock`. */
  constructor(mutex: { value: T }, release: () => void) {
    this.#mutex = mutex;
    this.#release = release;
  }

  /** What the lock is for. To read or to set it throws once the guard was released. */
  get value(): T {
    return this.#held("value").value;
  }

  set value(value: T) {
    this.#held("value").value = value;
  }

  /** Lets the next one in. Throws when it was released before. */
  release(): void {
    this.#held("release");
    this[Symbol.dispose]();
  }

  [Symbol.dispose](): void {
    if (this.#mutex === null) return;
    this.#mutex = null;
    this.#release();
  }

  #held(what: string): { value: T } {
    if (this.#mutex === null) {
      throw new Error(`guard.${what}: this guard was released; lock again`);
    }
    return this.#mutex;
  }
}

/**
 * A value that one task at a time may use; the others wait, first come, first served. (Between two
 * suspensions a task is alone anyway: a mutex is for what must hold across a `yield*` or an `await`.)
 *
 * @example
 * const connection = new Mutex(stream);
 * using guard = yield* connection.lock();
 * yield* guard.value.writeAll("a line that no other task writes into\n");
 */
export class Mutex<T> {
  readonly #state: { value: T };
  readonly #permits: Permits = new Permits(1);
  readonly #name: string;
  /** A task, or words for who it is. */
  #holder: TaskRef | string = "nobody";

  constructor(value: T, options: SyncOptions = {}) {
    this.#state = { value };
    this.#name = options.name ?? "mutex";
  }

  /** Whether somebody holds it, or it is being handed over. */
  get isLocked(): boolean {
    return this.#permits.available === 0;
  }

  /** Waits until it is this one's turn. Cancel safe: dropped, it leaves the queue, or passes the lock on. */
  lock(): Future<MutexGuard<T>> {
    return new Lock(this.#permits, this.#guard, this.#describe);
  }

  /** The guard, if nobody holds it, and nobody waits; else null. */
  tryLock(): MutexGuard<T> | null {
    return this.#permits.tryAcquire(1) ? this.#guard() : null;
  }

  readonly #guard = (): MutexGuard<T> => {
    this.#holder = currentContextOrNull()?.task ?? "code outside a task";
    return new MutexGuard(this.#state, this.#release);
  };

  readonly #release = (): void => {
    this.#holder = "the next in line"; // until that one is polled
    this.#permits.release(1);
  };

  readonly #describe = (): string => `lock "${this.#name}", held by ${this.#holderName()}`;

  #holderName(): string {
    if (typeof this.#holder === "string") return this.#holder;
    const { id, name } = this.#holder;
    return name === `#${id}` ? `task ${id}` : `task ${name}`;
  }
}
