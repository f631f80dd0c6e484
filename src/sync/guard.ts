// The guards of Mutex and RwLock.

import { checkConstructor } from "../base/check.ts";
import { codedError } from "../base/coded-error.ts";
import { inspectableParts } from "../base/inspect.ts";
import { Held } from "./holders.ts";

/** Access to the value of a lock, until the guard is released or disposed. */
export abstract class Guard<T> implements Disposable {
  static {
    inspectableParts<Guard<unknown>>(Guard, (it) =>
      it.#held.isReleased ? "released" : `held by ${it.#held.holder}`,
    );
  }

  readonly #state: { value: T };
  readonly #held: Held;

  /** @internal */
  constructor(state: { value: T }, held: Held, instead: string) {
    checkConstructor(held, Held, new.target.name, instead);
    this.#state = state;
    this.#held = held;
  }

  /** The protected value. Reading it throws Error once the guard is released. */
  get value(): T {
    return this.stateFor("value").value;
  }

  /** Ends this access, and lets the next waiting task in. Throws Error if the guard was already released. */
  release(): void {
    this.stateFor("release");
    this.#held.release();
  }

  /** Does the same as `release`, but is idempotent. */
  [Symbol.dispose](): void {
    this.#held.release();
  }

  /** @internal Returns the state for the use of `member`. Throws Error if the guard is released. */
  protected stateFor(member: string): { value: T } {
    this.heldFor(member);
    return this.#state;
  }

  /** @internal Returns the permits of the guard for the use of `member`. Throws Error if the guard is released. */
  protected heldFor(member: string): Held {
    if (this.#held.isReleased) {
      const message = `guard.${member}: this guard was already released; lock again`;
      throw codedError("ERR_GUARD_RELEASED", message);
    }
    return this.#held;
  }
}

/** Access that no other task shares, so it may replace the value. */
export abstract class ExclusiveGuard<T> extends Guard<T> {
  /** The protected value. Reading or setting it throws Error once the guard is released. */
  override get value(): T {
    return super.value;
  }

  override set value(value: T) {
    this.stateFor("value").value = value;
  }
}
