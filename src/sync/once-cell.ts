// OnceCell: a value that is made once, by the first who asks.

import type { Coroutine, Future } from "../core/future.ts";
import { type IntoFuture, intoFuture } from "../core/into-future.ts";
import { Mutex } from "./mutex.ts";
import type { SyncOptions } from "./options.ts";

/**
 * A value that is made when first asked for. If making it fails, or is cancelled, the next who waits
 * tries.
 *
 * @example
 * const connection = new OnceCell<TcpStream>();
 * const stream = yield* connection.getOrInit(() => TcpStream.connect("127.0.0.1:7000"));
 */
export class OnceCell<T> {
  /** Held by who makes it. */
  readonly #made: Mutex<null>;
  #value: { readonly value: T } | null = null;

  constructor(options: SyncOptions = {}) {
    this.#made = new Mutex(null, { name: options.name ?? "once cell" });
  }

  /** The value, if it was made; else undefined. */
  get(): T | undefined {
    return this.#value?.value;
  }

  /**
   * The value; made by `init`, unless it was made, or is being made. Throws what `init` throws. Cancel
   * safe if `init` is: dropped, it drops `init`, and the next who asks begins anew.
   */
  getOrInit(init: IntoFuture<T>): Future<T> {
    return intoFuture(this.#getOrInit(init));
  }

  *#getOrInit(init: IntoFuture<T>): Coroutine<T> {
    if (this.#value === null) {
      const guard = yield* this.#made.lock();
      try {
        this.#value ??= { value: yield* intoFuture(init) };
      } finally {
        guard.release();
      }
    }
    return this.#value.value;
  }
}
