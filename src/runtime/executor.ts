// Executor: the ready queue and who is polled next. It does no I/O.

import type { RuntimeRef } from "../core/context.ts";
import { List } from "../core/list.ts";
import type { Reactor } from "../reactor/reactor.ts";
import type { Task } from "./task.ts";
import { isTraced } from "./trace.ts";
import type { SharedWakers } from "./waker-handle.ts";

/** A reactor round comes at least every so many polls: tokio's number. */
const POLLS_PER_TURN = 61;

/** What an executor is given by its runtime. */
export interface ExecutorOptions {
  readonly runtime: RuntimeRef;
  readonly reactor: Reactor;
  readonly wakers: SharedWakers;
  /** Each task has an eventfd from its birth, and each wake is a write to it. */
  readonly isEager: boolean;
  /** A task failed, and nobody has polled its handle. */
  readonly onUncaught: (task: Task<unknown>) => void;
  /** The first task has become ready, or what keeps the process alive has changed. */
  readonly onChange: () => void;
}

export class Executor {
  readonly options: ExecutorOptions;
  readonly tasks: List<Task<unknown>> = new List();
  /** Whether anyone listens to the trace: asked once per turn. */
  isTraced = false;
  /** Of `tasks`, those that keep the process alive in guest mode. */
  refTasks = 0;
  /** For metrics. */
  polls = 0;
  wakes = 0;
  #lastId = 0;
  /** A ring: `#length` tasks from `#head` on; its capacity is a power of two. */
  #ring: (Task<unknown> | undefined)[] = new Array(64).fill(undefined);
  #head = 0;
  #length = 0;

  constructor(options: ExecutorOptions) {
    this.options = options;
  }

  nextId(): number {
    return ++this.#lastId;
  }

  /** How many tasks there have been. */
  get spawned(): number {
    return this.#lastId;
  }

  get hasReady(): boolean {
    return this.#length > 0;
  }

  push(task: Task<unknown>): void {
    this.wakes++;
    if (this.#length === this.#ring.length) this.#grow();
    this.#ring[(this.#head + this.#length++) & (this.#ring.length - 1)] = task;
    if (this.#length === 1) this.options.onChange();
  }

  /** Polls ready tasks, first come, first served: up to a turn's worth, or until `root` has ended. */
  turn(root: Task<unknown> | null): void {
    this.isTraced = isTraced();
    for (let polls = 0; polls < POLLS_PER_TURN && this.#length > 0; polls++) {
      const task = this.#ring[this.#head]!; // #length > 0
      this.#ring[this.#head] = undefined;
      this.#head = (this.#head + 1) & (this.#ring.length - 1);
      this.#length--;
      this.polls++;
      task.run();
      if (root?.isEnded) return;
    }
  }

  #grow(): void {
    const mask = this.#ring.length - 1;
    const larger = new Array<Task<unknown> | undefined>(this.#ring.length * 2).fill(undefined);
    for (let index = 0; index < this.#length; index++) {
      larger[index] = this.#ring[(this.#head + index) & mask];
    }
    this.#ring = larger;
    this.#head = 0;
  }
}
