// OnceCell: a value that is initialized once, by the first task that needs it.

import type { Coroutine, Future } from "../core/future.ts";
import { type IntoFuture, intoFuture } from "../core/into-future.ts";
import { Mutex } from "./mutex.ts";
import type { SyncOptions } from "./options.ts";

/**
 * A value that is initialized on first use. If the initialization fails or is cancelled, the next waiting
 * task runs its own.
 *
 * @example
 * const connection = new OnceCell<TcpStream>();
 * const stream = yield* connection.getOrInit(() => TcpStream.connect("127.0.0.1:7000"));
 */
export class OnceCell<T> {
  /** Held by the task that runs `init`. */
  readonly #initLock: Mutex<null>;
  #value: { readonly value: T } | null = null;

  constructor(options: SyncOptions = {}) {
    this.#initLock = new Mutex(null, { name: options.name ?? "once cell" });
  }

  /** Returns the value, or undefined if it is not initialized. */
  get(): T | undefined {
    return this.#value?.value;
  }

  /**
   * Returns the value. If it is not initialized, runs `init`. If another task is initializing it, waits for that task
   * first. Throws what `init` throws. Not reentrant: an `init` that awaits the same cell waits for itself. Cancel safe
   * if `init` is: dropping this future drops `init`, and the next waiting task runs its own.
   */
  getOrInit(init: IntoFuture<T>): Future<T> {
    return intoFuture(this.#getOrInit(init));
  }

  *#getOrInit(init: IntoFuture<T>): Coroutine<T> {
    if (this.#value === null) {
      const guard = yield* this.#initLock.lock();
      try {
        this.#value ??= { value: yield* intoFuture(init) };
      } finally {
        guard.release();
      }
    }
    return this.#value.value;
  }
}
