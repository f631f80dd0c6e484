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
  type Runnable,
  type RuntimeRef,
  stackProbe,
} from "../core/context.ts";
import { CoroutineFuture } from "../core/coroutine.ts";
import { current, currentContextOrNull } from "../core/current.ts";
import { AbortError, type Coroutine, Future } from "../core/future.ts";
import { realNext, rejectStrayYields } from "../core/generator.ts";
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

// The flags of a task.

/** Cleanup, which nobody can abort. */
const SHIELDED = 1;
/** The outcome has an owner, or its failure was reported per `onUncaught`. */
const TAKEN = 2;
/** Cancellation was requested: `ties.abortError` is set. */
const ABORT_REQUESTED = 4;
/** Cancellation has begun: from here on, polls only cancel. */
const CANCELLING = 8;
/** The task does not keep the process alive in guest mode. */
const UNREF = 16;
/** The owner has given up the value. */
const DISOWNED = 32;
/** `work` is a coroutine, which the task resumes itself: until its cancellation begins. */
const COROUTINE = 64;

/** Where tasks were spawned. Not a field: only debug mode knows, and a million tasks would pay for it. */
const spawnPlaces: WeakMap<object, Error> = new WeakMap();

/** The part of a runtime that tasks use. */
export interface TaskRuntime extends RuntimeRef {
  readonly executor: Scheduler;
}

/** What a task needs of the executor that runs it. */
export interface Scheduler {
  readonly runtime: TaskRuntime;
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

/**
 * Those that wait for the end of a task, and those that may abort it. A task has this from the first of them on: most
 * tasks have none.
 */
class Ties extends WaitQueue {
  /** After the end: how many joiners have not given up. One of them will receive a failure. */
  claims = 0;
  /**
   * Thrown by awaiting the task once ABORT_REQUESTED. A task that ends before its cancellation begins was not aborted.
   */
  abortError: unknown = undefined;
  /** What the code of the task sees as the reason then: the error of the canceller, if it has one. */
  cancelReason: unknown = undefined;
  /** Removes the listener from the signal that may abort the task, and leaves its token. */
  removeListener: (() => void) | null = null;
  /** The promise that the outcome settles. */
  promise: Settle | null = null;
}

/**
 * A task is the context of its own polls. (It has 18 fields, which take 160 bytes. With one more the engine would allocate
 * 224.)
 */
export class Task<T> extends Context implements Linked<Task<unknown>>, Runnable {
  declare runtime: TaskRuntime;
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
  /** AsyncLocalStorage as it was where the task was spawned. */
  readonly storage: AsyncResource = captureStorage();
  /** The work. After the end only if its value may still have to go back to it; else null. */
  private work: Future<T> | Coroutine<T> | null;
  private state: State = IDLE;
  private flags: number;
  private ties: Ties | null = null;

  constructor(
    runtime: TaskRuntime,
    work: Future<T> | Coroutine<T>,
    name?: string,
    isShielded = false,
  ) {
    super(runtime);
    this.flags = (isShielded ? SHIELDED : 0) | (work instanceof Future ? 0 : COROUTINE);
    const scheduler = runtime.executor;
    // First: when out of fds there is no task. But cleanup has already begun, so its task always exists.
    if (scheduler.isEager && !isShielded) this.openWakeFd();
    this.id = scheduler.nextId();
    const context = currentContextOrNull();
    this.spawner = context !== null && context.runtime === runtime ? context.task.id : 0;
    this.givenName = name;
    this.work = work;
    scheduler.countRef(1);
  }

  override get task(): this {
    return this;
  }

  override get parent(): Context | null {
    for (const waiter of this.ties ?? []) {
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
    return this.has(CANCELLING) && this.state === ENDED;
  }

  private has(flag: number): boolean {
    return (this.flags & flag) !== 0;
  }

  /** True for the cleanup of a dropped future, which nothing cancels. */
  get isShielded(): boolean {
    return this.has(SHIELDED);
  }

  override wake(): void {
    if (this.state === ENDED) return;
    const { observer, isEager } = this.runtime.executor;
    if (observer !== null) observer.onWake(this as Task<unknown>);
    if (isEager && this.wakeFd !== null) (this.wakeFd as EventfdWaker).write();
    else this.schedule();
  }

  /** Queues the task: once, however often this is called. */
  schedule(): void {
    if (this.state === IDLE) {
      this.state = QUEUED;
      this.runtime.executor.push(this as Task<unknown>);
    } else if (this.state === RUNNING) {
      this.state = WOKEN;
    }
  }

  /** Polls the task once, for `observer` if it is given. Called after the task was taken from the queue. */
  run(observer: TaskObserver | null = null): void {
    this.state = RUNNING;
    this.runtime.budget = COOP_BUDGET;
    this.blockedOn = null;
    current.context = this;
    let outcome: Outcome<T> | null = null;
    try {
      if (observer !== null) outcome = observer.poll(this);
      else if ((this.flags & (COROUTINE | ABORT_REQUESTED)) === COROUTINE) {
        // Not `step`: the fewer calls lead to the coroutine, the more of it the JIT inlines.
        const result = this.storage.runInAsyncScope(realNext, this.work as Coroutine<T>);
        if (result.done === true) outcome = { value: result.value as T };
        else if (result.value !== Pending)
          outcome = this.storage.runInAsyncScope(this.onYield, this, result);
      } else outcome = this.storage.runInAsyncScope(this.step, this);
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

  /** Polls the work, or its cancellation. Throws what it throws. */
  step(): Outcome<T> | null {
    if (this.has(ABORT_REQUESTED)) return this.cancelStep();
    if (this.has(COROUTINE)) return this.onYield(realNext.call(this.work as Coroutine<T>));
    const value = (this.work as Future<T>).poll(this); // set until ENDED
    return value === Pending ? null : { value };
  }

  /** Returns the outcome of the coroutine, which has returned or yielded; null while it is suspended. */
  private onYield(result: IteratorResult<unknown>): Outcome<T> | null {
    const answer = rejectStrayYields(
      this.work as Coroutine<T>,
      result as IteratorResult<unknown, T>,
    );
    return answer.done === true ? { value: answer.value } : null;
  }

  private cancelStep(): Outcome<T> | null {
    const previous = current.cancelReason;
    current.cancelReason = this.ties?.cancelReason;
    try {
      if (!this.has(CANCELLING)) {
        this.flags |= CANCELLING;
        abortSignalsOf(this);
      }
      const isDone = cancelStep(this.pollable(), this) !== Pending;
      return isDone ? { error: this.ties?.abortError } : null;
    } finally {
      current.cancelReason = previous;
    }
  }

  /** Returns the work as a future, which can be cancelled. */
  private pollable(): Future<T> {
    if (this.has(COROUTINE)) {
      this.flags &= ~COROUTINE;
      this.work = new CoroutineFuture(this.work as Coroutine<T>, this);
    }
    return this.work as Future<T>; // set until ENDED
  }

  private end(outcome: Outcome<T>): void {
    this.state = ENDED;
    this.outcome = outcome;
    const isDone = "error" in outcome || this.has(COROUTINE);
    if (isDone || (this.work as Future<T>).reclaim === Future.prototype.reclaim) this.work = null;
    const wakeFd = this.wakeFd;
    this.wakeFd = null;
    wakeFd?.release();
    const { ties } = this;
    if (ties !== null) {
      ties.removeListener?.();
      ties.removeListener = null;
      if (ties.promise !== null) this.settlePromise(ties.promise, outcome);
    }
    const scheduler = this.runtime.executor;
    scheduler.onEnd(this as Task<unknown>);
    if (!this.has(UNREF)) scheduler.countRef(-1);
    if (scheduler.observer !== null) {
      const how = this.has(CANCELLING) ? "aborted" : "error" in outcome ? "error" : "value";
      scheduler.observer.onEnd(this as Task<unknown>, how);
    }
    if ("error" in outcome && this.spawnedAt !== null) {
      addToStack(outcome.error, `in task ${this.name}, spawned at ${this.spawnedAt}`);
    }
    if (ties !== null) ties.claims = ties.size;
    this.reportUncaught();
    // Aborted in its last poll, perhaps by its owner.
    if (this.has(ABORT_REQUESTED) && this.work !== null) this.giveBackIfUnclaimed();
    ties?.wakeAll();
  }

  /** The owner gives up the value, even before the end. It goes back to the work unless another waiter receives it. */
  disown(): void {
    if (this.state === ENDED && this.work === null) return; // there is nothing to give back
    this.flags |= DISOWNED;
    if (this.state === ENDED) this.giveBackIfUnclaimed();
  }

  private get claims(): number {
    return this.ties?.claims ?? 0;
  }

  private giveBackIfUnclaimed(): void {
    if (this.has(DISOWNED) && this.claims === 0) this.giveBack();
  }

  /**
   * Returns the value of the ended task to its work, because nobody will receive it. From then on the task counts as
   * aborted: a value that went back may belong to somebody else. Does nothing if there is nothing to give back.
   */
  giveBack(): void {
    const { work, outcome } = this;
    if (work === null || outcome === null || "error" in outcome) return;
    this.work = null;
    this.flags |= CANCELLING;
    const error = this.has(ABORT_REQUESTED) ? this.ties?.abortError : this.abortErrorNow();
    this.outcome = { error };
    (work as Future<T>).reclaim(outcome.value); // a coroutine reclaims nothing
  }

  override openWakeFd(): WakeFd {
    if (this.state === ENDED)
      throw codedError("ERR_FUTURE_ENDED", `task ${this.name} has ended: it has no eventfd`);
    this.wakeFd ??= this.runtime.executor.openWaker(() => this.schedule());
    return this.wakeFd;
  }

  /** Requests cancellation, which begins at the task's next turn. Does nothing once the task has ended. */
  abort(error?: unknown): void {
    if (this.state === ENDED || this.has(ABORT_REQUESTED | SHIELDED)) return;
    if (error === undefined) this.requestAbort(this.abortErrorNow(), current.cancelReason);
    else this.requestAbort(error);
    this.schedule();
  }

  private abortErrorNow(): AbortError {
    const cause = current.cancelReason; // of the scope or timeout that this task ends with
    return new AbortError(
      `task ${this.name} was aborted`,
      cause === undefined ? undefined : { cause },
    );
  }

  private requestAbort(error: unknown, reason: unknown = error): void {
    this.flags |= ABORT_REQUESTED;
    const ties = this.tie();
    ties.abortError = error;
    ties.cancelReason = reason;
  }

  private tie(): Ties {
    this.ties ??= new Ties();
    return this.ties;
  }

  /** Aborts the task with the signal's reason. No listener is left once the task has ended. */
  abortOn(signal: AbortSignal): void {
    if (signal.aborted) {
      this.abort(signal.reason);
      return;
    }
    const listener = (): void => this.abort(signal.reason);
    signal.addEventListener("abort", listener);
    this.tie().removeListener = () => signal.removeEventListener("abort", listener);
  }

  /** Makes the task a member of `token` until it ends. */
  joinToken(token: CancelToken): void {
    const leave = token.attach({ cancel: (reason) => this.abort(reason) });
    const ties = this.tie();
    const { removeListener } = ties;
    ties.removeListener = () => {
      removeListener?.();
      leave();
    };
  }

  /** Settles a promise with the outcome. That reports a failure, so nobody needs the handle. */
  settle(settle: Settle<T>): void {
    this.takeOutcome();
    this.tie().promise = settle as Settle; // settled with a T
  }

  private settlePromise(settle: Settle, outcome: Outcome<T>): void {
    this.tie().promise = null;
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
    this.flags |= CANCELLING;
    if (!this.has(ABORT_REQUESTED)) this.requestAbort(this.disposalError);
    this.end({ error: this.ties?.abortError });
  }

  /** The error the task failed with; null if it did not fail, or only by being aborted. */
  get failure(): { readonly error: unknown } | null {
    const { outcome } = this;
    return outcome !== null && "error" in outcome && !this.isAborted ? outcome : null;
  }

  /** True if the task failed, and nobody has received the error or is about to. */
  get isUncaught(): boolean {
    return this.claims === 0 && !this.has(TAKEN) && this.failure !== null;
  }

  /** Makes the outcome the caller's, even before the end. Returns it if the task has ended. */
  takeOutcome(): Outcome<T> | null {
    this.flags |= TAKEN;
    return this.outcome;
  }

  /** Claims a failure for `waiter` until it leaves or takes the outcome. The end wakes `target`, if there is one. */
  join(waiter: Waiter, target: WakeTarget | null): void {
    const ties = this.tie();
    if (this.state === ENDED) ties.claims++;
    else ties.wait(waiter, target);
  }

  /** Gives up a claim. The joiner may have been woken already without having received the outcome. */
  leave(waiter: Waiter): void {
    const ties = this.tie();
    if (this.state === ENDED) {
      ties.claims--;
      if (this.work === null) this.reportUncaught();
      else this.giveBackIfUnclaimed();
    } else ties.leave(waiter);
  }

  private reportUncaught(): void {
    if (this.isUncaught) this.runtime.executor.onUncaught(this as Task<unknown>);
  }

  /**
   * Returns the stack of a waiting task: each `yield*` that it is in, the innermost first. Empty for other tasks.
   * Polls the future without coop budget, so that it suspends at once, where it waits already.
   */
  logicalStack(): readonly string[] {
    if (this.state !== IDLE || this.has(ABORT_REQUESTED)) return [];
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
    if (this.state === ENDED || this.has(UNREF) === !isRef) return;
    this.flags ^= UNREF;
    const scheduler = this.runtime.executor;
    scheduler.countRef(isRef ? 1 : -1);
    scheduler.onRefChange();
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
    if (this.has(ABORT_REQUESTED)) return "cancelling";
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
