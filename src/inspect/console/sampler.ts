// Sampler: reads the tasks of a runtime for the console, a slice at a time, so that a server with 100,000 tasks is not
// held up.
//
// Invariants:
// - A slice ends soon after its time is used up. The next one continues behind it; a pass visits each task that lives
//   throughout the pass once.
// - A task whose description throws is still shown.
// - A task that was neither polled nor woken since the pass before costs almost nothing, and allocates nothing: its row is
//   its id. (Rows for 100,000 idle tasks would be garbage, whose collection visits all of them.)

import { visible } from "../../base/describe.ts";
import type { Blocker, TaskRef } from "../../core/context.ts";
import type { Statistics, TaskStatistics } from "../../runtime/statistics.ts";
import { Task } from "../../runtime/task.ts";
import type { TaskInfo } from "../../runtime/task-info.ts";
import { systemClock } from "../../sys/clock.ts";
import type { Inspected } from "./inspected.ts";
import { type Detail, FLAGS, type ResourceRow, type Row, type Slice } from "./protocol.ts";

/** What a slice collects. */
type Lists = Pick<Slice, "rows" | "resources" | "sockets">;

/** Nothing in it needs to be escaped. */
const PLAIN = /^[ -~]*$/;

/** A wait that has one of these changes without a poll. */
const VARYING: readonly (keyof Blocker)[] = ["holders", "parts", "waitingResource"];

/** How many rows are read between two readings of the clock. */
const STEP = 16;
/** How many of the latest tasks of a slice are remembered: the next slice continues behind one that still lives. */
const REMEMBERED = 64;
/** Longer names and descriptions are cut. */
const MAX_TEXT = 200;
/** How many holders, fds and resources of a task are shown. */
const MAX_LIST = 8;
/** How many awaits without a task are shown. */
const MAX_LOOSE = 1000;

export class Sampler {
  private readonly runtime: Inspected;
  private pass = 1;
  /** The id of the latest task that this pass has visited. */
  private lastId = 0;
  private latest: Task<unknown>[] = [];
  /** The next slot of the reactor; -1 while tasks are left. */
  private slot = -1;
  private readonly keys: WeakMap<object, number> = new WeakMap();
  private lastKey = 0;
  /** The resources that this pass has described. */
  private readonly described: Set<number> = new Set();
  /** The statistics during this pass and during the one before; undefined if they began within a pass. */
  private statistics: Statistics | null | undefined;
  private statisticsBefore: Statistics | null | undefined;
  /** The ids up to which the pass before has sent rows. */
  private sentId = 0;
  /** How many polls the latest row of a task counts. */
  private readonly sentPolls: WeakMap<TaskStatistics, number> = new WeakMap();
  /** The tasks whose page is open. */
  private readonly opened: Map<number, Task<unknown>> = new Map();

  constructor(runtime: Inspected) {
    this.runtime = runtime;
  }

  /** Reads what follows the previous slice, until `untilMs` on the system's clock. */
  slice(untilMs: number): Slice {
    const { observer } = this.runtime;
    if (this.statistics === undefined) this.statistics = observer.statistics; // the first slice
    const slice = {
      runtime: observer.runtime,
      metrics: this.runtime.metrics(),
      pass: this.pass,
      rows: [],
      resources: [],
      sockets: [],
    };
    const isPassEnd = this.readTasks(slice, untilMs) && this.readFds(slice, untilMs);
    if (isPassEnd) this.startPass();
    return { ...slice, isPassEnd };
  }

  private startPass(): void {
    this.pass++;
    this.statisticsBefore = this.statistics;
    this.statistics = this.runtime.observer.statistics;
    this.sentId = this.lastId;
    this.lastId = 0;
    this.slot = -1;
    this.latest = [];
    this.described.clear();
  }

  /** Returns true once no task is left. */
  private readTasks({ rows, resources }: Lists, untilMs: number): boolean {
    if (this.slot >= 0) return true;
    const visited: Task<unknown>[] = [];
    let task = this.nextTask();
    while (task !== null) {
      rows.push(this.isUnchanged(task) ? task.id : this.rowOf(task, resources));
      visited.push(task);
      task = task.after;
      if (rows.length % STEP === 0 && systemClock.now() >= untilMs) break;
    }
    if (visited.length > 0) {
      this.latest = visited.slice(-REMEMBERED);
      this.lastId = visited.at(-1)?.id ?? 0;
    }
    if (task !== null) return false;
    rows.push(...this.looseRows());
    this.slot = 0;
    return true;
  }

  /** The awaits that no task owns; none if a description throws. */
  private looseRows(): Row[] {
    try {
      return this.runtime.looseInfo().slice(0, MAX_LOOSE).map(bareRow);
    } catch {
      return [];
    }
  }

  /** Returns true once no fd is left. */
  private readFds({ sockets }: Lists, untilMs: number): boolean {
    const { reactor } = this.runtime;
    for (let read = 1; this.slot < reactor.slots; read++) {
      const shown = reactor.shownAt(this.slot++);
      if (shown !== null) sockets.push(shown);
      if (read % STEP === 0 && systemClock.now() >= untilMs) return false;
    }
    return true;
  }

  /** Returns the first task that this pass has not visited. */
  private nextTask(): Task<unknown> | null {
    const { tasks } = this.runtime;
    for (const task of this.latest.toReversed()) if (task.list === tasks) return task.after;
    let task = tasks.head; // ids ascend
    while (task !== null && task.id <= this.lastId) task = task.after;
    return task;
  }

  /** True if the row of the pass before is still right, but for the time that has passed. */
  private isUnchanged(task: Task<unknown>): boolean {
    const { statistics } = this.runtime.observer;
    if (statistics === null || statistics !== this.statisticsBefore) return false;
    const known = statistics.tasks.get(task);
    if (known === undefined) {
      if (task.id > this.sentId) return false;
    } else if (this.sentPolls.get(known) !== known.polls || !Number.isNaN(known.wokenMs)) {
      return false;
    }
    // Who holds what it waits for changes without a poll of it.
    const { blockedOn } = task;
    return blockedOn === null || VARYING.every((name) => !(name in blockedOn));
  }

  private rowOf(task: Task<unknown>, resources: ResourceRow[]): Row {
    try {
      return this.fullRow(task, resources);
    } catch (error) {
      const { id, name, spawner } = task;
      const waitsOn = `unknown: its description threw ${error}`;
      return bareRow({ id, name, spawner, state: "waiting", waitsOn });
    }
  }

  private fullRow(task: Task<unknown>, resources: ResourceRow[]): Row {
    const row = bareRow(task.brief);
    const { statistics } = this.runtime.observer;
    const known = statistics?.tasks.get(task);
    if (known !== undefined) {
      row[5] = known.polls;
      row[6] = known.busyMs;
      row[7] = known.longestPollMs;
      row[8] = statistics === null ? null : statistics.nowMs - known.spawnedMs; // NaN becomes null
      row[9] = known.selfWakes;
      this.sentPolls.set(known, known.polls);
    }
    const { blockers } = task;
    if (blockers.length > 0) this.readBlockers(task, blockers, row, resources);
    if (row[3] === "waiting" && task.blockedOn === null && !task.hasSharedWaker) {
      if (task.wakeFd === null) row[14] |= FLAGS.NO_WAKER;
    }
    return row;
  }

  private readBlockers(
    task: Task<unknown>,
    blockers: readonly Blocker[],
    row: Row,
    resources: ResourceRow[],
  ): void {
    let timerLeftMs = Number.POSITIVE_INFINITY;
    let isAbandoned = true;
    for (const blocker of blockers) {
      const { holders = [], waitingFd, timerLeftMs: leftMs = Number.POSITIVE_INFINITY } = blocker;
      for (const holder of holders) {
        if (row[10].length < MAX_LIST && isTaskOf(task, holder)) row[10].push(signedId(holder));
      }
      if (waitingFd !== undefined && row[11].length < MAX_LIST) row[11].push(waitingFd.fd);
      const { waitingResource: resource } = blocker;
      isAbandoned &&= resource?.kind === "lock" && holders.length > 0;
      isAbandoned &&= holders.every(({ isEnded }) => isEnded);
      if (resource !== undefined && row[12].length < MAX_LIST) {
        row[12].push(this.addResource(task, blocker, resources));
      }
      timerLeftMs = Math.min(timerLeftMs, leftMs);
    }
    if (isAbandoned) row[14] |= FLAGS.HOLDERS_ENDED;
    if (timerLeftMs < Number.POSITIVE_INFINITY) row[13] = timerLeftMs;
  }

  /** Describes what `blocker` waits for, once per pass. Returns its key. */
  private addResource(
    task: Task<unknown>,
    { waitingResource, holders = [] }: Blocker,
    resources: ResourceRow[],
  ): number {
    const { key: object, kind, text } = waitingResource!; // the caller has checked it
    const key = this.keys.get(object) ?? ++this.lastKey;
    this.keys.set(object, key);
    if (this.described.has(key)) return key;
    this.described.add(key);
    // The holder of a channel's end depends on who waits: each row has its own.
    const holding = kind === "lock" ? holders.filter((holder) => isTaskOf(task, holder)) : [];
    resources.push({ key, kind, text: shortened(text), holders: holding.map(signedId) });
    return key;
  }

  /** Reads what the page of a task shows. */
  detail(id: number): Detail {
    const { observer } = this.runtime;
    const task = this.find(id);
    const detail: Detail = {
      runtime: observer.runtime,
      task: id,
      isEnded: task === null,
      stack: [],
      spawnedAt: null,
      fds: [],
    };
    if (task === null) return detail;
    try {
      const fds = task.blockers.flatMap(({ waitingFd }) => waitingFd ?? []);
      return { ...detail, stack: this.runtime.stackOf(task), spawnedAt: task.spawnedAt, fds };
    } catch (error) {
      return { ...detail, stack: [`unknown: ${error}`] };
    }
  }

  private find(id: number): Task<unknown> | null {
    let task = this.opened.get(id) ?? this.runtime.tasks.head;
    while (task !== null && task.id < id) task = task.after;
    if (task === null || task.id !== id || task.isEnded) {
      this.opened.delete(id);
      return null;
    }
    this.opened.set(id, task);
    return task;
  }

  /** Forgets the tasks whose pages are closed. */
  keepOnly(ids: ReadonlySet<number>): void {
    for (const id of this.opened.keys()) if (!ids.has(id)) this.opened.delete(id);
  }
}

/** True if `holder` is of the runtime of `task`: another's tasks have ids of their own. */
function isTaskOf({ runtime }: Task<unknown>, holder: TaskRef): boolean {
  return holder instanceof Task && holder.runtime === runtime;
}

/** Returns the row of a task of which only this is known. */
function bareRow({ id, name, spawner, state, waitsOn }: TaskInfo): Row {
  const texts = [shortened(name), shortened(waitsOn)] as const;
  // biome-ignore format: one line per group of the tuple
  return [
    id, texts[0], spawner, state, texts[1],
    null, null, null, null, null,
    [], [], [], null, 0,
  ];
}

/** A name must not forge a line, and a long text must not hold up the thread. */
function shortened(text: string): string {
  if (text.length <= MAX_TEXT && PLAIN.test(text)) return text; // almost all: this takes a tenth of the time
  return visible(text.length > MAX_TEXT ? `${text.slice(0, MAX_TEXT)}…` : text);
}

/** Those that have ended are negative. */
function signedId({ id, isEnded }: TaskRef): number {
  return isEnded ? -id : id;
}
