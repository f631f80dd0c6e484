// RwLock: a value that many tasks may read at once, or one task may write.

import { inspectableParts } from "../base/inspect.ts";
import type { Future } from "../core/future.ts";
import { ExclusiveGuard, Guard } from "./guard.ts";
import { type Held, HeldPermits } from "./holders.ts";
import { nameOf, type SyncOptions } from "./options.ts";
import { Lock } from "./permits.ts";

/**
 * All permits of the lock. A reader needs one, a writer needs all. Permits are first come, first served. So a writer
 * waits for the readers before it, and the readers after it wait for the writer.
 */
const ALL = 0x7fffffff;

/** Shared access to the value of an RwLock, until the guard is released or disposed. `lock.read()` returns one. */
export class ReadGuard<T> extends Guard<T> {
  private constructor(state: { value: T }, held: Held) {
    super(state, held, "lock.read()");
  }

  /** @internal */
  static create<T>(state: { value: T }, held: Held): ReadGuard<T> {
    return new ReadGuard(state, held);
  }
}

/** Exclusive access to the value of an RwLock, until the guard is released or disposed. `lock.write()` returns one. */
export class WriteGuard<T> extends ExclusiveGuard<T> {
  private constructor(state: { value: T }, held: Held) {
    super(state, held, "lock.write()");
  }

  /** @internal */
  static create<T>(state: { value: T }, held: Held): WriteGuard<T> {
    return new WriteGuard(state, held);
  }

  /**
   * Turns exclusive access into shared access, without letting another writer in between. Returns the new guard; this
   * one counts as released. Waiting readers up to the next waiting writer get access, too. Throws Error if the guard
   * was already released.
   *
   * @example
   * const table = new RwLock(new Map<string, number>());
   * const writing = yield* table.write();
   * writing.value.set("a", 1);
   * using reading = writing.downgrade();
   * console.log(reading.value.get("a")); // 1
   */
  downgrade(): ReadGuard<T> {
    const held = this.heldFor("downgrade");
    return ReadGuard.create(this.stateFor("downgrade"), held.keep(1));
  }
}

/**
 * Protects a value that many tasks may read at once, or one may write. Access is first come, first served, so a
 * stream of readers cannot starve a writer. Throws TypeError when an option is bad.
 *
 * @example
 * const table = new RwLock(new Map<string, number>());
 * using reading = yield* table.read();
 */
export class RwLock<T> {
  static {
    inspectableParts<RwLock<unknown>>(
      RwLock,
      (it) => `"${it.#name}", held by ${it.#permits.describeHolders()}`,
    );
  }

  readonly #state: { value: T };
  readonly #permits: HeldPermits = new HeldPermits(ALL);
  readonly #name: string;

  constructor(value: T, options: SyncOptions = {}) {
    this.#name = nameOf(options, "RwLock", "rw lock");
    this.#state = { value };
  }

  /**
   * Waits until no writer holds the lock or came earlier. Returns the guard. Cancel safe: a dropped wait leaves the
   * queue.
   */
  read(): Future<ReadGuard<T>> {
    return new Lock(this.#permits, this.#createReadGuard, () => this.#describe("read"));
  }

  /**
   * Waits until no reader or writer holds the lock or came earlier. Returns the guard. Cancel safe: a dropped wait
   * leaves the queue.
   */
  write(): Future<WriteGuard<T>> {
    return new Lock(this.#permits, this.#createWriteGuard, () => this.#describe("write"), ALL);
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
    ReadGuard.create(this.#state, this.#permits.hold(1));

  readonly #createWriteGuard = (): WriteGuard<T> =>
    WriteGuard.create(this.#state, this.#permits.hold(ALL));

  #describe(access: string): string {
    return `${access} "${this.#name}", held by ${this.#permits.describeHolders()}`;
  }
}
