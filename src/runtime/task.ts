// Task: a future that the runtime owns, and the state machine of who polls it when.

import type { AsyncResource } from "node:async_hooks";
import type { Linked } from "../base/list.ts";
import type { Queued } from "../base/queue.ts";
import { cancelStep } from "../combine/children.ts";
import type { Settle } from "../core/adoption.ts";
import { Context, current } from "../core/context.ts";
import { AbortError, type Future } from "../core/future.ts";
import { type Outcome, Pending } from "../core/poll.ts";
import { type Waiter, WaitQueue } from "../core/wait-queue.ts";
import type { WakeFd, WakeTarget } from "../core/waker.ts";
import { addToStack } from "./errors.ts";
import type { Executor } from "./executor.ts";
import type { TaskInfo } from "./options.ts";
import { captureStorage } from "./promises/storage.ts";
import { EventfdWaker } from "./threads/eventfd-waker.ts";
import { trace } from "./trace.ts";

/** Waits for a wake. Not in the ready queue. */
const IDLE = 0;
/** In the ready queue, once. */
const QUEUED = 1;
/** Being polled. */
const RUNNING = 2;
/** Being polled, and woken meanwhile: queued again when the poll returns. */
const WOKEN = 3;
/** Ended; `outcome` is set, `future` is gone, wakes do nothing. */
const ENDED = 4;

type State = typeof IDLE | typeof QUEUED | typeof RUNNING | typeof WOKEN | typeof ENDED;

/** What a task is doing, as `runtime.tasks()` shows it. */
export type TaskState = "ready" | "running" | "waiting" | "cancelling" | "ended";

/** Operations that one poll may complete before it yields: tokio's number. */
const COOP_BUDGET = 128;

/** A task is the context of its polls. */
export class Task<T> extends Context implements Linked<Task<unknown>>, Queued<Task<unknown>> {
  readonly id: number;
  readonly #name: string | undefined;
  outcome: Outcome<T> | null = null;
  /** Links of the list of all tasks that are alive. */
  before: Task<unknown> | null = null;
  after: Task<unknown> | null = null;
  list: object | null = null;
  /** Its link in the ready queue. */
  next: Task<unknown> | null = null;
  readonly #executor: Executor;
  /** AsyncLocalStorage as it was where the task was spawned. */
  readonly #storage: AsyncResource = captureStorage();
  #future: Future<T> | null;
  #state: State = IDLE;
  /** A cleanup: nobody can abort it. */
  readonly #isShielded: boolean;
  /** Its outcome was given to someone, or will be; or its failure told, as `onUncaught` says. */
  #isTaken = false;
  /** Since it has ended: how many of those who joined have not given up. One of them will take a failure. */
  #claims = 0;
  /** Where it was spawned, in debug mode. */
  spawnedAt: string | null = null;
  /** Cancellation was asked for. It may end before it begins: then it was not aborted. */
  #isAbortRequested = false;
  /** What awaiting it throws, once it has been aborted. */
  #abortError: unknown = null;
  /** Takes the listener off the signal that may abort it; or settles the promise of its outcome. */
  #onEnd: (() => void) | null = null;
  /** Cancellation has begun: from here on the future is only polled for that. */
  #isCancelling = false;
  #joiners: WaitQueue | null = null;
  #isRef = true;

  constructor(executor: Executor, future: Future<T>, name?: string, isShielded = false) {
    super(executor.options.runtime);
    this.#isShielded = isShielded;
    this.#executor = executor;
    // First: out of fds, there is no task. A cleanup has begun, and is a task whatever there is.
    if (executor.isEager && !isShielded) this.openWakeFd();
    this.id = executor.nextId();
    this.#name = name;
    this.#future = future;
    executor.refTasks++;
  }

  override get task(): this {
    return this;
  }

  get name(): string {
    return this.#name ?? `#${this.id}`;
  }

  get isEnded(): boolean {
    return this.#state === ENDED;
  }

  /** It has ended by being cancelled: not if it did by itself before that began. */
  get isAborted(): boolean {
    return this.#isCancelling && this.#state === ENDED;
  }

  override wake(): void {
    if (this.#state === ENDED) return;
    const { isTraced, isEager } = this.#executor;
    if (isTraced) trace("wake", { id: this.id, name: this.name });
    if (isEager && this.wakeFd !== null) (this.wakeFd as EventfdWaker).write();
    else this.schedule();
  }

  /** Queues the task: once, however often it is asked. */
  schedule(): void {
    if (this.#state === IDLE) {
      this.#state = QUEUED;
      this.#executor.push(this as Task<unknown>);
    } else if (this.#state === RUNNING) {
      this.#state = WOKEN;
    }
  }

  /** One poll. Called by the executor, with the task taken from the queue. */
  run(): void {
    this.#state = RUNNING;
    this.runtime.budget = COOP_BUDGET;
    this.waitsOn = null;
    const { isTraced } = this.#executor;
    if (isTraced) trace("poll", { phase: "start", id: this.id, name: this.name });
    let outcome: Outcome<T> | null = null;
    try {
      outcome = this.#poll();
    } catch (error) {
      outcome = { error };
    }
    if (isTraced) {
      trace("poll", { phase: "end", id: this.id, name: this.name, isPending: outcome === null });
    }
    if (outcome !== null) this.#end(outcome);
    else {
      const isDueAgain = (this.#state as State) === WOKEN; // or aborted, while it ran
      this.#state = IDLE;
      if (isDueAgain) this.schedule();
    }
  }

  #poll(): Outcome<T> | null {
    const previous = current.context;
    current.context = this;
    try {
      return this.#storage.runInAsyncScope(this.#step, this);
    } finally {
      current.context = previous;
    }
  }

  #step(): Outcome<T> | null {
    const future = this.#future!; // set until ENDED
    if (this.#isAbortRequested) {
      this.#isCancelling = true;
      return cancelStep(future, this) === Pending ? null : { error: this.#abortError };
    }
    const value = future.poll(this);
    return value === Pending ? null : { value };
  }

  #end(outcome: Outcome<T>): void {
    this.#state = ENDED;
    this.outcome = outcome;
    this.#future = null;
    const wakeFd = this.wakeFd;
    this.wakeFd = null;
    wakeFd?.release();
    this.#onEnd?.();
    this.#onEnd = null;
    this.#executor.tasks.remove(this as Task<unknown>);
    if (this.#isRef) this.#executor.refTasks--;
    if (this.#executor.isTraced) {
      const how = this.#isCancelling ? "aborted" : "error" in outcome ? "error" : "value";
      trace("task", { phase: "end", id: this.id, name: this.name, outcome: how });
    }
    if ("error" in outcome && this.spawnedAt !== null) {
      addToStack(outcome.error, `in task ${this.name}, spawned at ${this.spawnedAt}`);
    }
    this.#claims = this.#joiners?.size ?? 0;
    this.#tell();
    this.#joiners?.wakeAll();
    this.#joiners = null;
  }

  override openWakeFd(): WakeFd {
    if (this.#state === ENDED) throw new Error(`task ${this.name} has ended: it has no eventfd`);
    const { reactor, wakers } = this.#executor.options;
    this.wakeFd ??= new EventfdWaker(reactor, wakers, () => this.schedule());
    return this.wakeFd;
  }

  /** Asks for cancellation; it begins at the task's next turn. Changes nothing once it has ended. */
  abort(error: unknown = new AbortError(`task ${this.name} was aborted`)): void {
    if (this.#state === ENDED || this.#isAbortRequested || this.#isShielded) return;
    this.#isAbortRequested = true;
    this.#abortError = error;
    this.schedule();
  }

  /** Aborts it with the signal's reason; no listener is left when it has ended. */
  abortOn(signal: AbortSignal): void {
    if (signal.aborted) {
      this.abort(signal.reason);
      return;
    }
    const listener = (): void => this.abort(signal.reason);
    signal.addEventListener("abort", listener);
    this.#onEnd = () => signal.removeEventListener("abort", listener);
  }

  /** Settles a promise with its outcome, for one who has no handle of it: its failure is told by that. */
  settle({ resolve, reject }: Settle<T>): void {
    this.take();
    this.#onEnd = () => {
      const outcome = this.outcome!; // it has ended
      this.runtime.afterTurn(() => {
        if ("error" in outcome) reject(outcome.error);
        else resolve(outcome.value);
      });
    };
  }

  /** What aborts it when its runtime is disposed. */
  get disposalError(): AbortError {
    return new AbortError(`task ${this.name} was aborted: its runtime was disposed`);
  }

  /** Ends it, though its cleanup will not: its runtime is gone. Who waits is told. */
  abandon(): void {
    this.#isCancelling = true;
    this.#end({ error: this.#abortError ?? this.disposalError });
  }

  /** What it failed with; null if it did not, or only by being aborted. */
  get failure(): { readonly error: unknown } | null {
    const { outcome } = this;
    return outcome !== null && "error" in outcome && !this.isAborted ? outcome : null;
  }

  /** It failed, and nobody has been given the error, nor is about to be. */
  get isUncaught(): boolean {
    return this.#claims === 0 && !this.#isTaken && this.failure !== null;
  }

  /** The outcome, if it has ended. Its failure is the caller's from now on, also if it has not. */
  take(): Outcome<T> | null {
    this.#isTaken = true;
    return this.outcome;
  }

  /** From now on a failure is this waiter's, until it leaves, or takes it. */
  join(waiter: Waiter, target: WakeTarget | null): void {
    if (this.#state === ENDED) {
      this.#claims++;
      return;
    }
    this.#joiners ??= new WaitQueue();
    this.#joiners.wait(waiter, target);
  }

  /** One who has joined gives up; perhaps it was woken already, and has not been given the outcome yet. */
  leave(waiter: Waiter): void {
    if (this.#state === ENDED) {
      this.#claims--;
      this.#tell();
    } else this.#joiners?.leave(waiter);
  }

  #tell(): void {
    if (this.isUncaught) this.#executor.options.onUncaught(this as Task<unknown>);
  }

  /** Whether it keeps the process alive in guest mode. */
  setRef(isRef: boolean): void {
    if (this.#state === ENDED || this.#isRef === isRef) return;
    this.#isRef = isRef;
    this.#executor.refTasks += isRef ? 1 : -1;
    this.#executor.onChange?.();
  }

  get state(): TaskState {
    if (this.#state === ENDED) return "ended";
    if (this.#isAbortRequested) return "cancelling";
    if (this.#state === IDLE) return "waiting";
    return this.#state === QUEUED ? "ready" : "running";
  }

  /** What it waits for now, in words: `read fd 9`, `its turn`. */
  get doing(): string {
    switch (this.#state) {
      case IDLE:
        return this.waitsOn?.waitsOn() ?? "a wake";
      case QUEUED:
        return "its turn";
      case ENDED:
        return "nothing";
      default:
        return "nothing: it is being polled";
    }
  }
}

export function infoOf(task: Task<unknown>): TaskInfo {
  const { id, name, state, doing: waitsOn, spawnedAt } = task;
  return { id, name, state, waitsOn, ...(spawnedAt === null ? {} : { spawnedAt }) };
}
