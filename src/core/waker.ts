// Waker: what a pending future stores. The awaited event calls it, and the future is polled again.

import { checkConstructor, invalidType } from "../base/check.ts";
import { codedError } from "../base/coded-error.ts";
import { describe } from "../base/describe.ts";
import { inspectableParts } from "../base/inspect.ts";
import { host } from "./host.ts";
import { type WakeFd, type WakerHandle, WakeTarget } from "./wake-target.ts";

/**
 * Wakes one future: the runtime polls it again. Wakes before that poll coalesce. A wake after the future has ended
 * does nothing. `wake` and `drop` consume the waker: any later use throws Error.
 *
 * An owned waker holds a reference count on the future's eventfd, if there is one. `cx.waker` is lent: it is
 * valid as long as the future. `clone()` it to own one.
 *
 * @example
 * class Gate extends Future<void> {
 *   isOpen = false;
 *   waker: Waker | null = null;
 *   open() { this.isOpen = true; this.waker?.wake(); this.waker = null; }
 *   override poll(cx: Context): Poll<void> {
 *     if (this.isOpen) return;
 *     this.waker?.drop();
 *     this.waker = cx.waker.clone(); // the latest poll's waker is the one to call
 *     return Pending;
 *   }
 *   override drop() { this.waker?.drop(); this.waker = null; }
 * }
 */
export class Waker implements Disposable {
  static {
    inspectableParts(Waker, (it) => (it.isConsumed ? "consumed" : it.#isLent ? "lent" : "owned"));
  }

  /** What this waker wakes; null once it is consumed. */
  #target: WakeTarget | null;
  /** The eventfd on which this waker holds a count; null if it holds none. A lent waker of a poll never does. */
  #counted: WakeFd | null = null;
  readonly #isLent: boolean;

  private constructor(target: WakeTarget, isLent = false) {
    checkConstructor(target, WakeTarget, "Waker", "cx.waker.clone()");
    this.#target = target;
    this.#isLent = isLent;
    if (!isLent && target.wakeFd !== null) {
      this.#counted = target.wakeFd;
      this.#counted.retain();
    }
  }

  /** @internal */
  static create(target: WakeTarget, isLent = false): Waker {
    return new Waker(target, isLent);
  }

  /** True after `wake` or `drop`. */
  get isConsumed(): boolean {
    return this.#target === null;
  }

  /** Wakes the future and drops this waker. */
  wake(): void {
    this.#targetFor("wake").wake();
    this.drop();
  }

  /** Wakes the future. This waker stays usable. */
  wakeByRef(): void {
    this.#targetFor("wakeByRef").wake();
  }

  /** Returns an owned waker of the same future, with a reference count of its own. */
  clone(): Waker {
    const waker = Waker.create(this.#targetFor("clone"));
    // The future may have ended and released its eventfd; this waker still holds it.
    if (waker.#counted === null && this.#counted !== null) {
      waker.#counted = this.#counted;
      waker.#counted.retain();
    }
    return waker;
  }

  /** Consumes this waker without waking, and releases its reference count. A second `drop` throws Error. */
  drop(): void {
    this.#targetFor("drop");
    this.#target = null;
    const counted = this.#counted;
    this.#counted = null;
    counted?.release();
  }

  /** Drops this waker unless it is already consumed. */
  [Symbol.dispose](): void {
    if (this.#target !== null) this.drop();
  }

  /** True when both wake the same future. */
  willWake(other: Waker): boolean {
    if (!(other instanceof Waker)) {
      throw invalidType(`Waker.willWake: other must be a Waker; got ${describe(other)}`);
    }
    return this.#targetFor("willWake") === other.#targetFor("willWake");
  }

  /**
   * The number of the future's eventfd. Any thread or process that writes 8 bytes to it (a u64 above zero,
   * in native byte order) wakes exactly this future. The number is borrowed: use it while the future lives
   * or while you hold an owned waker. Throws Error once the future has ended, SysError when the process is out of fds.
   * See eventfd(2).
   */
  get fd(): number {
    const wakeFd = this.#openFd("fd");
    wakeFd.expose();
    return wakeFd.fd;
  }

  /**
   * Returns a handle for another thread: post it to a Worker, and pass it to `Waker.fromHandle` there. The handle
   * holds a reference count, which the first waker created from it takes over. Throws the errors of `fd`.
   */
  toHandle(): WakerHandle {
    return this.#openFd("toHandle").toHandle();
  }

  /**
   * Creates a waker from the handle of another thread. Drop the waker when it is no longer needed. Throws TypeError
   * when `handle` is not a handle, Error when all wakers of the handle were dropped.
   */
  static fromHandle(handle: WakerHandle): Waker {
    if (!(handle?.shared instanceof Int32Array && handle.claim instanceof Int32Array)) {
      throw invalidType(
        `Waker.fromHandle: handle must come from waker.toHandle(); got ${describe(handle)}`,
      );
    }
    const target = host.openWakerHandle(handle);
    const waker = Waker.create(target, true);
    waker.#counted = target.wakeFd; // opening the handle has counted this waker
    return waker;
  }

  #openFd(operation: string): WakeFd {
    const wakeFd = this.#targetFor(operation).openWakeFd();
    if (!this.#isLent && this.#counted === null) {
      this.#counted = wakeFd;
      wakeFd.retain();
    }
    return wakeFd;
  }

  /** Returns the target. Throws Error, naming `operation`, once this waker is consumed. */
  #targetFor(operation: string): WakeTarget {
    if (this.#target === null) {
      throw codedError(
        "ERR_WAKER_CONSUMED",
        `Waker.${operation}: this waker was consumed by wake() or drop(); clone() it before that to keep one`,
      );
    }
    return this.#target;
  }
}
