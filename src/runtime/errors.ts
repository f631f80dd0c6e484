// The errors that `blockOn` and `block` throw for reasons other than a failure of their work.

import { visibleName } from "../base/describe.ts";
import type { TaskInfo } from "./task-info.ts";

/**
 * Thrown by `blockOn` and `block` when every task waits and nothing can wake any of them. The message names the
 * stuck tasks and what each waits on. `code` is `ERR_DEADLOCK`.
 */
export class DeadlockError extends Error {
  override readonly name = "DeadlockError";
  readonly code = "ERR_DEADLOCK";
  #dump = "";

  /** What `runtime.dump()` returned when the deadlock was found: also the stack of each stuck coroutine. */
  get dump(): string {
    return this.#dump;
  }

  /** @internal */
  setDump(dump: string): void {
    this.#dump = dump;
  }
}

/**
 * Thrown by `blockOn` and `block` on return when another task failed and nobody joined it. See `onUncaught`.
 * `code` is `ERR_UNCAUGHT_TASK`.
 */
export class UncaughtTaskError extends Error {
  override readonly name = "UncaughtTaskError";
  readonly code = "ERR_UNCAUGHT_TASK";
  /** The errors that the tasks threw, in the order of their failures. `cause` is the first. */
  readonly errors: readonly unknown[];

  constructor(message: string, errors: readonly unknown[]) {
    super(message, { cause: errors[0] });
    this.errors = errors;
  }
}

/** Advice for a runtime that waits for a promise of other code while it holds the thread. */
export const FOREIGN_PROMISE_ADVICE =
  "blockOn holds the thread, so a promise that needs Bun's own loop (fetch, setTimeout) never settles: use `await runtime.run(...)`, guest mode, for that";

/** Advice for a task that waits for a task of another runtime. */
const OTHER_RUNTIME_ADVICE =
  "A task that is spawned outside any task belongs to the ambient runtime, which cannot run while this runtime holds the thread: spawn it inside the work, or with runtime.spawn or runtime.spawnBlocking";

/** The message names at most this many stuck tasks; there may be a million. */
const MAX_NAMED = 20;
/** How much of what a task waits on the message has. */
const MAX_WAIT = 1000;

/** Creates the error for a runtime in which all `tasks` are stuck. The hints add advice to the message. */
export function deadlockError(
  tasks: readonly TaskInfo[],
  hints: {
    readonly hasForeignPromise: boolean;
    readonly hasOtherRuntime: boolean;
    /** Tasks that wait for each other. */
    readonly cycles: readonly (readonly TaskInfo[])[];
  },
): DeadlockError {
  const stuck = tasks.slice(0, MAX_NAMED).map(({ name, waitsOn, spawnedAt }) => {
    return `${visibleName(name)} waits on ${visibleName(waitsOn, MAX_WAIT)}${spawnedAt === undefined ? "" : ` (spawned at ${spawnedAt})`}`;
  });
  if (tasks.length > MAX_NAMED) stuck.push(`and ${tasks.length - MAX_NAMED} more`);
  const sentences = [stuck.join("; ")];
  for (const cycle of hints.cycles.slice(0, MAX_NAMED)) sentences.push(cycleOf(cycle));
  if (hints.hasForeignPromise) sentences.push(FOREIGN_PROMISE_ADVICE);
  if (hints.hasOtherRuntime) sentences.push(OTHER_RUNTIME_ADVICE);
  return new DeadlockError(
    `nothing can wake this runtime any more: no timer is pending, no task waits for an fd, and no other thread holds a waker or runs a job. Stuck: ${sentences.join(". ")}`,
  );
}

/** Returns a sentence for tasks that wait for each other. */
function cycleOf(cycle: readonly TaskInfo[]): string {
  const names = cycle.slice(0, MAX_NAMED).map(({ name }) => visibleName(name));
  if (cycle.length > MAX_NAMED) names.push(`${cycle.length - MAX_NAMED} more tasks`);
  return `A cycle: ${[...names, names[0]].join(" waits for ")}`;
}

/** How many lines `addToStack` adds to one error: more than tasks await each other. */
const MAX_ADDED = 20;
const added: WeakMap<Error, number> = new WeakMap();

/**
 * Appends a line to an error's stack. Does nothing if the error is frozen, or not an Error, or has many such lines: an
 * error that is kept and thrown by task after task must not grow.
 */
export function addToStack(error: unknown, line: string): void {
  if (!(error instanceof Error)) return;
  const count = added.get(error) ?? 0;
  if (count === MAX_ADDED) return;
  added.set(error, count + 1);
  // Not by an assignment, which throws when the error is frozen.
  Reflect.set(error, "stack", `${error.stack}\n    ${line}`);
}
