// Context: what a poll receives. RuntimeRef: the runtime as futures may know it; runtime/ implements it.

import type { Linked } from "../base/list.ts";
import type { Queued } from "../base/queue.ts";
import type { Poll, Settle } from "./poll.ts";
import type { WakeFd } from "./wake-target.ts";
import { WakeTarget } from "./wake-target.ts";
import { Waker } from "./waker.ts";

/** The part of a future that its owner drives. */
export interface Pollable<T> {
  poll(cx: Context): Poll<T>;
  pollCancel(cx: Context): Poll<void>;
  drop(): void;
}

/** How many operations one poll may complete before it yields. tokio's number. */
export const COOP_BUDGET = 128;

/** What the ready queue of a runtime holds: a task, or an await of an async function. */
export interface Runnable extends Queued<Runnable> {
  run(): void;
}

/** The runtime of a poll, as futures may know it. */
export interface RuntimeRef {
  /** The rest of this poll's coop budget: how many operations may still complete before it yields. */
  budget: number;
  /** The reactor. `reactorOf(cx)` in reactor/ states its type. */
  readonly reactor: object;
  /** True while `blockOn` is on the stack, so Bun's own loop stands still. */
  readonly holdsThread: boolean;
  /** True while a turn of this runtime is on the stack. */
  readonly isDriving: boolean;
  /** False once the runtime is disposed. */
  readonly isOpen: boolean;
  /** How long a cancelled async function may take to end, in milliseconds. */
  readonly cancelGraceMs: number;
  /** Appends to the ready queue. */
  enqueue(runnable: Runnable): void;
  /** Adds a future that no task owns to what the runtime keeps alive, lists and disposes. */
  addLoose(loose: LooseFuture): void;
  /** Removes it once it has ended. */
  removeLoose(loose: LooseFuture): void;
  /** Records that promises were settled: microtasks must run before the runtime sleeps. */
  requestDrain(): void;
  /** Called after a poll outside a turn left a future pending, so that Bun's loop drives this runtime. */
  onPollOutsideTurn(): void;
  /** How many futures wait for an event that only Bun's own loop delivers, such as a signal. */
  readonly hostWaits: number;
  /** Records that such a wait begins (1) or ends (-1). It keeps the process alive. */
  countHostWait(delta: 1 | -1): void;
  /** How many promises tasks wait for that no future of this runtime settles. */
  readonly foreignPromises: number;
  /** Records that such a wait begins (1) or ends (-1). */
  countForeignPromise(delta: 1 | -1): void;
  /** Opens an eventfd; `onWritten` is called after each write to it. */
  openWakeFd(onWritten: () => void): WakeFd;
  /** Makes a future a task whose outcome settles a promise. */
  start<T>(future: Pollable<T>, settle: Settle<T>): void;
  /** Called when code outside this runtime awaits one of its tasks: Bun's loop must drive it from now on. */
  enterGuestMode(): void;
  /**
   * Calls `callback` when no poll of this runtime is on the stack; at once while `blockOn` holds the
   * thread. For callbacks that run code outside any task, which may itself call `blockOn`.
   */
  afterTurn(callback: () => void): void;
  /** Drives the rest of a dropped future's cleanup as a task that nothing cancels. `step` is one poll of it. */
  finishCleanup(step: (cx: Context) => Poll<void>): void;
  /** Reports an error that no caller can receive. `what` names what failed. */
  report(error: unknown, what: string): void;
}

/** A future that no task owns, as a runtime may know it. */
export interface LooseFuture extends Runnable, Linked<LooseFuture> {
  /** The number by which `runtime.tasks()` shows it. */
  id: number;
  readonly blockedOn: Blocker | null;
  /** Cancels it, and rejects its promise with `error`. */
  abort(error: unknown): void;
  /** Rejects its promise though its cleanup is unfinished, because its runtime is gone. */
  abandon(error: unknown): void;
}

/** What a pending future waits for. Shown by `runtime.tasks()` and in deadlocks. */
export interface Blocker {
  /** A phrase such as `read fd 9`. */
  describe(): string;
  /** True when only another runtime can end the wait. */
  readonly isInOtherRuntime?: boolean;
}

/** A task, as its futures may know it. */
export interface TaskRef {
  readonly id: number;
  readonly name: string;
}

let lastSerial = 0;

/** A number that no other context has or had. Above zero. */
export function nextSerial(): number {
  return ++lastSerial;
}

/**
 * What `poll` receives: the waker to keep, and the task that is polling. A context is also what its waker
 * wakes: a task, or one child of a combinator, is the context of its own polls.
 */
export abstract class Context extends WakeTarget {
  runtime: RuntimeRef;
  /** What made the last poll return Pending. */
  blockedOn: Blocker | null = null;
  /** @internal Identifies this context without keeping it alive. No other context has or had it. */
  serial: number = nextSerial();
  #waker: Waker | null = null;

  constructor(runtime: RuntimeRef) {
    super();
    this.runtime = runtime;
  }

  abstract get task(): TaskRef;

  /** What `waker` wakes. Leaf futures keep this one: it has no count, costs nothing, and is never consumed. */
  get target(): WakeTarget {
    return this;
  }

  /** The waker of the future being polled. It is lent: `clone()` it to keep it past the future's end. */
  get waker(): Waker {
    if (this.#waker === null || this.#waker.isConsumed) this.#waker = new Waker(this, true);
    return this.#waker;
  }

  /** @internal True once `waker` was read: other code may hold it. */
  get hasSharedWaker(): boolean {
    return this.#waker !== null;
  }

  /**
   * Returns true when this poll has used up its coop budget, after waking the target: the caller then
   * returns Pending. `Leaf` calls it before each attempt. See rule 6 of docs/design.md.
   */
  isExhausted(): boolean {
    if (this.runtime.budget > 0) return false;
    this.wake();
    return true;
  }

  /** Charges one completed operation to the coop budget. `Leaf` calls it. */
  charge(): void {
    this.runtime.budget--;
  }
}
