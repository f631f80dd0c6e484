// Task: a future that the runtime owns, and the state machine of when it is polled.

import type { AsyncResource } from "node:async_hooks";
import { codedError } from "../base/coded-error.ts";
import { describe } from "../base/describe.ts";
import type { Linked } from "../base/list.ts";
import { abortSignalsOf } from "../combine/abort-signal.ts";
import type { CancelToken } from "../combine/cancel-token.ts";
import { cancelStep } from "../combine/children.ts";
import {
  type Blocker,
  blockersOf,
  COOP_BUDGET,
  Context,
  describeWait,
  type Pollable,
  type Runnable,
  type RuntimeRef,
  stackProbe,
} from "../core/context.ts";
import { current, currentContextOrNull } from "../core/current.ts";
import { AbortError, Future } from "../core/future.ts";
import { type Outcome, Pending, type Settle } from "../core/poll.ts";
import { type Waiter, WaitQueue } from "../core/wait-queue.ts";
import type { WakeFd, WakeTarget } from "../core/wake-target.ts";
import { callSite } from "./call-site.ts";
import { addToStack } from "./errors.ts";
import { framesAround } from "./logical-stack.ts";
import { captureStorage } from "./promises/storage.ts";
import type { TaskInfo, TaskState } from "./task-info.ts";
import type { EventfdWaker } from "./threads/eventfd-waker.ts";

/** Waits for a wake. Not in the ready queue. */
const IDLE = 0;
/** In the ready queue, once. */
const QUEUED = 1;
/** Being polled. */
const RUNNING = 2;
/** Being polled, and woken meanwhile: queued again when the poll returns. */
const WOKEN = 3;
/** Ended: `outcome` is set, wakes do nothing. */
const ENDED = 4;

type State = typeof IDLE | typeof QUEUED | typeof RUNNING | typeof WOKEN | typeof ENDED;

/** No one has requested cancellation. */
const NO_ABORT: unique symbol = Symbol("guillotine.NO_ABORT");

/**
 * The tasks with a value that their owner has given up. Not a field: it is rare, and each task would pay for it.
 */
const disowned: WeakSet<object> = new WeakSet();

/** Where tasks were spawned. Not a field: only debug mode knows, and a million tasks would pay for it. */
const spawnPlaces: WeakMap<object, Error> = new WeakMap();

/** What a task needs of the executor that runs it. */
export interface Scheduler {
  readonly runtime: RuntimeRef;
  /** What looks at the tasks; null if nothing does. */
  readonly observer: TaskObserver | null;
  /** True when each task has an eventfd from its start, and each wake is a write to it. */
  readonly isEager: boolean;
  nextId(): number;
  /** Appends a task to the ready queue. */
  push(runnable: Runnable): void;
  openWaker(onWritten: () => void): EventfdWaker;
  /** Counts a task that keeps the process alive in guest mode (1), or stops counting it (-1). */
  countRef(delta: 1 | -1): void;
  /** Called when a live task was ref'd or unref'd. */
  onRefChange(): void;
  onEnd(task: Task<unknown>): void;
  /** Called when a task has failed and nobody has polled its handle, or every awaiter has given up. */
  onUncaught(task: Task<unknown>): void;
}

/** What looks at the tasks of a runtime. Observer documents it. */
export interface TaskObserver {
  onWake(task: Task<unknown>): void;
  /** Does what `step` of the task does, in its storage. Never throws. */
  poll<T>(task: Task<T>): Outcome<T> | null;
  onEnd(task: Task<unknown>, outcome: "value" | "error" | "aborted"): void;
}

/** A waiter that owns the task it waits for: cancelling the waiter aborts the task. */
export interface OwningWaiter extends Waiter {
  /** The context of the owner; null before its first poll. */
  readonly ownerContext: Context | null;
}

/** A task is the context of its own polls. */
export class Task<T> extends Context implements Linked<Task<unknown>>, Runnable {
  readonly id: number;
  /** The id of the task that spawned this one; 0 if no task of this runtime did. */
  readonly spawner: number;
  private readonly givenName: string | undefined;
  /** The value or the error of the task; null until it ends. */
  outcome: Outcome<T> | null = null;
  /** Links in the list of all live tasks. */
  before: Task<unknown> | null = null;
  after: Task<unknown> | null = null;
  list: object | null = null;
  /** Link in the ready queue. */
  next: Runnable | null = null;
  private readonly scheduler: Scheduler;
  /** AsyncLocalStorage as it was where the task was spawned. */
  readonly storage: AsyncResource = captureStorage();
  /** The work. After the end only if its value may still have to go back to it; else null. */
  private future: Pollable<T> | null;
  private state: State = IDLE;
  /** True for cleanup, which nobody can abort. */
  private readonly isShielded: boolean;
  /** The outcome has an owner, or its failure was reported per `onUncaught`. */
  private isTaken = false;
  /** After the end: how many joiners have not given up. One of them will receive a failure. */
  private claims = 0;
  /**
   * Thrown by awaiting the task once it was aborted; NO_ABORT until that is requested. A task that ends before
   * its cancellation begins was not aborted.
   */
  private abortError: unknown = NO_ABORT;
  /** Removes the listener from the signal that may abort the task, and leaves its token. */
  private removeListener: (() => void) | null = null;
  /** The promise that the outcome settles. */
  private promise: Settle | null = null;
  /** Cancellation has begun: from here on, polls only cancel. */
  private isCancelling = false;
  private joiners: WaitQueue | null = null;
  /** The task keeps the process alive in guest mode. */
  private isRef = true;

  constructor(scheduler: Scheduler, future: Pollable<T>, name?: string, isShielded = false) {
    super(scheduler.runtime);
    this.isShielded = isShielded;
    this.scheduler = scheduler;
    // First: when out of fds there is no task. But cleanup has already begun, so its task always exists.
    if (scheduler.isEager && !isShielded) this.openWakeFd();
    this.id = scheduler.nextId();
    const context = currentContextOrNull();
    this.spawner = context !== null && context.runtime === this.runtime ? context.task.id : 0;
    this.givenName = name;
    this.future = future;
    scheduler.countRef(1);
  }

  override get task(): this {
    return this;
  }

  override get parent(): Context | null {
    for (const waiter of this.joiners ?? []) {
      const { ownerContext = null } = waiter as Partial<OwningWaiter>; // absent from other waiters
      if (ownerContext !== null) return ownerContext;
    }
    return null;
  }

  /** Where the task was spawned; null except in debug mode. */
  get spawnedAt(): string | null {
    const place = spawnPlaces.get(this);
    return place === undefined ? null : callSite(place);
  }

  /** Records that the task is spawned here. */
  recordPlace(): void {
    spawnPlaces.set(this, new Error());
  }

  get name(): string {
    return this.givenName ?? `#${this.id}`;
  }

  get isEnded(): boolean {
    return this.state === ENDED;
  }

  /** True once the task ended by being cancelled; false if it ended by itself before that began. */
  get isAborted(): boolean {
    return this.isCancelling && this.state === ENDED;
  }

  override wake(): void {
    if (this.state === ENDED) return;
    const { observer, isEager } = this.scheduler;
    if (observer !== null) observer.onWake(this as Task<unknown>);
    if (isEager && this.wakeFd !== null) (this.wakeFd as EventfdWaker).write();
    else this.schedule();
  }

  /** Queues the task: once, however often this is called. */
  schedule(): void {
    if (this.state === IDLE) {
      this.state = QUEUED;
      this.scheduler.push(this as Task<unknown>);
    } else if (this.state === RUNNING) {
      this.state = WOKEN;
    }
  }

  /** Polls the task once. The executor calls this after taking the task from the queue. */
  run(): void {
    this.state = RUNNING;
    this.runtime.budget = COOP_BUDGET;
    this.blockedOn = null;
    const { observer } = this.scheduler;
    current.context = this;
    let outcome: Outcome<T> | null = null;
    try {
      if (observer !== null) outcome = observer.poll(this);
      else if (this.abortError === NO_ABORT) {
        const future = this.future!; // set until ENDED
        // Not `step`: the JIT inlines five levels of calls, and the fifth resumes the coroutine.
        const value = this.storage.runInAsyncScope(future.poll, future, this);
        if (value !== Pending) outcome = { value };
      } else outcome = this.storage.runInAsyncScope(this.cancelStep, this);
    } catch (error) {
      outcome = { error };
    }
    current.context = null;
    if (outcome !== null) this.end(outcome);
    else {
      const isDueAgain = (this.state as State) === WOKEN; // woken or aborted while it ran
      this.state = IDLE;
      if (isDueAgain) this.schedule();
    }
  }

  /** Polls the future, or its cancellation, for an observer. Throws what it throws. */
  step(): Outcome<T> | null {
    if (this.abortError !== NO_ABORT) return this.cancelStep();
    const value = this.future!.poll(this); // set until ENDED
    return value === Pending ? null : { value };
  }

  private cancelStep(): Outcome<T> | null {
    const previous = current.cancelReason;
    current.cancelReason = this.abortError;
    try {
      if (!this.isCancelling) {
        this.isCancelling = true;
        abortSignalsOf(this);
      }
      return cancelStep(this.future!, this) === Pending ? null : { error: this.abortError };
    } finally {
      current.cancelReason = previous;
    }
  }

  private end(outcome: Outcome<T>): void {
    this.state = ENDED;
    this.outcome = outcome;
    if ("error" in outcome || this.future!.reclaim === Future.prototype.reclaim) this.future = null;
    const wakeFd = this.wakeFd;
    this.wakeFd = null;
    wakeFd?.release();
    this.removeListener?.();
    this.removeListener = null;
    if (this.promise !== null) this.settlePromise(this.promise, outcome);
    const scheduler = this.scheduler;
    scheduler.onEnd(this as Task<unknown>);
    if (this.isRef) scheduler.countRef(-1);
    if (scheduler.observer !== null) {
      const how = this.isCancelling ? "aborted" : "error" in outcome ? "error" : "value";
      scheduler.observer.onEnd(this as Task<unknown>, how);
    }
    if ("error" in outcome && this.spawnedAt !== null) {
      addToStack(outcome.error, `in task ${this.name}, spawned at ${this.spawnedAt}`);
    }
    this.claims = this.joiners?.size ?? 0;
    this.reportUncaught();
    // Aborted in its last poll, perhaps by its owner.
    if (this.isAbortRequested && this.future !== null) this.giveBackIfUnclaimed();
    this.joiners?.wakeAll();
    this.joiners = null;
  }

  /** The owner gives up the value, even before the end. It goes back to the work unless another waiter receives it. */
  disown(): void {
    if (this.state === ENDED && this.future === null) return; // there is nothing to give back
    disowned.add(this);
    if (this.state === ENDED) this.giveBackIfUnclaimed();
  }

  private giveBackIfUnclaimed(): void {
    if (this.claims === 0 && disowned.has(this)) this.giveBack();
  }

  /**
   * Returns the value of the ended task to its work, because nobody will receive it. From then on the task counts as
   * aborted: a value that went back may belong to somebody else. Does nothing if there is nothing to give back.
   */
  giveBack(): void {
    const { future, outcome } = this;
    if (future === null || outcome === null || "error" in outcome) return;
    this.future = null;
    this.isCancelling = true;
    if (!this.isAbortRequested) this.abortError = this.abortErrorNow();
    this.outcome = { error: this.abortError };
    future.reclaim(outcome.value);
  }

  override openWakeFd(): WakeFd {
    if (this.state === ENDED)
      throw codedError("ERR_FUTURE_ENDED", `task ${this.name} has ended: it has no eventfd`);
    this.wakeFd ??= this.scheduler.openWaker(() => this.schedule());
    return this.wakeFd;
  }

  /** Requests cancellation, which begins at the task's next turn. Does nothing once the task has ended. */
  abort(error: unknown = this.abortErrorNow()): void {
    if (this.state === ENDED || this.isAbortRequested || this.isShielded) return;
    this.abortError = error;
    this.schedule();
  }

  private abortErrorNow(): AbortError {
    const cause = current.cancelReason; // of the scope or timeout that this task ends with
    return new AbortError(
      `task ${this.name} was aborted`,
      cause === undefined ? undefined : { cause },
    );
  }

  private get isAbortRequested(): boolean {
    return this.abortError !== NO_ABORT;
  }

  /** Aborts the task with the signal's reason. No listener is left once the task has ended. */
  abortOn(signal: AbortSignal): void {
    if (signal.aborted) {
      this.abort(signal.reason);
      return;
    }
    const listener = (): void => this.abort(signal.reason);
    signal.addEventListener("abort", listener);
    this.removeListener = () => signal.removeEventListener("abort", listener);
  }

  /** Makes the task a member of `token` until it ends. */
  joinToken(token: CancelToken): void {
    const leave = token.attach({ cancel: (reason) => this.abort(reason) });
    const { removeListener } = this;
    this.removeListener = () => {
      removeListener?.();
      leave();
    };
  }

  /** Settles a promise with the outcome. That reports a failure, so nobody needs the handle. */
  settle(settle: Settle<T>): void {
    this.takeOutcome();
    this.promise = settle as Settle; // settled with a T
  }

  private settlePromise(settle: Settle, outcome: Outcome<T>): void {
    this.promise = null;
    this.runtime.afterTurn(() => {
      if ("error" in outcome) settle.reject(outcome.error);
      else settle.resolve(outcome.value);
    });
  }

  /** The error that aborts the task when its runtime is disposed. */
  get disposalError(): AbortError {
    return new AbortError(`task ${this.name} was aborted: its runtime was disposed`);
  }

  /** Ends the task with its cleanup unfinished, because its runtime is closing. Wakes the joiners. */
  abandon(): void {
    this.isCancelling = true;
    if (!this.isAbortRequested) this.abortError = this.disposalError;
    this.end({ error: this.abortError });
  }

  /** The error the task failed with; null if it did not fail, or only by being aborted. */
  get failure(): { readonly error: unknown } | null {
    const { outcome } = this;
    return outcome !== null && "error" in outcome && !this.isAborted ? outcome : null;
  }

  /** True if the task failed, and nobody has received the error or is about to. */
  get isUncaught(): boolean {
    return this.claims === 0 && !this.isTaken && this.failure !== null;
  }

  /** Makes the outcome the caller's, even before the end. Returns it if the task has ended. */
  takeOutcome(): Outcome<T> | null {
    this.isTaken = true;
    return this.outcome;
  }

  /** Claims a failure for `waiter` until it leaves or takes the outcome. The end wakes `target`, if there is one. */
  join(waiter: Waiter, target: WakeTarget | null): void {
    if (this.state === ENDED) {
      this.claims++;
      return;
    }
    this.joiners ??= new WaitQueue();
    this.joiners.wait(waiter, target);
  }

  /** Gives up a claim. The joiner may have been woken already without having received the outcome. */
  leave(waiter: Waiter): void {
    if (this.state === ENDED) {
      this.claims--;
      if (this.future === null) this.reportUncaught();
      else this.giveBackIfUnclaimed();
    } else this.joiners?.leave(waiter);
  }

  private reportUncaught(): void {
    if (this.isUncaught) this.scheduler.onUncaught(this as Task<unknown>);
  }

  /**
   * Returns the stack of a waiting task: each `yield*` that it is in, the innermost first. Empty for other tasks.
   * Polls the future without coop budget, so that it suspends at once, where it waits already.
   */
  logicalStack(): readonly string[] {
    if (this.state !== IDLE || this.isAbortRequested) return [];
    const { runtime, blockedOn } = this;
    const { budget } = runtime;
    const previous = current.context;
    let frames: readonly string[] = [];
    let outcome: Outcome<T> | null = null;
    this.state = RUNNING;
    runtime.budget = 0;
    current.context = this;
    stackProbe.onSuspend = () => {
      frames = framesAround();
    };
    try {
      outcome = this.storage.runInAsyncScope(this.step, this);
    } catch (error) {
      outcome = { error };
    } finally {
      stackProbe.onSuspend = null;
      current.context = previous;
      runtime.budget = budget;
    }
    // A future that ignores the budget may end. Otherwise nothing has changed.
    if (outcome !== null) this.end(outcome);
    else {
      const isDue = (this.state as State) === WOKEN;
      this.state = IDLE;
      this.blockedOn = blockedOn;
      if (isDue) this.schedule();
    }
    return frames;
  }

  /** What the task waits for; nothing unless it waits. */
  get blockers(): readonly Blocker[] {
    return this.state === IDLE ? blockersOf(this.blockedOn) : [];
  }

  /** The tasks of the same runtime that hold what this one waits for, or whose end it waits for. */
  get waitsFor(): readonly Task<unknown>[] {
    const tasks = new Set<Task<unknown>>();
    for (const { holders = [] } of this.blockers) {
      for (const holder of holders) {
        if (holder instanceof Task && holder.runtime === this.runtime) tasks.add(holder);
      }
    }
    return [...tasks];
  }

  /** Sets whether the task keeps the process alive in guest mode. */
  setRef(isRef: boolean): void {
    if (this.state === ENDED || this.isRef === isRef) return;
    this.isRef = isRef;
    this.scheduler.countRef(isRef ? 1 : -1);
    this.scheduler.onRefChange();
  }

  /** True while the task waits for another runtime. */
  get isInOtherRuntime(): boolean {
    return this.state === IDLE && this.blockedOn?.isInOtherRuntime === true;
  }

  get info(): TaskInfo {
    const { brief, spawnedAt } = this;
    return spawnedAt === null ? brief : { ...brief, spawnedAt };
  }

  /** What is known without reading a stack. */
  get brief(): TaskInfo {
    const { id, name, spawner } = this;
    return { id, name, spawner, state: this.publicState, waitsOn: this.waitsOn };
  }

  /** The task in one line: `#4 (waiting: sleep, 37 ms left)`. */
  get summary(): string {
    const { failure, name } = this;
    if (failure !== null) return `${name} (failed: ${messageOf(failure.error)})`;
    if (this.isEnded) return `${name} (${this.isAborted ? "aborted" : "completed"})`;
    return `${name} (${this.publicState}: ${this.waitsOn})`;
  }

  private get publicState(): TaskState {
    if (this.state === ENDED) return "ended";
    if (this.isAbortRequested) return "cancelling";
    if (this.state === IDLE) return "waiting";
    return this.state === QUEUED ? "ready" : "running";
  }

  private get waitsOn(): string {
    switch (this.state) {
      case IDLE:
        return describeWait(this);
      case QUEUED:
        return "its turn";
      case ENDED:
        return "nothing";
      default:
        return "nothing: it is being polled";
    }
  }
}

/** Returns the first line of what a task threw. */
function messageOf(error: unknown): string {
  const text = error instanceof Error ? `${error.name}: ${error.message}` : describe(error);
  return text.split("\n", 1)[0]!;
}
