// TaskInfo: a task as `runtime.tasks()` shows it.

import { inspectable } from "../base/inspect.ts";

/** The state of a task. `"cancelling"`: it was aborted, and its cleanup has not ended. */
export type TaskState = "ready" | "running" | "waiting" | "cancelling" | "ended";

/** A task, or an await that no task owns, as `runtime.tasks()` shows it. */
export interface TaskInfo {
  /** The number of the task in its runtime: 1, 2, 3, ... */
  readonly id: number;
  /** The name given to `spawn`; `#id` by default, and `await #id` for an await that no task owns. */
  readonly name: string;
  /** The `id` of the task that spawned this one; 0 if no task of the same runtime did. */
  readonly spawner: number;
  readonly state: TaskState;
  /**
   * What the task waits for, as a phrase: `read 127.0.0.1:53122 (fd 9)`, `sleep, 37 ms left`,
   * `join #4 (timeout, 310 ms left)`.
   */
  readonly waitsOn: string;
  /** Where the task was spawned; only in debug mode. */
  readonly spawnedAt?: string;
  /** How often the task was polled, awaits of its async function included; only while the runtime is observed. */
  readonly polls?: number;
  /** How long those polls took together; only while observed. Excludes an async function's code after an `await`. */
  readonly busyMs?: number;
  /** How long the longest of those polls took; only while observed. */
  readonly longestPollMs?: number;
  /** How long ago the task was spawned; only if the runtime was observed then, and still is. */
  readonly ageMs?: number;
}

/** The prototype of the tasks that `runtime.tasks()` returns. Created by the first of them. */
let prototype: object | null = null;

function createPrototype(): object {
  const created = {};
  inspectable({ prototype: created as TaskInfo }, ({ name, state, waitsOn }) =>
    state === "ended" ? `Task ${name} (ended)` : `Task ${name} (${state}: ${waitsOn})`,
  );
  return created;
}

/** Makes `console.log` show `info` as one line: `Task #4 (waiting: sleep, 37 ms left)`. Returns it. */
export function shownTask(info: TaskInfo): TaskInfo {
  prototype ??= createPrototype();
  return Object.setPrototypeOf(info, prototype) as TaskInfo;
}

/**
 * Returns true if nobody named the task or the await: its name is only its number. (The console's Worker receives this
 * function as source text, so it uses only its parameters.)
 */
export function isUnnamed(id: number, name: string): boolean {
  return name === `#${id}` || name === `await #${id}`;
}
