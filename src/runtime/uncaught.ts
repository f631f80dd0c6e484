// Failures nobody took: what is done with them, and when. See `onUncaught` in options.ts.

import { describe } from "../core/describe.ts";
import { UncaughtTaskError } from "./errors.ts";
import type { OnUncaught } from "./options.ts";
import { infoOf, type Task } from "./task.ts";

/** So many polls later a failure is told, though the runtime has never been idle. */
const PATIENCE_POLLS = 10_000;
/** So many are not worth a look whether they were taken since. */
const FEW = 64;

export class Uncaught {
  #policy: OnUncaught;
  readonly #report: (error: unknown, what: string) => void;
  /** With "throw": failed while nobody had polled their handles. They may be polled yet. */
  #tasks: { readonly task: Task<unknown>; readonly polls: number }[] = [];
  /** When there are so many, those that were taken since are forgotten: a `blockOn` may last for ever. */
  #most = FEW;

  constructor(policy: OnUncaught, report: (error: unknown, what: string) => void) {
    this.#policy = policy;
    this.#report = report;
  }

  /** `polls`: how many the runtime has made. */
  add(task: Task<unknown>, polls: number): void {
    if (this.#policy === "throw") {
      if (this.#tasks.length >= this.#most) {
        this.#tasks = this.#tasks.filter((one) => one.task.isUncaught);
        this.#most = Math.max(FEW, 2 * this.#tasks.length);
      }
      this.#tasks.push({ task, polls });
    } else if (this.#policy === "report") this.#print(task);
    else {
      task.setTold();
      try {
        this.#policy(errorOf(task), infoOf(task));
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
    if (this.#tasks.length === 0) return null;
    const isDue = (one: { polls: number }): boolean => polls - one.polls >= PATIENCE_POLLS;
    const due = this.#tasks.filter(isDue);
    this.#tasks = this.#tasks.filter((one) => !isDue(one));
    // A task is there twice if it was to be taken by one who gave up.
    const tasks = [...new Set(due.map(({ task }) => task))].filter((task) => task.isUncaught);
    const [first] = tasks;
    if (first === undefined) return null;
    for (const task of tasks) task.setTold();
    const errors = tasks.map(errorOf);
    const what = errors[0] instanceof Error ? errors[0] : describe(errors[0]);
    const more = tasks.length > 1 ? ` (and ${tasks.length - 1} more)` : "";
    return new UncaughtTaskError(
      `${nameOf(first)} failed, and nobody joined it${more}: ${what}`,
      errors,
    );
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
    for (const { task } of this.#tasks.splice(0)) if (task.isUncaught) this.#print(task);
  }

  #print(task: Task<unknown>): void {
    task.setTold();
    this.#report(errorOf(task), `${nameOf(task)}, which nobody joined,`);
  }
}

function errorOf({ failure }: Task<unknown>): unknown {
  return failure?.error;
}

function nameOf({ name, spawnedAt }: Task<unknown>): string {
  return `task ${name}${spawnedAt === null ? "" : ` (spawned at ${spawnedAt})`}`;
}
