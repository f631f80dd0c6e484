// Executor: owns the live tasks and the ready queue, and decides in which order tasks are polled. It performs no
// I/O.

import { List } from "../base/list.ts";
import { Queue } from "../base/queue.ts";
import { COOP_BUDGET, describeWait, type LooseFuture, type Runnable } from "../core/context.ts";
import { current } from "../core/current.ts";
import type { Clock } from "../sys/clock.ts";
import type { Observer } from "./observer.ts";
import { drain } from "./promises/microtasks.ts";
import type { Scheduler, Task, TaskRuntime } from "./task.ts";
import type { TaskInfo } from "./task-info.ts";
import type { EventfdWaker } from "./threads/eventfd-waker.ts";
import { ClockThrottle } from "./throttle.ts";

/** A reactor round is due after at most this many polls. tokio's number. */
const POLLS_PER_ROUND = 61;

/** A turn ends after the poll in which it reaches this age, so that sockets and timers, ours and Bun's, are not late. */
export const TURN_MS = 0.5;

/** A guest reads the clock at least once per this many polls, because Bun's loop waits. (Reading after each poll cost an echo 2 %.) */
const GUEST_MAX_STEP = 8;
/** `blockOn` first reads the clock after this many polls: only its own sockets and timers wait. */
const FIRST_STEP = 4;

/** What the executor needs from its runtime. */
interface ExecutorOptions {
  readonly runtime: TaskRuntime;
  readonly clock: Clock;
  readonly observer: Observer;
  readonly isEager: boolean;
  /** The ready queue; a simulation passes its own. */
  readonly ready?: Queue<Runnable> | undefined;
  readonly openWaker: (onWritten: () => void) => EventfdWaker;
  readonly onUncaught: (task: Task<unknown>) => void;
}

export class Executor implements Scheduler {
  readonly runtime: TaskRuntime;
  readonly isEager: boolean;
  readonly tasks: List<Task<unknown>> = new List();
  /** What looks at the tasks; null if nothing does. Read once per turn. */
  observer: Observer | null;
  /** How many of `tasks` keep the process alive in guest mode. */
  refTasks = 0;
  /** Notifies a guest that the first task became ready, or that what keeps the process alive changed. */
  onChange: (() => void) | null = null;
  /** How many times this executor has polled a task. */
  polls = 0;
  /** How many wakes have queued a task; for metrics. */
  wakes = 0;
  private readonly options: ExecutorOptions;
  /** The value of `polls` at which a reactor round is due, also across many short `blockOn`s. */
  private nextRound: number = POLLS_PER_ROUND;
  private lastId = 0;
  private readonly ready: Queue<Runnable>;
  /** Awaits that no task owns, because the code that made them is not part of any work. */
  readonly loose: List<LooseFuture> = new List();
  /**
   * Runs the reactions of settled promises. It goes to the end of the ready queue, so that all awaits that settle
   * together share one drain of microtasks.
   */
  private readonly drainer: Runnable = { next: null, run: () => this.drainSettled() };
  private readonly throttle = new ClockThrottle(FIRST_STEP, POLLS_PER_ROUND);
  private readonly guestThrottle = new ClockThrottle(1, GUEST_MAX_STEP);

  constructor(options: ExecutorOptions) {
    this.options = options;
    this.ready = options.ready ?? new Queue();
    this.runtime = options.runtime;
    this.isEager = options.isEager;
    this.observer = options.observer.ifAny();
  }

  nextId(): number {
    return ++this.lastId;
  }

  /** How many tasks have been created. */
  get spawned(): number {
    return this.lastId;
  }

  get hasReady(): boolean {
    return !this.ready.isEmpty;
  }

  /** How many tasks and awaits are in the ready queue: each was queued by a wake, and leaves it with a poll. */
  get readyCount(): number {
    return this.wakes - this.polls;
  }

  openWaker(onWritten: () => void): EventfdWaker {
    return this.options.openWaker(onWritten);
  }

  countRef(delta: 1 | -1): void {
    this.refTasks += delta;
  }

  onRefChange(): void {
    this.onChange?.();
  }

  onEnd(task: Task<unknown>): void {
    this.tasks.remove(task);
  }

  onUncaught(task: Task<unknown>): void {
    this.options.onUncaught(task);
  }

  /** Must be called with each reactor round. */
  onRound(): void {
    this.nextRound = this.polls + POLLS_PER_ROUND;
  }

  push(runnable: Runnable): void {
    this.wakes++;
    if (this.ready.push(runnable)) this.onChange?.();
  }

  /** Adopts an await that no task owns: it keeps the process alive until it ends. */
  addLoose(loose: LooseFuture): void {
    loose.id = this.nextId();
    this.loose.push(loose);
    this.countRef(1);
  }

  /** Must be called when the await has ended. */
  removeLoose(loose: LooseFuture): void {
    this.loose.remove(loose);
    this.countRef(-1);
  }

  /** Describes the loose awaits as `runtime.tasks()` shows them. */
  looseInfo(): TaskInfo[] {
    return [...this.loose].map((loose) => ({
      id: loose.id,
      name: `await #${loose.id}`,
      spawner: 0,
      state: "waiting",
      waitsOn: describeWait(loose),
    }));
  }

  /** How many tasks and loose awaits have not ended. */
  get alive(): number {
    return this.tasks.size + this.loose.size;
  }

  /** Records that promises were settled. Their reactions run after the tasks and awaits that are ready now. */
  requestDrain(): void {
    if (this.runtime.isDrainDue) return;
    this.runtime.isDrainDue = true;
    if (this.ready.push(this.drainer)) this.onChange?.();
  }

  private drainSettled(): void {
    this.runtime.budget = COOP_BUDGET; // for the futures that the reactions await, which are polled at once
    try {
      this.drain();
    } finally {
      this.runtime.isDrainDue = false;
    }
  }

  /** Runs the microtasks that are due. */
  drain(): void {
    if (this.observer === null) drain();
    else this.observer.drain();
  }

  /** Runs one turn of ready tasks and awaits. `pollReady` says when it ends. */
  turn(root: Task<unknown> | null, deadlineMs: number = 0): void {
    const previous = current.context; // of a poll that called the `blockOn` of another runtime
    this.observer = this.options.observer.ifAny();
    try {
      this.observer?.onTurnStart(this.polls);
      this.pollReady(root, deadlineMs);
      this.observer?.onTurnEnd(this.polls);
    } finally {
      current.context = previous;
    }
    this.runtime.budget = COOP_BUDGET; // for awaits that begin outside a turn
  }

  /**
   * Polls ready tasks, first come, first served, until a reactor round is due, `root` has ended, or the turn has
   * lasted long enough: a guest's until `deadlineMs`, any other for TURN_MS. (A poll may be 128 large reads, or a
   * piece of a long computation; 61 of those take hundreds of milliseconds.)
   */
  private pollReady(root: Task<unknown> | null, deadlineMs: number): void {
    const { observer } = this;
    const isGuest = deadlineMs > 0;
    const throttle = (isGuest ? this.guestThrottle : this.throttle).reset();
    let endMs = deadlineMs;
    for (;;) {
      // Until the clock or the number of polls is checked again: counting down costs the least per poll.
      let left = Math.min(throttle.step, this.nextRound - this.polls);
      for (; left > 0; left--) {
        const ready = this.ready.shift();
        if (ready === null) return;
        if (ready !== this.drainer) this.polls++;
        if (observer === null) ready.run();
        else observer.run(ready);
        if (root?.isEnded) return;
      }
      if (this.polls >= this.nextRound || this.ready.isEmpty) return;
      const nowMs = this.options.clock.now();
      if (endMs === 0) endMs = nowMs + TURN_MS;
      if (nowMs >= endMs) return;
      throttle.onRead(nowMs);
    }
  }
}
