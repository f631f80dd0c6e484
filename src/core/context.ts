// Context: what a poll receives. RuntimeRef: the part of a runtime that futures use; runtime/ implements it.

import { describeSome } from "../base/describe.ts";
import { inspectableParts } from "../base/inspect.ts";
import type { Linked } from "../base/list.ts";
import type { Queued } from "../base/queue.ts";
import type { Poll, Settle } from "./poll.ts";
import type { WakeFd } from "./wake-target.ts";
import { WakeTarget } from "./wake-target.ts";
import { Waker } from "./waker.ts";

/** The part of a future that its owner drives. Future documents the methods. */
export interface Pollable<T> {
  poll(cx: Context): Poll<T>;
  pollCancel(cx: Context): Poll<void>;
  drop(): void;
  reclaim(value: T): void;
}

/** How many operations one poll may complete before it yields. The same as in tokio. */
export const COOP_BUDGET = 128;

/** What the ready queue of a runtime holds: a task, or an await of an async function. */
export interface Runnable extends Queued<Runnable> {
  run(): void;
}

/** The part of a runtime that futures use. */
export interface RuntimeRef {
  /** The rest of this poll's coop budget: how many operations may still complete before it yields. */
  budget: number;
  /** The reactor. `reactorOf(cx)` in reactor/ states its type. */
  readonly reactor: object;
  /** True while `blockOn` is on the stack, so Bun's own loop does not run. */
  readonly holdsThread: boolean;
  /** True while a turn of this runtime is on the stack. */
  readonly isDriving: boolean;
  /** False once the runtime is disposed. */
  readonly isOpen: boolean;
  /** How long a cancelled async function may take to end, in milliseconds. */
  readonly cancelGraceMs: number;
  /** Appends to the ready queue. */
  enqueue(runnable: Runnable): void;
  /** Registers a future that no task owns. The runtime keeps it alive, lists it in `tasks()` and disposes it. */
  addLoose(loose: LooseFuture): void;
  /** Removes a future that `addLoose` added, once it has ended. */
  removeLoose(loose: LooseFuture): void;
  /** True from `requestDrain` until the microtasks have run, also those that are added meanwhile. */
  isDrainDue: boolean;
  /** Makes microtasks run before the runtime sleeps. Called after promises were settled. */
  requestDrain(): void;
  /** Called after a poll outside a turn left a future pending, so that Bun's loop drives this runtime. */
  onPollOutsideTurn(): void;
  /** How many futures wait for an event that only Bun's own loop delivers, such as a signal. */
  readonly hostWaits: number;
  /** Changes `hostWaits` when a wait begins (1) or ends (-1). A wait keeps the process alive. */
  countHostWait(delta: 1 | -1): void;
  /**
   * How many promises the tasks of this runtime await that none of its futures settles. Whoever begins or stops such
   * a wait counts it.
   */
  foreignPromises: number;
  /** Opens an eventfd; `onWritten` is called after each write to it. */
  openWakeFd(onWritten: () => void): WakeFd;
  /** Starts a task that runs `future` and settles a promise with its outcome. */
  start<T>(future: Pollable<T>, settle: Settle<T>): void;
  /** Makes Bun's loop drive this runtime. Called when code outside it awaits one of its tasks. */
  enterGuestMode(): void;
  /**
   * Calls `callback` after the current turn; at once while `blockOn` holds the thread. For callbacks that run code
   * outside any task, because such code may itself call `blockOn`.
   */
  afterTurn(callback: () => void): void;
  /** Runs `runnable`, which must be in no queue, after the current turn of a guest: in turn with `afterTurn`. */
  defer(runnable: Runnable): void;
  /** Drives the suspended cleanup of a dropped future as a task that nothing cancels. `step` polls the cleanup once. */
  finishCleanup(step: (cx: Context) => Poll<void>): void;
  /** Reports an error that no caller can receive. `what` names what failed. */
  report(error: unknown, what: string): void;
}

/** A future that no task owns. This is the part of it that a runtime uses. */
export interface LooseFuture extends Runnable, Linked<LooseFuture> {
  /** The `id` of its entry in `runtime.tasks()`. */
  id: number;
  readonly blockedOn: Blocker | null;
  /** Cancels the future, and rejects its promise with `error`. */
  abort(error: unknown): void;
  /** Rejects the promise without waiting for the cleanup, which can no longer run: the runtime is disposed. */
  abandon(error: unknown): void;
}

/** What a pending future waits for. Shown by `runtime.tasks()` and in deadlock errors. */
export interface Blocker {
  /** A phrase such as `read 127.0.0.1:53122 (fd 9)`. */
  describe(): string;
  /** True when only another runtime can end the wait. */
  readonly isInOtherRuntime?: boolean;
  /** The tasks that hold what this waits for, or whose end it waits for. */
  readonly holders?: readonly TaskRef[];
  /** The fd that this waits for. */
  readonly waitingFd?: WaitingFd;
  /** What the children of a future made of futures wait for. */
  readonly parts?: readonly Blocker[];
  /** @internal The lock or channel that this waits for. */
  readonly waitingResource?: Resource;
  /** @internal The time that is left of the timer that this waits for, in milliseconds. */
  readonly timerLeftMs?: number;
}

/** What several tasks may wait for. Shown by the console. */
export interface Resource {
  /** The same object for each wait. */
  readonly key: object;
  /** A lock has holders, and only they end the wait. */
  readonly kind: "lock" | "channel";
  /** A phrase such as `channel "jobs": 8 of 8 messages, 1 sender, 1 receiver`. */
  readonly text: string;
}

/** An fd that a future waits for. Shown by `runtime.dump()`. */
export interface WaitingFd {
  readonly fd: number;
  /** The socket's own address, such as `127.0.0.1:7000`; null if unknown, or if this is no socket. */
  readonly local: string | null;
  /** The address of the peer; null if there is none. */
  readonly remote: string | null;
}

/** Returns what `blocked` waits for; with its parts, if it is made of futures. */
export function blockersOf(blocker: Blocker | null): readonly Blocker[] {
  if (blocker === null) return [];
  const { parts } = blocker;
  return parts === undefined ? [blocker] : parts.flatMap(blockersOf);
}

/** Returns what each of `all` waits for. */
export function blockersOfAll(all: Iterable<Blocked>): readonly Blocker[] {
  const blockers: Blocker[] = [];
  for (const { blockedOn } of all) if (blockedOn !== null) blockers.push(blockedOn);
  return blockers;
}

/**
 * Set while a runtime looks at the logical stack of a task: it polls the task without coop budget, so each future
 * suspends at once, and calls this where it does. Nothing is woken then.
 */
export const stackProbe: { onSuspend: (() => void) | null } = { onSuspend: null };

/** What waits: a context, or what stands for one. */
interface Blocked {
  readonly blockedOn: Blocker | null;
}

/** Returns a phrase for what `blocked` waits for. */
export function describeWait({ blockedOn }: Blocked): string {
  return blockedOn?.describe() ?? "a wake";
}

/** Returns a phrase for what several contexts wait for. */
export function describeWaits(all: readonly Blocked[]): string {
  return describeSome(all, describeWait);
}

/** Returns true if only another runtime can end the wait of one of them. */
export function isAnyInOtherRuntime(all: Iterable<Blocked>): boolean {
  for (const { blockedOn } of all) if (blockedOn?.isInOtherRuntime) return true;
  return false;
}

/** A timer, as `timeRemaining` knows it. */
export interface Deadline {
  /** The deadline on the runtime's clock; minus the duration, if the timer has not begun. */
  readonly deadlineMs: number;
}

/** The part of a task that its futures use. */
export interface TaskRef {
  /** The number of the task in its runtime: 1, 2, 3, ...; 0 outside a task. */
  readonly id: number;
  readonly name: string;
  readonly isEnded: boolean;
}

let lastSerial = 1;

/** Returns a number above 1 that it has not returned before: the states of a leaf are below. */
export const nextSerial = (): number => ++lastSerial;

/**
 * What `poll` receives: the waker to keep, and the task that is polling. A context is also what its waker
 * wakes: a task, or one child of a combinator, is the context of its own polls.
 */
export abstract class Context extends WakeTarget {
  static {
    inspectableParts(Context, (it) => `task ${it.task.name}`);
  }

  /** @internal */
  runtime: RuntimeRef;
  /** What the future waited for when its latest poll returned Pending; null if unknown. */
  blockedOn: Blocker | null = null;
  /** @internal A number that identifies this context without keeping it alive. No two contexts share a number. */
  serial: number = nextSerial();
  #waker: Waker | null = null;

  /** @internal */
  constructor(runtime: RuntimeRef) {
    super();
    this.runtime = runtime;
  }

  abstract get task(): TaskRef;

  /** @internal The context of the work around this one, which cancels it; null for work that nothing encloses. */
  get parent(): Context | null {
    return null;
  }

  /** @internal The timer of the `timeout` that polls in this context; null if it is no timeout. */
  get deadline(): Deadline | null {
    return null;
  }

  /** What `waker` wakes. The library's leaves store it in place of a waker: it needs no count and no `drop`. */
  get target(): WakeTarget {
    return this;
  }

  /** The waker of the future being polled. It is lent: valid until that future ends. Store a `clone()`, not this. */
  get waker(): Waker {
    if (this.#waker === null || this.#waker.isConsumed) this.#waker = Waker.create(this, true);
    return this.#waker;
  }

  /** @internal True once `waker` was read: other code may hold that waker. */
  get hasSharedWaker(): boolean {
    return this.#waker !== null;
  }

  /**
   * Returns true when this poll has used up its coop budget, after waking the target: the caller then
   * returns Pending. `Leaf` calls it before each attempt. See rule 6 of docs/design.md.
   */
  isExhausted(): boolean {
    if (this.runtime.budget > 0) return false;
    if (stackProbe.onSuspend === null) this.wake();
    else stackProbe.onSuspend();
    return true;
  }

  /** Charges one completed operation to the coop budget. `Leaf` calls it. */
  charge(): void {
    this.runtime.budget--;
  }
}
