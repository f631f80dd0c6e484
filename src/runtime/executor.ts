// Executor: the ready queue and who is polled next. It does no I/O.

import { List } from "../base/list.ts";
import { Queue } from "../base/queue.ts";
import type { RuntimeRef } from "../core/context.ts";
import type { Reactor } from "../reactor/reactor.ts";
import type { Task } from "./task.ts";
import type { SharedWakers } from "./threads/waker-handle.ts";
import { isTraced } from "./trace.ts";

/** A reactor round comes at least every so many polls: tokio's number. */
const POLLS_PER_ROUND = 61;

/** A turn ends with a poll that is found to have passed this, so that sockets and timers, ours and Bun's, are not late. */
export const TURN_MS = 0.5;

/**
 * While polls are as short as this, the clock is asked so many times as seldom each time: to ask costs what a
 * yield does. A guest asks after so many at the latest, since Bun's loop waits (after each it cost an echo 2 %).
 */
const SHORT_MS = 0.02;
const SHORT_POLLS = 8;
/** `blockOn` asks after so many at first: what waits then is its own. */
const FIRST_POLLS = 4;

/** What an executor is given by its runtime. */
interface ExecutorOptions {
  readonly runtime: RuntimeRef;
  readonly reactor: Reactor;
  readonly wakers: SharedWakers;
  readonly isEager: boolean;
  /** A task failed, and nobody has polled its handle, or all who did have given up. */
  readonly onUncaught: (task: Task<unknown>) => void;
}

export class Executor {
  readonly options: ExecutorOptions;
  /** Each task, but a cleanup, has an eventfd from its birth, and each wake is a write to it. */
  readonly isEager: boolean;
  readonly tasks: List<Task<unknown>> = new List();
  /** Whether anyone listens to the trace: asked once per turn. */
  isTraced: boolean = isTraced();
  /** Of `tasks`, those that keep the process alive in guest mode. */
  refTasks = 0;
  /** A guest is told when the first task becomes ready, or what keeps the process alive has changed. */
  onChange: (() => void) | null = null;
  /** When `polls` has come so far, a reactor round is due: also if many short `blockOn`s have made them. */
  #nextRound: number = POLLS_PER_ROUND;
  polls = 0;
  /** For metrics. */
  wakes = 0;
  #lastId = 0;
  readonly #ready: Queue<Task<unknown>> = new Queue();

  constructor(options: ExecutorOptions) {
    this.options = options;
    this.isEager = options.isEager;
  }

  nextId(): number {
    return ++this.#lastId;
  }

  /** How many tasks there have been. */
  get spawned(): number {
    return this.#lastId;
  }

  get hasReady(): boolean {
    return !this.#ready.isEmpty;
  }

  /** A reactor round has been made. */
  onRound(): void {
    this.#nextRound = this.polls + POLLS_PER_ROUND;
  }

  push(task: Task<unknown>): void {
    this.wakes++;
    const isFirst = this.#ready.isEmpty;
    this.#ready.push(task);
    if (isFirst) this.onChange?.();
  }

  /**
   * Polls ready tasks, first come, first served: until a reactor round is due, `root` has ended, or it has
   * lasted: a guest's until `deadlineMs`, another half a millisecond. (A poll may be 128 large reads, or a
   * piece of a long computation; 61 of them take hundreds of milliseconds.)
   */
  turn(root: Task<unknown> | null, deadlineMs: number = 0): void {
    this.isTraced = isTraced();
    const isGuest = deadlineMs > 0;
    const most = isGuest ? SHORT_POLLS : POLLS_PER_ROUND;
    let endMs = deadlineMs;
    let step = isGuest ? 1 : FIRST_POLLS;
    /** Polls until the clock is asked. */
    let left = step;
    let askedMs = 0;
    while (this.polls < this.#nextRound) {
      const task = this.#ready.shift();
      if (task === null) return;
      this.polls++;
      task.run();
      if (root?.isEnded) return;
      if (--left !== 0 || this.#ready.isEmpty) continue;
      const nowMs = performance.now();
      if (endMs === 0) endMs = nowMs + TURN_MS;
      if (nowMs >= endMs) return;
      step = nowMs - askedMs < step * SHORT_MS ? Math.min(step * SHORT_POLLS, most) : 1;
      left = step;
      askedMs = nowMs;
    }
  }
}
