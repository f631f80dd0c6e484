// The current runtime and task: set around each poll, restored after it, also on a throw.
// The runtime is known here by interface only (RuntimeRef); runtime/runtime.ts implements it.

import type { Settle } from "./adoption.ts";
import type { Future } from "./future.ts";
import type { Poll } from "./poll.ts";
import { type WakeFd, Waker, WakeTarget } from "./waker.ts";

/** What futures may know of the runtime that polls them. */
export interface RuntimeRef {
  /** What is left of this poll's coop budget: operations that may still complete before it yields. */
  budget: number;
  /** The reactor; `reactorOf(cx)` in reactor/ gives it its type. */
  readonly reactor: object;
  /** Whether `blockOn` is on the stack: what only Bun's own loop can do is not done meanwhile. */
  readonly holdsThread: boolean;
  /** How many of its futures wait for what Bun's own loop delivers, and so keep the process alive: signals. */
  hostWaits: number;
  /** How many promises its tasks wait for that no future of this runtime will settle. */
  foreignPromises: number;
  /** An eventfd; `onWritten` is called after each write to it. */
  openWakeFd(onWritten: () => void): WakeFd;
  /** Makes a future a task, which settles a promise with its outcome. */
  start<T>(future: Future<T>, settle: Settle<T>): void;
  /** Another runtime, or Bun's loop, awaits one of its tasks: from now on it is a guest, if it was not. */
  beGuest(): void;
  /**
   * Calls `then` when no poll of this runtime is on the stack: for what makes code run that is not a
   * task's, and may call `blockOn`. While `blockOn` holds the thread: at once.
   */
  afterTurn(then: () => void): void;
  /** Drives the rest of a dropped future's cleanup as a task that nothing cancels; `step` is one poll of it. */
  finishCleanup(step: (cx: Context) => Poll<void>): void;
  /** Tells of an error that no caller can be given. */
  report(error: unknown, what: string): void;
}

/** What a future waits for, in words, for `runtime.tasks()` and deadlocks: `read fd 9`. */
export interface Waitable {
  waitsOn(): string;
}

export interface TaskRef {
  readonly id: number;
  readonly name: string;
}

let serials = 0;

/** For a context that begins. */
export function nextSerial(): number {
  return ++serials;
}

/**
 * What `poll` receives: the waker to keep, and who is polling. It is what the waker wakes, too: a task,
 * or one child of a combinator, is the context of its own polls.
 */
export abstract class Context extends WakeTarget {
  runtime: RuntimeRef;
  /** What made the last poll Pending: a leaf future, or a combinator. */
  waitsOn: Waitable | null = null;
  /** @internal No other has it, nor had: for who must not keep it alive. Above zero. */
  serial: number = nextSerial();
  #waker: Waker | null = null;

  constructor(runtime: RuntimeRef) {
    super();
    this.runtime = runtime;
  }

  abstract get task(): TaskRef;

  /** What `waker` wakes. Leaf futures keep this: no count, no allocation, never consumed. */
  get target(): WakeTarget {
    return this;
  }

  /** The waker of the future being polled. Lent: `clone()` it to keep it past the future's end. */
  get waker(): Waker {
    if (this.#waker === null || this.#waker.isConsumed) this.#waker = new Waker(this, true);
    return this.#waker;
  }

  /** @internal Whether anyone has had its waker. */
  get isKnown(): boolean {
    return this.#waker !== null;
  }

  /**
   * Whether this poll has used up its coop budget (docs/design.md, rule 6). If so the target was woken, and
   * the caller returns Pending. A leaf future asks before its operation, and pays one from
   * `runtime.budget` when it completes.
   */
  isExhausted(): boolean {
    if (this.runtime.budget > 0) return false;
    this.wake();
    return true;
  }
}

/**
 * The context of the poll in progress; null outside one, also in an async function. Whoever polls sets it, and
 * puts back what was in a `finally`. (A field: each use of a variable of the module that changes, or of a
 * function declared in one, is checked anew in compiled code, and an echo has twelve.)
 */
export const current: { context: Context | null } = { context: null };

/** Between the awaits of an async function no poll is in progress; runtime/promises/adopt.ts knows whose it is. */
export const asyncContext: { find: (() => Context | null) | null } = { find: null };

/** The context of the poll in progress, or of the async function that is running; or null. */
export function currentContextOrNull(): Context | null {
  return current.context ?? asyncContext.find?.() ?? null;
}

/** The context of the poll in progress; throws outside one. */
export function currentContext(): Context {
  const context = currentContextOrNull();
  if (context === null) {
    throw new Error(
      "no runtime is polling here: run this inside runtime.blockOn(function* () { ... }) or a spawned task",
    );
  }
  return context;
}
