// Task: a future that the runtime owns, and the state machine of who polls it when. JoinHandle: the
// future of its result.

import { Context, swapContext } from "../core/context.ts";
import { AbortError, Future, polledAfterEnd } from "../core/future.ts";
import type { Linked } from "../core/list.ts";
import { Pending, type Poll } from "../core/poll.ts";
import { type Waiter, WaitQueue } from "../core/wait-queue.ts";
import { type WakeFd, WakeTarget } from "../core/waker.ts";
import { EventfdWaker } from "./eventfd-waker.ts";
import type { Executor } from "./executor.ts";

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

export type Outcome<T> = { readonly value: T } | { readonly error: unknown };

/** Operations that one poll may complete before it yields: tokio's number. */
const COOP_BUDGET = 128;

export class Task<T> extends WakeTarget implements Linked<Task<unknown>> {
  readonly id: number;
  readonly name: string;
  outcome: Outcome<T> | null = null;
  /** Links of the list of all tasks that are alive. */
  before: Task<unknown> | null = null;
  after: Task<unknown> | null = null;
  list: object | null = null;
  readonly #executor: Executor;
  readonly #context: Context;
  #future: Future<T> | null;
  #state: State = IDLE;
  /** A cleanup: nobody can abort it. */
  readonly #isShielded: boolean;
  /** It failed, and nobody has been given the error. */
  #isUntaken = false;
  /** Nobody can ask for the result any more: a failure is reported at once. */
  isDetached = false;
  #wasPolled = false;
  #isAborted = false;
  /** Cancellation has begun: from here on the future is only polled for that. */
  #isCancelling = false;
  #joiners: WaitQueue | null = null;

  constructor(executor: Executor, future: Future<T>, name?: string, isShielded = false) {
    super();
    this.#isShielded = isShielded;
    this.id = executor.nextId();
    this.name = name ?? `#${this.id}`;
    this.#executor = executor;
    this.#future = future;
    this.#context = new Context(executor.runtime, this, this);
    if (executor.isEager) this.openWakeFd();
  }

  get isEnded(): boolean {
    return this.#state === ENDED;
  }

  override wake(): void {
    if (this.#state === ENDED) return;
    if (this.#executor.isEager) (this.wakeFd as EventfdWaker).write();
    else this.schedule();
  }

  /** Queues the task: once, however often it is asked. */
  schedule(): void {
    if (this.#state === IDLE) {
      this.#state = QUEUED;
      this.#executor.push(this);
    } else if (this.#state === RUNNING) {
      this.#state = WOKEN;
    }
  }

  override openWakeFd(): WakeFd {
    if (this.#state === ENDED) throw new Error(`task ${this.name} has ended: it has no eventfd`);
    this.wakeFd ??= new EventfdWaker(this.#executor.reactor, () => this.schedule());
    return this.wakeFd;
  }

  /** Asks for cancellation; it begins at the task's next turn. Changes nothing once it has ended. */
  abort(): void {
    if (this.#state === ENDED || this.#isAborted || this.#isShielded) return;
    this.#isAborted = true;
    if (this.#wasPolled) this.schedule();
    else {
      this.#future?.drop(); // never started: nothing of it runs
      this.#end({ error: abortError(this) });
    }
  }

  /** One poll. Called by the executor, with the task taken from the queue. */
  run(): void {
    if (this.#state === ENDED) return;
    this.#state = RUNNING;
    this.#wasPolled = true;
    this.#executor.runtime.budget = COOP_BUDGET;
    let outcome: Outcome<T> | null = null;
    try {
      outcome = this.#poll();
    } catch (error) {
      outcome = { error };
    }
    if (outcome !== null) this.#end(outcome);
    else {
      // `wake` may have been called while it ran; an abort during the poll takes effect now.
      const isDueAgain =
        (this.#state as State) === WOKEN || (this.#isAborted && !this.#isCancelling);
      this.#state = IDLE;
      if (isDueAgain) this.schedule();
    }
  }

  /** The result, for one who asked for it. */
  take(): Outcome<T> | null {
    if (this.outcome !== null) this.#isUntaken = false;
    return this.outcome;
  }

  /** A failure that nobody has taken is not lost. */
  reportUntaken(): void {
    if (!this.#isUntaken || this.outcome === null || !("error" in this.outcome)) return;
    this.#isUntaken = false;
    this.#executor.runtime.report(this.outcome.error, `task ${this.name}, which nobody joined,`);
  }

  join(waiter: Waiter, target: WakeTarget): void {
    this.#joiners ??= new WaitQueue();
    this.#joiners.wait(waiter, target);
  }

  leave(waiter: Waiter): void {
    this.#joiners?.leave(waiter);
  }

  #poll(): Outcome<T> | null {
    const future = this.#future!; // set until ENDED
    const previous = swapContext(this.#context);
    try {
      if (this.#isAborted) {
        this.#isCancelling = true;
        return future.pollCancel(this.#context) === Pending ? null : { error: abortError(this) };
      }
      const value = future.poll(this.#context);
      return value === Pending ? null : { value };
    } finally {
      swapContext(previous);
    }
  }

  #end(outcome: Outcome<T>): void {
    this.#state = ENDED;
    this.outcome = outcome;
    this.#future = null;
    const wakeFd = this.wakeFd;
    this.wakeFd = null;
    wakeFd?.release();
    this.#executor.tasks.remove(this as Task<unknown>);
    if ("error" in outcome && !this.#isAborted) {
      this.#isUntaken = true;
      if (this.isDetached) this.reportUntaken();
      else if (this.#joiners === null || this.#joiners.size === 0) {
        this.#executor.untaken.push(this as Task<unknown>);
      }
    }
    this.#joiners?.wakeAll();
    this.#joiners = null;
  }
}

function abortError(task: { name: string }): AbortError {
  return new AbortError(`task ${task.name} was aborted`);
}

/** One awaiter's wait for a task. */
class Join<T> extends Future<T> implements Waiter {
  target: WakeTarget | null = null;
  before: Waiter | null = null;
  after: Waiter | null = null;
  list: object | null = null;
  readonly #task: Task<T>;
  #isEnded = false;

  constructor(task: Task<T>) {
    super();
    this.#task = task;
  }

  override poll(cx: Context): Poll<T> {
    if (this.#isEnded) throw polledAfterEnd("the wait for a task");
    if (cx.isExhausted()) return Pending;
    const outcome = this.#task.take();
    if (outcome === null) {
      this.#task.join(this, cx.target);
      return Pending;
    }
    this.#isEnded = true;
    cx.runtime.budget--;
    if ("error" in outcome) throw outcome.error;
    return outcome.value;
  }

  override drop(): void {
    this.#isEnded = true;
    this.#task.leave(this);
  }
}

/**
 * The result of a spawned task. `yield* handle` gives its value, or throws what it failed with: from
 * any task, as often as you like, whenever it ended. Dropping a handle detaches the task: it goes on.
 * Awaiting it is cancel safe.
 *
 * @example
 * const handle = spawn(function* () { yield* sleep(10); return 42; });
 * const answer = yield* handle;
 */
export class JoinHandle<T> extends Future<T> {
  readonly #task: Task<T>;
  /** The wait of those who poll the handle itself; `yield*` makes one of its own each time. */
  #own: Join<T> | null = null;

  constructor(task: Task<T>) {
    super();
    this.#task = task;
  }

  get id(): number {
    return this.#task.id;
  }

  get name(): string {
    return this.#task.name;
  }

  /** True once the task has completed, failed, or been aborted with its cleanup over. */
  get isFinished(): boolean {
    return this.#task.isEnded;
  }

  /**
   * Cancels the task at its next suspension. To await the handle then throws an AbortError, once its
   * cleanup is over. A task that was never polled never starts; one that has ended is not changed.
   */
  abort(): void {
    this.#task.abort();
  }

  /** Gives up interest in the result: the task goes on by itself, and a failure of it is reported. */
  detach(): void {
    this.drop();
  }

  override poll(cx: Context): Poll<T> {
    this.#own ??= new Join(this.#task);
    const value = this.#own.poll(cx);
    if (value !== Pending) this.#own = null;
    return value;
  }

  override drop(): void {
    this.#own?.drop();
    this.#own = null;
    this.#task.isDetached = true;
    this.#task.reportUntaken();
  }

  override [Symbol.iterator](): Future<T> {
    return new Join(this.#task);
  }
}
