// Failures nobody took: what is done with them, and when. See `onUncaught` in options.ts.

import { describe } from "../base/describe.ts";
import { UncaughtTaskError } from "./errors.ts";
import type { OnUncaught } from "./options.ts";
import type { Task } from "./task.ts";

/** So many polls later a failure is told, though the runtime has never been idle. */
const PATIENCE_POLLS = 10_000;
/** So many that are told in an endless `blockOn` are kept, for when it ends after all. */
const MAX_KEPT = 64;

export class Uncaught {
  #policy: OnUncaught;
  readonly #report: (error: unknown, what: string) => void;
  /** With "throw": failed at so many polls, while nobody had polled their handles. They may be polled yet. */
  readonly #tasks: Map<Task<unknown>, number> = new Map();
  /** Those that nobody joined for long: printed, since the `blockOn` may never return, and to be thrown if it does. */
  #printed: Task<unknown>[] = [];

  constructor(policy: OnUncaught, report: (error: unknown, what: string) => void) {
    this.#policy = policy;
    this.#report = report;
  }

  /** `polls`: how many the runtime has made. */
  add(task: Task<unknown>, polls: number): void {
    if (this.#policy === "throw") this.#tasks.set(task, polls);
    else if (this.#policy === "report") this.#print(task);
    else {
      task.takeOutcome();
      try {
        this.#policy(errorOf(task), task.info);
      } catch (error) {
        this.#report(error, "onUncaught");
      }
    }
  }

  /**
   * The error to throw now, if there is one. `polls`, while tasks are ready, spares young failures:
   * who joins them may be among those, or not have come so far yet.
   */
  take(polls: number = Number.POSITIVE_INFINITY): UncaughtTaskError | null {
    // A task is there twice if it was to be taken by one who gave up.
    const due = new Set([...this.#printed.splice(0), ...this.#takeDue(polls)]);
    const tasks = [...due].filter((task) => task.isUncaught);
    const [first] = tasks;
    if (first === undefined) return null;
    for (const task of tasks) task.takeOutcome();
    const errors = tasks.map(errorOf);
    const what = errors[0] instanceof Error ? errors[0] : describe(errors[0]);
    const more = tasks.length > 1 ? ` (and ${tasks.length - 1} more)` : "";
    return new UncaughtTaskError(
      `${nameOf(first)} failed, and nobody joined it${more}: ${what}`,
      errors,
    );
  }

  /** A `blockOn` goes on, and may do so for ever: prints those that nobody has joined for long. */
  printDue(polls: number): void {
    if (this.#tasks.size === 0) return;
    for (const task of this.#takeDue(polls)) {
      if (!task.isUncaught) continue;
      this.#report(errorOf(task), `${nameOf(task)}, which nobody has joined so far,`);
      if (this.#printed.length < MAX_KEPT) this.#printed.push(task);
      else task.takeOutcome();
    }
  }

  #takeDue(polls: number): Task<unknown>[] {
    const due: Task<unknown>[] = [];
    for (const [task, failedAt] of this.#tasks) {
      if (polls - failedAt < PATIENCE_POLLS) break; // nor have those after it
      this.#tasks.delete(task);
      due.push(task);
    }
    return due;
  }

  /**
   * Throws what `take` gives where a failure that nobody took is expected: to `uncaughtException`. If
   * nobody listens there Bun prints it, but neither its `cause` nor its stack, and nobody would learn
   * where the task failed: so that is printed first.
   */
  throwOnLoop(polls: number | undefined): void {
    const error = this.take(polls);
    if (error === null) return;
    setImmediate(() => {
      if (process.listenerCount("uncaughtException") === 0) {
        for (const one of error.errors) this.#report(one, "a task that nobody joined");
      }
      throw error;
    });
  }

  /** There is nobody left to throw at, from now on. */
  printAll(): void {
    if (this.#policy === "throw") this.#policy = "report";
    for (const task of this.#takeDue(Number.POSITIVE_INFINITY)) {
      if (task.isUncaught && !this.#printed.includes(task)) this.#print(task);
    }
  }

  #print(task: Task<unknown>): void {
    task.takeOutcome();
    this.#report(errorOf(task), `${nameOf(task)}, which nobody joined,`);
  }
}

function errorOf({ failure }: Task<unknown>): unknown {
  return failure?.error;
}

function nameOf({ name, spawnedAt }: Task<unknown>): string {
  return `task ${name}${spawnedAt === null ? "" : ` (spawned at ${spawnedAt})`}`;
}
