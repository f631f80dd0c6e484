// UncaughtFailures: what happens to the failures of tasks that nobody joins, and when. See `onUncaught` in
// options.ts.
//
// With "throw", a failed task may still be joined. So we hold its failure back until `blockOn` or `block`
// returns, or, in guest mode, until no task is ready. A busy runtime may never reach that point. So we also report a
// failure once it is GRACE_POLLS old.

import { describe } from "../base/describe.ts";
import { UncaughtTaskError } from "./errors.ts";
import type { OnUncaught } from "./options.ts";
import type { Task } from "./task.ts";

/** A failure that is older than this many polls is reported even if the runtime never returns or becomes idle. */
const GRACE_POLLS = 10_000;
/** An endless `blockOn` keeps at most this many printed failures, to throw them if it does return. */
const MAX_PRINTED_KEPT = 64;

export class UncaughtFailures {
  private policy: OnUncaught;
  private readonly report: (error: unknown, what: string) => void;
  private readonly countPolls: () => number;
  /** With "throw": failed tasks that may still be joined, oldest first, each with the poll count at its failure. */
  private readonly pending: Map<Task<unknown>, number> = new Map();
  /** Tasks with a failure that `printOverdue` has printed and `takeError` has not returned yet. */
  private printed: Task<unknown>[] = [];

  /** `report` prints an error. `countPolls` returns how many polls the runtime has performed. */
  constructor(
    policy: OnUncaught,
    report: (error: unknown, what: string) => void,
    countPolls: () => number,
  ) {
    this.policy = policy;
    this.report = report;
    this.countPolls = countPolls;
  }

  /** Adds a task that has failed and that nobody is joining. */
  add(task: Task<unknown>): void {
    if (this.policy === "throw") {
      this.pending.delete(task); // pending already if a joiner has given up: move it to the end, as the youngest
      this.pending.set(task, this.countPolls());
    } else if (this.policy === "report") this.print(task);
    else {
      task.takeOutcome();
      try {
        this.policy(errorOf(task), task.info);
      } catch (error) {
        this.report(error, "onUncaught");
      }
    }
  }

  /**
   * Removes all failures that nobody has joined, and returns them as one error; null if there are none. With
   * `isOverdueOnly`, leaves failures that a task may still join.
   */
  takeError(isOverdueOnly = false): UncaughtTaskError | null {
    if (this.pending.size === 0 && this.printed.length === 0) return null;
    const removed = isOverdueOnly ? this.removeOverdue() : this.removePending();
    // A set, because a printed task is pending again if somebody joined it later and gave up.
    const tasks = [...new Set([...this.printed.splice(0), ...removed])].filter(
      (task) => task.isUncaught,
    );
    const [first] = tasks;
    if (first === undefined) return null;
    for (const task of tasks) task.takeOutcome();
    const errors = tasks.map(errorOf);
    const cause = errors[0] instanceof Error ? errors[0] : describe(errors[0]);
    const more = tasks.length > 1 ? ` (and ${tasks.length - 1} more)` : "";
    return new UncaughtTaskError(
      `${labelOf(first)} failed, and nobody joined it${more}: ${cause}`,
      errors,
    );
  }

  /** Prints overdue failures. Must be called regularly during a `blockOn`, which may never return. */
  printOverdue(): void {
    if (this.pending.size === 0) return;
    for (const task of this.removeOverdue()) {
      if (!task.isUncaught) continue;
      this.report(errorOf(task), `${labelOf(task)}, which nobody has joined so far,`);
      if (this.printed.length < MAX_PRINTED_KEPT) this.printed.push(task);
      else task.takeOutcome();
    }
  }

  /**
   * Throws what `takeError` returns as an uncaught exception of Bun's loop.
   *
   * If nothing handles that, Bun prints the error without its `cause`, and with the place of this `throw` as its stack.
   * So the process then ends by an unhandled rejection with the task's own error, which Bun prints with its own stack.
   *
   * Facts about Bun 1.4.5: its loop prints a rejection in the next pass, ends the process in the one after that, and may
   * sleep before each. So an immediate and a timer keep it from sleeping.
   */
  throwUncaughtException(isOverdueOnly: boolean): void {
    const error = this.takeError(isOverdueOnly);
    if (error === null) return;
    setImmediate(() => {
      const isHandled =
        process.listenerCount("uncaughtException") + process.listenerCount("unhandledRejection") >
        0;
      // A Worker reports an uncaught exception to its parent.
      if (isHandled || !Bun.isMainThread) throw error;
      const [first, ...others] = error.errors;
      for (const other of others) this.report(other, "a task that nobody joined");
      console.error(`guillotine: ${error.message}`);
      void Promise.reject(first);
      setImmediate(() => setTimeout(() => {}, 0));
    });
  }

  /** Prints the remaining failures. The runtime is disposed, so no caller is left to throw to. */
  close(): void {
    if (this.policy === "throw") this.policy = "report";
    for (const task of this.removePending()) {
      if (task.isUncaught && !this.printed.includes(task)) this.print(task);
    }
  }

  private removePending(): Task<unknown>[] {
    const removed = [...this.pending.keys()];
    this.pending.clear();
    return removed;
  }

  private removeOverdue(): Task<unknown>[] {
    const removed: Task<unknown>[] = [];
    const newestOverdue = this.countPolls() - GRACE_POLLS;
    for (const [task, failedAt] of this.pending) {
      if (failedAt > newestOverdue) break; // those after it are younger
      this.pending.delete(task);
      removed.push(task);
    }
    return removed;
  }

  private print(task: Task<unknown>): void {
    task.takeOutcome();
    this.report(errorOf(task), `${labelOf(task)}, which nobody joined,`);
  }
}

function errorOf({ failure }: Task<unknown>): unknown {
  return failure?.error;
}

function labelOf({ name, spawnedAt }: Task<unknown>): string {
  return `task ${name}${spawnedAt === null ? "" : ` (spawned at ${spawnedAt})`}`;
}
