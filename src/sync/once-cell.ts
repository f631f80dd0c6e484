// OnceCell: a value that is initialized once, by the first task that needs it.

import { inspectableParts, lineOf } from "../base/inspect.ts";
import type { Coroutine, Future } from "../core/future.ts";
import { type IntoFuture, intoFuture, toFuture } from "../core/into-future.ts";
import { Mutex } from "./mutex.ts";
import { nameOf, type SyncOptions } from "./options.ts";

/**
 * A value that is initialized on first use. If the initialization fails or is cancelled, the next waiting
 * task runs its own. Throws TypeError when an option is bad.
 *
 * @example
 * const connection = new OnceCell<TcpStream>();
 * const stream = yield* connection.getOrInit(() => TcpStream.connect("127.0.0.1:7000"));
 */
export class OnceCell<T> {
  static {
    inspectableParts<OnceCell<unknown>>(
      OnceCell,
      (it) => `${it.#value === null ? "not initialized" : "initialized"}, ${lineOf(it.#initLock)}`,
    );
  }

  /** Held by the task that runs `init`. */
  readonly #initLock: Mutex<null>;
  #value: { readonly value: T } | null = null;

  constructor(options: SyncOptions = {}) {
    this.#initLock = new Mutex(null, { name: nameOf(options, "OnceCell", "once cell") });
  }

  /** Returns the value, or undefined if it is not initialized. */
  get(): T | undefined {
    return this.#value?.value;
  }

  /**
   * Returns the value. If it is not initialized, runs `init`. If another task is initializing it, waits for that task
   * first. Throws what `init` throws, and TypeError when `init` is not work and the cell is not initialized. Cancel safe
   * if `init` is: dropping this future drops `init`, and the next waiting task runs its own.
   *
   * Not reentrant: an `init` that awaits `getOrInit` of the same cell, or a task that does, waits for itself. In
   * `blockOn` that is a DeadlockError that names the cell and the task; a guest waits indefinitely. Cells that
   * initialize each other in a circle do the same.
   */
  getOrInit(init: IntoFuture<T>): Future<T> {
    // Its wait handles a rejection from now on, also if this cell never polls one.
    if (init instanceof Promise) intoFuture(init).drop();
    return intoFuture(this.#getOrInit(init));
  }

  *#getOrInit(init: IntoFuture<T>): Coroutine<T> {
    if (this.#value === null) {
      const guard = yield* this.#initLock.lock();
      try {
        this.#value ??= { value: yield* toFuture(init, "getOrInit: init") };
      } finally {
        guard.release();
      }
    }
    return this.#value.value;
  }
}
