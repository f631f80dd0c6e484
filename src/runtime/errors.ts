// What a drive of the runtime throws when it ends badly, apart from the work's own errors.

import type { TaskInfo } from "./task-info.ts";

/** `blockOn` or `block` was about to wait, and nothing could ever wake it. */
export class DeadlockError extends Error {
  override readonly name = "DeadlockError";
  readonly code = "ERR_DEADLOCK";
}

/** A task failed, and nobody had asked for its result when `blockOn` or `block` was to return. */
export class UncaughtTaskError extends Error {
  override readonly name = "UncaughtTaskError";
  readonly code = "ERR_UNCAUGHT_TASK";
  /** All such failures; `cause` is the first. */
  readonly errors: readonly unknown[];

  constructor(message: string, errors: readonly unknown[]) {
    super(message, { cause: errors[0] });
    this.errors = errors;
  }
}

export const onlyBunsLoop =
  "What only Bun's own loop can settle (fetch, setTimeout) never is while blockOn holds the thread: use `await runtime.run(...)`, guest mode, for that";

/** Names this many stuck tasks; with a million of them the message must still be one. */
const MAX_NAMED = 20;

export function deadlockError(
  tasks: readonly TaskInfo[],
  hints: { readonly hasForeign: boolean; readonly hasOtherRuntime: boolean },
): DeadlockError {
  const stuck = tasks.slice(0, MAX_NAMED).map(({ name, waitsOn, spawnedAt }) => {
    return `${name} waits on ${waitsOn}${spawnedAt === undefined ? "" : ` (spawned at ${spawnedAt})`}`;
  });
  if (tasks.length > MAX_NAMED) stuck.push(`and ${tasks.length - MAX_NAMED} more`);
  const advice = hints.hasForeign ? [onlyBunsLoop] : [];
  if (hints.hasOtherRuntime) {
    advice.push(
      "What is spawned where no task runs is the ambient runtime's, which stands still while this one has the thread: spawn it inside the work, or with runtime.spawn or runtime.spawnBlocking",
    );
  }
  return new DeadlockError(
    `nothing can wake this runtime any more: no deadline, no fd that a task waits for, no waker or job in another thread. Stuck: ${[stuck.join("; "), ...advice].join(". ")}`,
  );
}

/** Says more about where an error comes from. */
export function addToStack(error: unknown, line: string): void {
  // Not by assignment: that throws where the error is frozen.
  if (error instanceof Error) Reflect.set(error, "stack", `${error.stack}\n    ${line}`);
}
