// The dump of a runtime: what each task waits for, who holds that, and where in its code the task is. As an object, and
// as text.
//
// Invariants: the text is bounded however many tasks there are, and however they are named. (A stack has a bound of its
// own.) A name cannot forge a line of it.

import { visibleName } from "../base/describe.ts";
import { counted } from "../base/inspect.ts";
import type { WaitingFd } from "../core/context.ts";
import { cyclesOf } from "../runtime/cycles.ts";
import type { Metrics } from "../runtime/options.ts";
import { isUnnamed, type TaskInfo } from "../runtime/task-info.ts";

/** A task, as `runtime.dumpJson()` shows it. */
export interface TaskDump extends TaskInfo {
  /**
   * The ids of the tasks that hold what this one waits for, or whose end it waits for. They may have ended. In debug mode
   * also of the task that uses the other end of a channel, if that end has one user.
   */
  readonly waitsFor: readonly number[];
  /** The fds that the task waits for, with the addresses of their sockets. */
  readonly fds: readonly WaitingFd[];
  /**
   * Where a waiting coroutine is: each `yield*` that it is suspended in, the innermost first. In debug mode also where an
   * async function waits. Empty for other tasks, and for those that the text leaves out.
   */
  readonly stack: readonly string[];
}

/** A runtime, as `runtime.dumpJson()` shows it. */
export interface RuntimeDump {
  /** The number of the runtime in its thread: 1, 2, 3, ... */
  readonly runtime: number;
  readonly metrics: Metrics;
  /** The tasks that have not ended, in the order in which they were spawned. */
  readonly tasks: readonly TaskDump[];
  /** The ids of tasks that wait for each other in a circle. None of them can continue. */
  readonly cycles: readonly (readonly number[])[];
}

/** How many tasks with one name and one spawner the text shows. */
const MAX_ALIKE = 10;
/** How many tasks the text shows. */
const MAX_SHOWN = 1000;
/** How many tasks the line of a cycle names. */
const MAX_CYCLE = 20;
/** Deeper tasks are not indented further. */
const MAX_DEPTH = 24;
/** How long a description of a wait may be: it has names of locks and tasks. */
const MAX_WAIT = 1000;
/** How many names the list of names shows. */
const MAX_NAMES = 20;

type NamedTask = Pick<TaskInfo, "id" | "name" | "spawner">;

/** Returns the ids of the tasks that the text shows: the first ones of each name and spawner. */
export function shownTasks(tasks: readonly NamedTask[]): Set<number> {
  const living = new Set(tasks.map(({ id }) => id));
  const counts = new Map<string, number>();
  const shown = new Set<number>();
  for (const task of tasks) {
    if (shown.size === MAX_SHOWN) break;
    const parent = living.has(task.spawner) ? task.spawner : 0;
    const key = `${parent} ${groupOf(task)}`;
    const count = (counts.get(key) ?? 0) + 1;
    counts.set(key, count);
    if (count <= MAX_ALIKE) shown.add(task.id);
  }
  return shown;
}

/** The name that tasks share; tasks without a name share one. */
function groupOf({ name, id }: NamedTask): string {
  return isUnnamed(id, name) ? "(no name)" : name;
}

/** Returns the cycles of tasks that wait for each other. */
export function waitCycles(tasks: readonly TaskDump[]): number[][] {
  const waits = new Map(tasks.map(({ id, waitsFor }) => [id, waitsFor]));
  return cyclesOf(waits.keys(), (id) => waits.get(id) ?? []);
}

/** Returns the dump as text. */
export function formatDump({ runtime, metrics, tasks, cycles }: RuntimeDump): string {
  const byId = new Map(tasks.map((task) => [task.id, task]));
  const lines = [
    `runtime ${runtime}: ${counted(tasks.length, "task")}, ${counted(metrics.timers, "timer")}, ${counted(metrics.sources, "fd")}, ${counted(metrics.jobs, "job")}`,
    ...treeOf(tasks, byId),
  ];
  for (const cycle of cycles) {
    const names = cycle.slice(0, MAX_CYCLE).map((id) => labelOf(byId.get(id) as TaskDump));
    if (cycle.length > MAX_CYCLE) names.push(`${cycle.length - MAX_CYCLE} more tasks`);
    lines.push(`cycle: ${[...names, names[0]].join(" waits for ")}`);
  }
  if (tasks.length > MAX_ALIKE) lines.push(`by name: ${namesOf(tasks)}`);
  return `${lines.join("\n")}\n`;
}

/** Returns the lines of the tasks, each below its spawner. */
function treeOf(tasks: readonly TaskDump[], byId: ReadonlyMap<number, TaskDump>): string[] {
  const children = new Map<number, TaskDump[]>();
  for (const task of tasks) {
    const parent = byId.has(task.spawner) ? task.spawner : 0; // the root also has those whose spawner has ended
    const siblings = children.get(parent);
    if (siblings === undefined) children.set(parent, [task]);
    else siblings.push(task);
  }
  const lines: string[] = [];
  /** What is left to show, the next one last. */
  const rest: (string | readonly [task: TaskDump, depth: number])[] = [];
  const isShown = shownTasks(tasks);
  const addChildren = (parent: number, depth: number): void => {
    const shown: (typeof rest)[number][] = [];
    /** The names of shown tasks, and how many more have each. */
    const hidden = new Map<string, number>();
    let others = 0;
    for (const task of children.get(parent) ?? []) {
      const group = groupOf(task);
      const more = hidden.get(group);
      if (isShown.has(task.id)) {
        shown.push([task, depth]);
        hidden.set(group, 0);
      } else if (more === undefined) others++;
      else hidden.set(group, more + 1);
    }
    for (const [group, more] of hidden) {
      if (more > 0) shown.push(`${indent(depth)}and ${more} more named ${visibleName(group)}`);
    }
    if (others > 0) shown.push(`${indent(depth)}and ${counted(others, "more task")}`);
    rest.push(...shown.reverse());
  };
  addChildren(0, 0);
  for (let next = rest.pop(); next !== undefined; next = rest.pop()) {
    if (typeof next === "string") lines.push(next);
    else {
      const [task, depth] = next;
      lines.push(...linesOf(task, indent(depth), byId));
      addChildren(task.id, depth + 1);
    }
  }
  return lines;
}

function linesOf(task: TaskDump, start: string, byId: ReadonlyMap<number, TaskDump>): string[] {
  const { state, waitsOn, waitsFor, spawner, spawnedAt, fds, stack } = task;
  const wait = state === "waiting" ? `waits on ${visibleName(waitsOn, MAX_WAIT)}` : state;
  const lines = [`${start}${labelOf(task)}: ${wait}${statisticsOf(task)}`];
  for (const { fd, local, remote } of fds) {
    if (local === null && remote === null) continue;
    lines.push(`${start}    fd ${fd}: ${local ?? "?"}${remote === null ? "" : `, peer ${remote}`}`);
  }
  for (const id of waitsFor.slice(0, MAX_ALIKE)) {
    const other = byId.get(id);
    if (other === undefined) {
      if (!waitsOn.includes("which has ended"))
        lines.push(`${start}    for #${id}, which has ended`);
    } else if (!waitsOn.includes(other.name)) lines.push(`${start}    for ${labelOf(other)}`);
  }
  for (const frame of stack) lines.push(`${start}    at ${frame}`);
  if (spawnedAt !== undefined) lines.push(`${start}    spawned at ${spawnedAt}`);
  if (spawner !== 0 && !byId.has(spawner)) {
    lines.push(`${start}    spawned by #${spawner}, which has ended`);
  }
  return lines;
}

function statisticsOf({ polls, busyMs = 0, longestPollMs = 0, ageMs }: TaskDump): string {
  if (polls === undefined) return "";
  const age = ageMs === undefined ? "" : `, age ${duration(ageMs)}`;
  return ` (${counted(polls, "poll")}, busy ${duration(busyMs)}, longest poll ${duration(longestPollMs)}${age})`;
}

/** Returns how many of the tasks have each name. */
export function countNames(tasks: readonly TaskInfo[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const task of tasks) counts.set(groupOf(task), (counts.get(groupOf(task)) ?? 0) + 1);
  return counts;
}

/** Returns the most frequent names with their counts. */
function namesOf(tasks: readonly TaskDump[]): string {
  const sorted = [...countNames(tasks)].sort(([, a], [, b]) => b - a);
  const shown = sorted.slice(0, MAX_NAMES).map(([name, times]) => `${visibleName(name)} ${times}`);
  if (sorted.length > MAX_NAMES) shown.push(`and ${sorted.length - MAX_NAMES} more names`);
  return shown.join(", ");
}

function labelOf({ id, name }: TaskInfo): string {
  return isUnnamed(id, name) ? name : `#${id} ${visibleName(name)}`;
}

function indent(depth: number): string {
  return "  ".repeat(Math.min(depth, MAX_DEPTH));
}
function duration(ms: number): string {
  return ms >= 1000 ? `${(ms / 1000).toFixed(1)} s` : `${Number(ms.toPrecision(2))} ms`;
}
