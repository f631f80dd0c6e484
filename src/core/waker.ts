// Waker: what a pending future keeps, and calls when it can continue.

import { describe } from "../base/describe.ts";
import { host } from "./host.ts";
import type { WakeFd, WakerHandle, WakeTarget } from "./wake-target.ts";

/**
 * Wakes one future: the future is polled again, once, however often it was woken before that poll.
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
  /** null once consumed. */
  #target: WakeTarget | null;
  /** The eventfd on which this waker holds a count. A lent waker holds none; its task does. */
  #counted: WakeFd | null = null;
  readonly #isLent: boolean;

  constructor(target: WakeTarget, isLent = false) {
    this.#target = target;
    this.#isLent = isLent;
    if (!isLent && target.wakeFd !== null) {
      this.#counted = target.wakeFd;
      this.#counted.retain();
    }
  }

  /** True after `wake` or `drop`. */
  get isConsumed(): boolean {
    return this.#target === null;
  }

  /** Wakes the future and drops this waker. */
  wake(): void {
    this.#live("wake").wake();
    this.drop();
  }

  /** Wakes the future. This waker stays usable. */
  wakeByRef(): void {
    this.#live("wakeByRef").wake();
  }

  /** Returns another waker of the same future, with a count of its own. */
  clone(): Waker {
    const waker = new Waker(this.#live("clone"));
    // The future may have ended and released its eventfd; this waker still holds it.
    if (waker.#counted === null && this.#counted !== null) {
      waker.#counted = this.#counted;
      waker.#counted.retain();
    }
    return waker;
  }

  /** Releases the reference count. A second `drop` throws, like any use of a consumed waker. */
  drop(): void {
    this.#live("drop");
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
    return this.#live("willWake") === other.#live("willWake");
  }

  /**
   * The number of the future's eventfd. Any thread or process that writes 8 bytes to it (a u64 above zero,
   * in native byte order) wakes exactly this future. The number is borrowed: use it while the future lives
   * or this waker is held. See eventfd(2).
   */
  get fd(): number {
    const wakeFd = this.#openFd("fd");
    wakeFd.expose();
    return wakeFd.fd;
  }

  /**
   * Returns a handle for another thread: post it to a Worker, and pass it to `Waker.fromHandle` there. The
   * handle holds a count until then; the waker created from it takes the count over and holds it until it is
   * dropped. A wake after the future has ended does nothing.
   */
  toHandle(): WakerHandle {
    return this.#openFd("toHandle").toHandle();
  }

  /**
   * Creates the waker of a handle from another thread. Drop it when it is no longer needed. Throws TypeError
   * when `handle` is not a handle, Error when the waker has been dropped everywhere meanwhile.
   */
  static fromHandle(handle: WakerHandle): Waker {
    if (!(handle?.shared instanceof Int32Array && handle.claim instanceof Int32Array)) {
      throw new TypeError(
        `Waker.fromHandle: handle must come from waker.toHandle(); got ${describe(handle)}`,
      );
    }
    const target = host.openWakerHandle(handle);
    const waker = new Waker(target, true);
    waker.#counted = target.wakeFd; // the handle's count is this waker's now
    return waker;
  }

  #openFd(operation: string): WakeFd {
    const wakeFd = this.#live(operation).openWakeFd();
    if (!this.#isLent && this.#counted === null) {
      this.#counted = wakeFd;
      wakeFd.retain();
    }
    return wakeFd;
  }

  #live(operation: string): WakeTarget {
    if (this.#target === null) {
      throw new Error(
        `Waker.${operation}: this waker was consumed by wake() or drop(); clone() it before that to keep one`,
      );
    }
    return this.#target;
  }
}
