// Waker: what a pending future keeps, and calls when it can go on.
// It knows the target it wakes and the eventfd behind it by interface only; runtime/ makes both.

import { describe } from "../base/describe.ts";

/** An eventfd with a count of its owners; the last `release` closes it. */
export interface WakeFd {
  readonly fd: number;
  retain(): void;
  release(): void;
  /** Its number was given out: from here on anyone may write to it. */
  expose(): void;
  /** A handle with a count of its own, for another thread. */
  toHandle(): WakerHandle;
}

/** A waker on its way to another thread: plain data, for postMessage. See `waker.toHandle()`. */
export interface WakerHandle {
  readonly fd: number;
  /** The lock, the count and more, shared by all who hold the eventfd: runtime/threads/waker-handle.ts. */
  readonly words: Int32Array;
  /** Whether somebody has taken over the count that this handle carries. */
  readonly claim: Int32Array;
  /** The runtime's doorbell: who lets go of the waker rings it. */
  readonly bell: { readonly fd: number; readonly lock: BigInt64Array };
}

/** How a handle becomes a target again; runtime/threads/waker-handle.ts sets it. */
export const handles: { open: ((handle: WakerHandle) => WakeTarget & { wakeFd: WakeFd }) | null } =
  { open: null };

/**
 * What a waker wakes: a task, or one child of a combinator.
 * `wake` only queues: it never polls, never throws, and is harmless after the target has ended.
 */
export abstract class WakeTarget {
  /** Made when first asked for (or, in eager mode, with the task); null before, and after the end. */
  wakeFd: WakeFd | null = null;
  abstract wake(): void;
  /** Makes `wakeFd` if there is none. Throws when the target has ended. */
  abstract openWakeFd(): WakeFd;
}

/**
 * Wakes one future: it will be polled again, once, however often it is woken before that.
 *
 * Each owned waker holds a reference count on the future's eventfd, if there is one. `cx.waker` is
 * lent: valid as long as the future; `clone()` it to own one.
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
  /** The count this waker holds; a lent waker holds none: its task does. */
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

  /** Wakes the future, and drops this waker. */
  wake(): void {
    this.#live("wake").wake();
    this.drop();
  }

  /** Wakes the future; this waker stays usable. */
  wakeByRef(): void {
    this.#live("wakeByRef").wake();
  }

  /** Another waker of the same future, with a count of its own. */
  clone(): Waker {
    const waker = new Waker(this.#live("clone"));
    // The future may have ended, and have let go of its eventfd; this waker has not.
    if (waker.#counted === null && this.#counted !== null) {
      waker.#counted = this.#counted;
      waker.#counted.retain();
    }
    return waker;
  }

  /** Gives the reference count back. A second `drop` throws, like any use of a consumed waker. */
  drop(): void {
    this.#live("drop");
    this.#target = null;
    const counted = this.#counted;
    this.#counted = null;
    counted?.release();
  }

  /** Drops this waker unless it is consumed already. */
  [Symbol.dispose](): void {
    if (this.#target !== null) this.drop();
  }

  /** True when both wake the same future. */
  willWake(other: Waker): boolean {
    return this.#live("willWake") === other.#live("willWake");
  }

  /**
   * The future's eventfd: 8 bytes (a u64, native order, above zero) written to it by any thread or
   * process wake exactly this future. The number is borrowed: use it while the future lives or this
   * waker is held. See eventfd(2).
   */
  get fd(): number {
    const wakeFd = this.#openFd("fd");
    wakeFd.expose();
    return wakeFd.fd;
  }

  /**
   * This waker for another thread: post it to a Worker, and take it in there with
   * `Waker.fromHandle`. It holds a count until it is taken in, and the waker made of it holds that
   * count until it is dropped. A wake after the future ended is harmless.
   */
  toHandle(): WakerHandle {
    return this.#openFd("toHandle").toHandle();
  }

  /**
   * The waker of a handle from another thread; drop it when it is not needed. Throws TypeError for
   * what is no handle, Error when the waker was dropped everywhere meanwhile.
   */
  static fromHandle(handle: WakerHandle): Waker {
    if (!(handle?.words instanceof Int32Array && handle.claim instanceof Int32Array)) {
      throw new TypeError(
        `Waker.fromHandle: handle must come from waker.toHandle(); got ${describe(handle)}`,
      );
    }
    const target = handles.open!(handle); // set by runtime/, without which there is no handle
    const waker = new Waker(target, true);
    waker.#counted = target.wakeFd; // it takes over the handle's count
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
        `Waker.${operation}: this waker was consumed by wake() or drop(); clone() it first to keep one`,
      );
    }
    return this.#target;
  }
}
