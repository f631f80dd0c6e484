// The program of the console's Worker: it serves the page, asks the inspected thread for its tasks while somebody looks,
// keeps what it has learned, and finds what to warn of.
//
// `consoleServer` reaches the Worker as source text (text-worker.ts explains why), so it uses only globals and its
// parameters, and imports types alone. It is on the kernel's side of the seam: a thread of its own, with its own clock.
//
// Invariants:
// - It serves nothing without the token, and nothing changes what is inspected: GET and HEAD alone.
// - Without a client it does nothing: no timer, no request.
// - There is one request at a time. A thread that is stuck finds one when it continues.

import type { cyclesOf } from "../../runtime/cycles.ts";
import type { isUnnamed } from "../../runtime/task-info.ts";
import type { PollLayout, PollReader, pollReader } from "../../sys/poll-watch.ts";
import type {
  Answer,
  CONTROL,
  Detail,
  FLAGS,
  ResourceRow,
  Row,
  Setup,
  Slice,
  SocketRow,
  ToWorker,
} from "./protocol.ts";
import type {
  GroupsView,
  GroupView,
  Named,
  ResourcesView,
  TaskPageView,
  TasksView,
  TaskView,
  View,
  Warning,
} from "./views.ts";

/** What the program gets from the library. */
export interface ServerParts {
  readonly pollReader: typeof pollReader;
  readonly cyclesOf: typeof cyclesOf;
  readonly isUnnamed: typeof isUnnamed;
  readonly layout: PollLayout;
  readonly control: typeof CONTROL;
  readonly flags: typeof FLAGS;
  /** The page, with `NONCE` where the nonce belongs. */
  readonly page: string;
}

export function consoleServer({
  pollReader,
  cyclesOf,
  isUnnamed,
  layout,
  control: C,
  flags: F,
  page,
}: ServerParts): void {
  /** How often the thread is asked while a client looks. */
  const REQUEST_MS = 500;
  /**
   * After an answer, the thread has so many times as long for itself: the console takes 2.5 % of it during the first
   * pass, and half of that later.
   */
  const FIRST_PAUSES = 39;
  const PAUSES = 79;
  /** How long after its latest request a client still counts. */
  const CLIENT_MS = 4000;
  /** A poll that lasts longer is reported. */
  const STUCK_MS = 500;
  /** A poll that took longer is worth a warning. */
  const LONG_POLL_MS = 10;
  /** So many wakes by itself per second are a busy loop. */
  const SELF_WAKES_PER_SECOND = 5000;
  /** A name that has grown by so many tasks, in so many passes, while none of its tasks ended, leaks. */
  const LEAK_TASKS = 10;
  const LEAK_PASSES = 3;
  const MAX_PER_WARNING = 10;
  const MAX_SAMPLES = 120;
  const MAX_HISTORY = 60;
  /** With more tasks, only those whose page is open have a history. */
  const MAX_WITH_HISTORY = 5000;
  const PAGE_ROWS = 100;
  const MAX_QUEUE = 20;
  /** How many queries of one pass are kept. */
  const MAX_LISTS = 8;
  /** The kinds of warnings, the worst first. */
  const KINDS = [
    "never yields",
    "nobody can wake it",
    "deadlock",
    "leak",
    "wakes itself",
    "long poll",
  ];

  const { writeSync } = process.getBuiltinModule("node:fs");
  const { createHash, randomBytes, timingSafeEqual } = process.getBuiltinModule("node:crypto");
  const one = new Uint8Array(new BigUint64Array([1n]).buffer);
  const scope = globalThis as unknown as {
    onmessage: (event: { readonly data: ToWorker }) => void;
    postMessage(message: unknown): void;
  };

  interface Known {
    row: Row;
    /** When the row came. */
    rowMs: number;
    pass: number;
    history: [ms: number, polls: number, busyMs: number, state: string][];
  }

  /** A line of a list or a tree. */
  interface Listed {
    readonly known: Known;
    readonly depth: number;
  }

  /** The tasks of one name. */
  interface Group {
    count: number;
    /** The least since one of its tasks was seen to end, and how often it has grown since. */
    base: number;
    growths: number;
    sinceMs: number;
    ended: number;
    outlived: number;
  }

  interface Table {
    readonly id: number;
    readonly reader: PollReader;
    /** The poll in progress at the latest look, and when it was first seen. */
    poll: number;
    sinceMs: number;
    metrics: Slice["metrics"] | null;
    rows: Map<number, Known>;
    resources: Map<number, ResourceRow>;
    sockets: SocketRow[];
    nextResources: Map<number, ResourceRow>;
    nextSockets: SocketRow[];
    groups: Map<string, Group>;
    warnings: Warning[];
    passStartMs: number;
    passMs: number;
    busyMs: number;
    observedMs: number;
    /** The lists of the latest pass, by query. While a pass is under way, rows would move under the reader. */
    readonly lists: Map<string, Listed[]>;
  }

  const tables = new Map<number, Table>();
  const eventFds: number[] = [];
  /** The tasks whose page is open, by `runtime.task`, with what is known and when somebody last looked. */
  const opened = new Map<
    string,
    { runtime: number; task: number; seenMs: number; detail: Detail | null; last: Known | null }
  >();
  const samples: { busy: number; lagMs: number }[] = [];
  const startMs = Date.now();
  let control: Int32Array;
  let title = "";
  let clientMs = 0;
  let request = 0;
  let requestedMs = 0;
  let isWaiting = false;
  /** When the thread last answered; 0 before that. */
  let answeredMs = 0;
  /** What was learned of the load since the latest sample. */
  let busyDeltaMs = 0;
  let timeDeltaMs = 0;
  let lagMs = 0;
  let requestTimer: ReturnType<typeof setTimeout> | undefined;
  let sampleTimer: ReturnType<typeof setInterval> | undefined;
  let firstAnswer = Promise.withResolvers<void>();

  // Asking.

  function ask(wantsStatistics: boolean): void {
    if (isWaiting) return;
    isWaiting = true;
    requestedMs = Date.now();
    control[C.WANTS_STATISTICS] = wantsStatistics ? 1 : 0;
    let index = 0;
    for (const [key, { runtime, task, seenMs }] of opened) {
      if (requestedMs - seenMs > CLIENT_MS) opened.delete(key);
      else if (index < C.MAX_DETAILS) {
        control.set([runtime, task], C.DETAILS + 1 + 2 * index++);
      }
    }
    control[C.DETAILS] = index;
    Atomics.store(control, C.REQUEST, ++request);
    for (const fd of eventFds) wake(fd);
    if (Atomics.exchange(control, C.HAS_MESSAGE, 1) === 0) scope.postMessage(0);
  }

  function wake(fd: number): void {
    try {
      writeSync(fd, one);
    } catch {} // the message remains
  }

  function onClient(): void {
    clientMs = Date.now();
    if (sampleTimer !== undefined) return;
    for (const table of tables.values()) table.poll = 0; // nobody has looked meanwhile
    sampleTimer = setInterval(sample, REQUEST_MS / 2);
    look();
    ask(true);
  }

  function onNoClient(): void {
    clearInterval(sampleTimer);
    clearTimeout(requestTimer);
    sampleTimer = requestTimer = undefined;
    samples.length = 0;
    ask(false);
    firstAnswer = Promise.withResolvers();
  }

  /** Looks which polls are in progress. */
  function look(): void {
    const now = Date.now();
    for (const table of tables.values()) {
      const poll = table.reader.poll();
      if (poll !== 0 && poll === table.poll) continue;
      table.poll = poll;
      table.sinceMs = now;
    }
  }

  let ticks = 0;
  function sample(): void {
    look();
    const now = Date.now();
    if (now - clientMs > CLIENT_MS) {
      onNoClient();
      return;
    }
    if (++ticks % 2 === 1) return;
    const waitMs = isWaiting ? now - requestedMs : 0;
    const isStuck = waitMs > REQUEST_MS && stuck() !== null;
    const busy = isStuck ? 1 : timeDeltaMs > 0 ? Math.min(busyDeltaMs / timeDeltaMs, 1) : 0;
    samples.push({ busy, lagMs: Math.max(lagMs, waitMs > 50 ? waitMs : 0) });
    if (samples.length > MAX_SAMPLES) samples.shift();
    busyDeltaMs = timeDeltaMs = lagMs = 0;
  }

  /** Says what holds the thread; null if nothing does, as far as this thread can see. */
  function stuck(): Warning | null {
    const now = Date.now();
    for (const { id, reader, poll, sinceMs } of tables.values()) {
      const ms = now - sinceMs;
      if (poll === 0 || ms < STUCK_MS || reader.poll() !== poll) continue;
      const text = `${reader.who()} has held the thread for ${seconds(ms)}: its poll does not return, and no other task runs`;
      return { kind: "never yields", runtime: id, task: reader.ids()[0] ?? 0, text };
    }
    const waitMs = isWaiting ? now - requestedMs : 0;
    if (waitMs < 2 * STUCK_MS) return null;
    const text = `the thread has not answered for ${seconds(waitMs)}, and no task is being polled: other code holds it`;
    return { kind: "never yields", runtime: 0, task: 0, text };
  }

  function seconds(ms: number): string {
    return `${(ms / 1000).toFixed(1)} s`;
  }

  // Learning.

  function onAnswer(answer: Answer, tookMs: number): void {
    const now = Date.now();
    if (answer.request !== request) return;
    isWaiting = false;
    answeredMs = now;
    if (sampleTimer === undefined) {
      // Nobody looks any more. The thread may have been stuck when that was found, and still keeps statistics.
      if (control[C.WANTS_STATISTICS] === 1) ask(false);
      return;
    }
    lagMs = Math.max(lagMs, answer.wallMs - requestedMs);
    let isComplete = true;
    for (const slice of answer.slices) {
      const table = tables.get(slice.runtime);
      if (table === undefined) continue;
      learn(table, slice, now);
      if (!slice.isPassEnd) isComplete = false;
    }
    for (const detail of answer.details) {
      const entry = opened.get(`${detail.runtime}.${detail.task}`);
      if (entry !== undefined) entry.detail = detail;
    }
    if (isComplete) firstAnswer.resolve();
    const restMs = isComplete ? REQUEST_MS - (now - requestedMs) : 0;
    const isFirst = [...tables.values()].some(({ passMs }) => passMs === 0);
    const pauseMs = tookMs * (isFirst ? FIRST_PAUSES : PAUSES);
    requestTimer = setTimeout(() => ask(true), Math.max(restMs, pauseMs));
  }

  function learn(table: Table, slice: Slice, now: number): void {
    table.metrics = slice.metrics;
    const { observedMs = 0, busyRatio = 0 } = slice.metrics.observed ?? {};
    const busyMs = observedMs * busyRatio;
    if (observedMs >= table.observedMs) {
      busyDeltaMs += busyMs - table.busyMs;
      timeDeltaMs += (observedMs - table.observedMs) / tables.size; // they share one thread
    }
    table.busyMs = busyMs;
    table.observedMs = observedMs;
    for (const sent of slice.rows) {
      const isRow = typeof sent !== "number";
      const id = isRow ? sent[0] : sent;
      let known = table.rows.get(id);
      if (known === undefined) {
        if (!isRow) continue;
        known = { row: sent, rowMs: now, pass: 0, history: [] };
        table.rows.set(id, known);
      }
      if (isRow) {
        known.row = sent;
        known.rowMs = now;
      }
      known.pass = slice.pass;
      const [, , , state, , polls, busy] = known.row;
      const open = opened.get(`${table.id}.${id}`);
      if (open !== undefined) open.last = known;
      if (table.rows.size > MAX_WITH_HISTORY && open === undefined) continue;
      known.history.push([now, polls ?? 0, busy ?? 0, state]);
      if (known.history.length > MAX_HISTORY) known.history.shift();
    }
    for (const resource of slice.resources) table.nextResources.set(resource.key, resource);
    table.nextSockets.push(...slice.sockets);
    if (slice.isPassEnd) finishPass(table, slice.pass, now);
  }

  function finishPass(table: Table, pass: number, now: number): void {
    table.resources = table.nextResources;
    table.sockets = table.nextSockets;
    table.nextResources = new Map();
    table.nextSockets = [];
    table.passMs = now - table.passStartMs;
    table.passStartMs = now;
    table.lists.clear();
    const groups = new Map<string, Group>();
    const groupOf = (row: Row): Group => {
      const name = groupName(row);
      const group = groups.get(name) ?? newGroup(now);
      groups.set(name, group);
      return group;
    };
    for (const [id, { row, pass: seen }] of table.rows) {
      const group = groupOf(row);
      if (seen === pass) group.count++;
      else {
        group.ended++;
        table.rows.delete(id);
      }
    }
    for (const { row } of table.rows.values()) {
      if (row[2] !== 0 && !table.rows.has(row[2])) groupOf(row).outlived++;
    }
    const isFirst = table.groups.size === 0;
    for (const [name, group] of groups) {
      const before = table.groups.get(name);
      if (group.ended > 0 || isFirst) group.base = group.count;
      else if (before !== undefined) {
        group.base = before.base;
        group.growths = before.growths + (group.count > before.count ? 1 : 0);
        group.sinceMs = before.sinceMs;
      }
    }
    table.groups = groups;
    table.warnings = warningsOf(table);
  }

  function newGroup(sinceMs: number): Group {
    return { count: 0, base: 0, growths: 0, sinceMs, ended: 0, outlived: 0 };
  }

  /** Tasks without a name share one. */
  function groupName([id, name]: Row): string {
    return isUnnamed(id, name) ? "(no name)" : name;
  }

  function labelOf([id, name]: Row): string {
    return isUnnamed(id, name) ? name : `#${id} ${name}`;
  }

  // Warning.

  function warningsOf(table: Table): Warning[] {
    const warnings: Warning[] = [];
    const counts = new Map<string, number>();
    const warn = (kind: string, task: number, text: string): void => {
      const count = (counts.get(kind) ?? 0) + 1;
      counts.set(kind, count);
      if (count <= MAX_PER_WARNING) warnings.push({ kind, runtime: table.id, task, text });
    };
    const waits = new Map<number, readonly number[]>();
    for (const { row, history } of table.rows.values()) {
      const [id, , , state, waitsOn, , , longestPollMs, , , waitsFor, , , , flags] = row;
      if (waitsFor.length > 0) waits.set(id, waitsFor);
      if (state === "waiting" && (flags & F.HOLDERS_ENDED) !== 0) {
        warn("nobody can wake it", id, `nobody can wake ${labelOf(row)}: it waits on ${waitsOn}`);
      } else if ((flags & F.NO_WAKER) !== 0) {
        warn(
          "nobody can wake it",
          id,
          `nobody can wake ${labelOf(row)}: its future returned Pending, and nothing has its waker`,
        );
      }
      if (longestPollMs !== null && longestPollMs > LONG_POLL_MS) {
        warn(
          "long poll",
          id,
          `a poll of ${labelOf(row)} took ${longestPollMs.toFixed(0)} ms: the other tasks waited`,
        );
      }
      warnOfSelfWakes(row, history, warn);
    }
    for (const cycle of cyclesOf(waits.keys(), (id) => waits.get(id) ?? [])) {
      const names = [...cycle, cycle[0]!].map((id) => labelFor(table, id));
      warn("deadlock", cycle[0]!, `nobody can wake ${names.join(", which waits for ")}`);
    }
    for (const [name, { count, base, growths, sinceMs, outlived }] of table.groups) {
      if (growths < LEAK_PASSES || count - base < LEAK_TASKS) continue;
      const left = outlived > 0 ? `; ${outlived} outlive the task that spawned them` : "";
      const more = `${count - base} more within ${seconds(Date.now() - sinceMs)}, and none has ended${left}`;
      warnings.push({
        kind: "leak",
        runtime: table.id,
        task: 0,
        group: name,
        text: `${count} tasks named ${name}: ${more}`,
      });
    }
    for (const [kind, count] of counts) {
      if (count <= MAX_PER_WARNING) continue;
      warnings.push({
        kind,
        runtime: table.id,
        task: 0,
        text: `${count - MAX_PER_WARNING} more: ${kind}`,
      });
    }
    return warnings;
  }

  /** A task that is polled again and again because it wakes itself, not because something happened. */
  function warnOfSelfWakes(
    row: Row,
    history: Known["history"],
    warn: (kind: string, task: number, text: string) => void,
  ): void {
    const selfWakes = row[9] ?? 0;
    const polls = row[5] ?? 0;
    const first = history[0];
    const last = history.at(-1);
    const before = history.at(-3) ?? first;
    if (first === undefined || last === undefined || before === undefined || before === last)
      return;
    const rate = (1000 * (last[1] - before[1])) / (last[0] - before[0]);
    if (rate < SELF_WAKES_PER_SECOND || selfWakes < 0.9 * polls) return;
    warn(
      "wakes itself",
      row[0],
      `${labelOf(row)} wakes itself in a loop: ${Math.round(rate)} polls per second`,
    );
  }

  // Showing.

  function labelFor(table: Table, id: number): string {
    const known = table.rows.get(Math.abs(id));
    return known === undefined ? `#${Math.abs(id)}` : labelOf(known.row);
  }

  function named(table: Table, id: number): Named {
    const isEnded = id < 0 || !table.rows.has(id);
    return { id: Math.abs(id), name: labelFor(table, id), isEnded };
  }

  function viewOf({ row, rowMs }: Known, depth: number): TaskView {
    const [id, , , state, , polls, busyMs, longestPollMs] = row;
    const sinceMs = Date.now() - rowMs;
    const ageMs = row[8] === null ? null : row[8] + sinceMs;
    // The row of a task that sleeps came when it began to.
    const leftMs = row[13] ?? 0;
    const waitsOn = row[4].replace(`${leftMs} ms left`, `${Math.max(0, leftMs - sinceMs)} ms left`);
    return { id, name: labelOf(row), state, waitsOn, polls, busyMs, longestPollMs, ageMs, depth };
  }

  /** What a list may be sorted by. */
  const COLUMNS: Readonly<Record<string, number>> = {
    id: 0,
    name: 1,
    state: 3,
    waitsOn: 4,
    polls: 5,
    busyMs: 6,
    longestPollMs: 7,
    ageMs: 8,
  };

  function compare(a: unknown, b: unknown): number {
    if (typeof a === "string" && typeof b === "string") return a < b ? -1 : a > b ? 1 : 0;
    return Number(a ?? -1) - Number(b ?? -1);
  }

  interface Query {
    readonly filter: string;
    readonly group: string | null;
    readonly sort: string;
    readonly isDescending: boolean;
    readonly isTree: boolean;
    readonly offset: number;
  }

  function matches(row: Row, { filter, group }: Query): boolean {
    if (group !== null && groupName(row) !== group) return false;
    if (filter === "") return true;
    const text = `${labelOf(row)}\n${row[3]}\n${row[4]}`.toLowerCase();
    return text.includes(filter);
  }

  function tasksView(table: Table, query: Query): TasksView {
    const key = JSON.stringify({ ...query, offset: 0 });
    let listed = table.lists.get(key);
    if (listed === undefined) {
      if (table.lists.size >= MAX_LISTS) table.lists.clear();
      listed = query.isTree ? treeOf(table, query) : listOf(table, query);
      if (table.passMs > 0) table.lists.set(key, listed); // the first pass adds rows all the time
    }
    const offset = Math.max(0, Math.min(query.offset, listed.length - 1));
    const shown = listed.slice(offset, offset + PAGE_ROWS);
    return {
      view: "tasks",
      total: table.passMs > 0 ? table.rows.size : (table.metrics?.tasksAlive ?? 0),
      matching: listed.length,
      offset,
      rows: shown.map(({ known, depth }) => viewOf(known, depth)),
    };
  }

  function inOrder(all: Known[], { sort, isDescending }: Query): Known[] {
    const column = COLUMNS[sort] ?? 0;
    const sign = isDescending ? -1 : 1;
    return all.sort((a, b) => sign * compare(a.row[column], b.row[column]) || a.row[0] - b.row[0]);
  }

  function listOf(table: Table, query: Query): Listed[] {
    const found = [...table.rows.values()].filter(({ row }) => matches(row, query));
    return inOrder(found, query).map((known) => ({ known, depth: 0 }));
  }

  /** Each task below its spawner; those above a match are shown, too. */
  function treeOf(table: Table, query: Query): Listed[] {
    const shown = new Set<number>();
    for (const { row } of table.rows.values()) {
      if (!matches(row, query)) continue;
      for (let known = table.rows.get(row[0]); known !== undefined; ) {
        if (shown.has(known.row[0])) break;
        shown.add(known.row[0]);
        known = table.rows.get(known.row[2]);
      }
    }
    const children = new Map<number, Known[]>();
    for (const known of table.rows.values()) {
      if (!shown.has(known.row[0])) continue;
      const parent = table.rows.has(known.row[2]) ? known.row[2] : 0;
      const siblings = children.get(parent);
      if (siblings === undefined) children.set(parent, [known]);
      else siblings.push(known);
    }
    const rows: Listed[] = [];
    const rest: Listed[] = [];
    const add = (parent: number, depth: number): void => {
      const below = inOrder(children.get(parent) ?? [], query);
      for (let index = below.length - 1; index >= 0; index--)
        rest.push({ known: below[index]!, depth });
    };
    add(0, 0);
    for (let next = rest.pop(); next !== undefined; next = rest.pop()) {
      rows.push(next);
      add(next.known.row[0], next.depth + 1);
    }
    return rows;
  }

  function groupsView(table: Table, { filter, sort, isDescending, offset }: Query): GroupsView {
    const groups = new Map<string, GroupView>();
    for (const { row } of table.rows.values()) {
      const name = groupName(row);
      if (filter !== "" && !name.toLowerCase().includes(filter)) continue;
      let group = groups.get(name);
      if (group === undefined) {
        const { base = 0, outlived = 0 } = table.groups.get(name) ?? {};
        group = {
          name,
          count: 0,
          growth: -base,
          outlived,
          waiting: 0,
          polls: 0,
          busyMs: 0,
          longestPollMs: 0,
        };
        groups.set(name, group);
      }
      group.count++;
      group.growth++;
      if (row[3] === "waiting") group.waiting++;
      group.polls += row[5] ?? 0;
      group.busyMs += row[6] ?? 0;
      group.longestPollMs = Math.max(group.longestPollMs, row[7] ?? 0);
    }
    const column = (sort in COLUMNS && sort !== "name" ? "count" : sort) as keyof GroupView;
    const sign = isDescending ? -1 : 1;
    const all = [...groups.values()].sort(
      (a, b) => sign * compare(a[column], b[column]) || b.count - a.count,
    );
    return {
      view: "groups",
      total: all.length,
      offset,
      rows: all.slice(offset, offset + PAGE_ROWS),
    };
  }

  function resourcesView(table: Table, { filter, offset }: Query): ResourcesView {
    const queues = new Map<number, Known[]>();
    const byFd = new Map<number, Named[]>();
    const timers: { task: Named; leftMs: number }[] = [];
    for (const known of table.rows.values()) {
      const [id, , , , , , , , , , , fds, resources, leftMs] = known.row;
      for (const key of resources) {
        const queue = queues.get(key);
        if (queue === undefined) queues.set(key, [known]);
        else queue.push(known);
      }
      for (const fd of fds)
        byFd.set(fd, [...(byFd.get(fd) ?? []), named(table, id)].slice(0, MAX_QUEUE));
      if (leftMs !== null) {
        const left = Math.max(0, leftMs - (Date.now() - known.rowMs));
        timers.push({ task: named(table, id), leftMs: left });
      }
    }
    const has = (...texts: (string | null)[]): boolean =>
      filter === "" || texts.some((text) => text?.toLowerCase().includes(filter));
    const locks = [...table.resources.values()]
      .filter(({ key, text }) => queues.has(key) && has(text))
      .map((resource) => lockView(table, resource, queues.get(resource.key) ?? []))
      .sort((a, b) => b.waiting - a.waiting);
    const sockets = table.sockets.filter(({ fd, kind, local, remote }) =>
      has(`fd ${fd}`, kind, local, remote),
    );
    return {
      view: "resources",
      offset,
      locks: { total: locks.length, rows: locks.slice(0, PAGE_ROWS) },
      sockets: {
        total: sockets.length,
        rows: sockets
          .slice(offset, offset + PAGE_ROWS)
          .map((socket) => ({ ...socket, tasks: byFd.get(socket.fd) ?? [] })),
      },
      timers: {
        total: table.metrics?.timers ?? 0,
        rows: timers.sort((a, b) => a.leftMs - b.leftMs).slice(0, MAX_QUEUE),
      },
    };
  }

  function lockView(table: Table, { kind, text, holders }: ResourceRow, queue: Known[]) {
    return {
      kind,
      text,
      holders: holders.map((id) => named(table, id)),
      waiting: queue.length,
      queue: queue
        .slice(0, MAX_QUEUE)
        .map(({ row }) => ({ ...named(table, row[0]), waitsOn: row[4] })),
    };
  }

  function taskView(table: Table, id: number): TaskPageView {
    const key = `${table.id}.${id}`;
    let entry = opened.get(key);
    if (entry === undefined) {
      entry = {
        runtime: table.id,
        task: id,
        seenMs: 0,
        detail: null,
        last: table.rows.get(id) ?? null,
      };
      opened.set(key, entry);
    }
    entry.seenMs = Date.now();
    const { detail } = entry;
    const known = table.rows.get(id) ?? entry.last;
    if (known === null) {
      return { view: "task", id, isKnown: false };
    }
    const { row, history } = known;
    const children = [...table.rows.values()].filter((other) => other.row[2] === id);
    return {
      view: "task",
      id,
      isKnown: true,
      isEnded: detail?.isEnded ?? !table.rows.has(id),
      task: viewOf(known, 0),
      spawner: row[2] === 0 ? null : named(table, row[2]),
      spawnedAt: detail?.spawnedAt ?? null,
      stack: detail?.stack ?? [],
      fds: detail?.fds ?? [],
      waitsFor: row[10].map((other) => named(table, other)),
      resources: row[12].flatMap((resourceKey) => {
        const resource = table.resources.get(resourceKey);
        if (resource === undefined) return [];
        const queue = [...table.rows.values()].filter((other) =>
          other.row[12].includes(resourceKey),
        );
        return lockView(table, resource, queue);
      }),
      children: {
        total: children.length,
        rows: children.slice(0, MAX_QUEUE).map((child) => named(table, child.row[0])),
      },
      selfWakes: row[9],
      history: history.map(([ms, polls, busyMs, state]) => ({ ms, polls, busyMs, state })),
    };
  }

  function answerFor(params: URLSearchParams): View {
    const now = Date.now();
    const number = (name: string): number => Math.max(0, Math.trunc(Number(params.get(name))) || 0);
    const wanted = tables.get(number("runtime"));
    const all = [...tables.values()];
    // A program may have the ambient runtime, which does nothing, and one of its own.
    const busy = all.find(({ metrics }) => (metrics?.tasksAlive ?? 0) > 0);
    const table = wanted ?? busy ?? all[0] ?? null;
    const query: Query = {
      filter: (params.get("filter") ?? "").toLowerCase().slice(0, 200),
      group: params.get("group"),
      sort: params.get("sort") ?? "id",
      isDescending: params.get("order") === "desc",
      isTree: params.has("tree"),
      offset: number("offset"),
    };
    const held = stuck();
    const warnings = [...tables.values()]
      .flatMap((one) => one.warnings)
      .sort((a, b) => KINDS.indexOf(a.kind) - KINDS.indexOf(b.kind));
    const name = params.get("view");
    let content: View["content"] = null;
    if (table !== null) {
      if (name === "groups") content = groupsView(table, query);
      else if (name === "resources") content = resourcesView(table, query);
      else if (name === "task") content = taskView(table, number("task"));
      else content = tasksView(table, query);
    }
    return {
      title,
      stuck: held,
      answeredMs: answeredMs === 0 ? null : now - answeredMs,
      upMs: now - startMs,
      runtimes: [...tables.values()].map(({ id, metrics, passMs }) => ({
        id,
        tasks: metrics?.tasksAlive ?? 0,
        ended: metrics?.tasksEnded ?? 0,
        polls: metrics?.polls ?? 0,
        timers: metrics?.timers ?? 0,
        fds: metrics?.sources ?? 0,
        jobs: metrics?.jobs ?? 0,
        passMs,
      })),
      runtime: table?.id ?? null,
      samples,
      warnings,
      content,
    };
  }

  // Serving.

  const HEADERS = {
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
  };

  function reply(status: number, body: string, headers: Record<string, string> = {}): Response {
    const type = "text/plain; charset=utf-8";
    return new Response(body, {
      status,
      headers: { ...HEADERS, "content-type": type, ...headers },
    });
  }

  function hash(text: string): Buffer {
    return createHash("sha256").update(text).digest();
  }

  /** A page of another site may have its name point here (DNS rebinding): then it is not among these. */
  function isOwnHost(header: string | null, host: string): boolean {
    if (header === null) return false;
    const name = header.replace(/:\d*$/, "").toLowerCase();
    const isAddress = /^\[[\da-f:.%]+\]$|^\d+\.\d+\.\d+\.\d+$/.test(name);
    return isAddress || name === "localhost" || name === host.toLowerCase();
  }

  async function serve(incoming: Request, host: string, secret: Buffer): Promise<Response> {
    if (incoming.method !== "GET" && incoming.method !== "HEAD") {
      return reply(405, "405: this page only reads", { allow: "GET, HEAD" });
    }
    if (!isOwnHost(incoming.headers.get("host"), host)) {
      return reply(403, "403: open this page by its address, as the program printed it");
    }
    const { pathname, searchParams } = new URL(incoming.url);
    if (!timingSafeEqual(hash(searchParams.get("token") ?? ""), secret)) {
      return reply(
        403,
        "403: the token is missing or wrong; open the URL that the program printed",
      );
    }
    if (pathname === "/data") {
      onClient();
      // Not longer: the thread may be stuck.
      await Promise.race([firstAnswer.promise, Bun.sleep(REQUEST_MS)]);
      look();
      return reply(200, JSON.stringify(answerFor(searchParams)), {
        "content-type": "application/json",
      });
    }
    if (pathname !== "/") return reply(404, "404: there is no such page");
    const nonce = randomBytes(16).toString("base64url");
    const policy = `default-src 'none'; script-src 'nonce-${nonce}'; style-src 'nonce-${nonce}'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'`;
    return reply(200, page.replaceAll("NONCE", nonce), {
      "content-type": "text/html; charset=utf-8",
      "content-security-policy": policy,
    });
  }

  let server: ReturnType<typeof Bun.serve> | null = null;

  function setState(state: number, text = ""): void {
    const bytes = new TextEncoder().encode(text).subarray(0, C.TEXT_BYTES);
    new Uint8Array(control.buffer, C.INTS * 4).set(bytes);
    control[C.TEXT_LENGTH] = bytes.length;
    Atomics.store(control, C.STATE, state);
    Atomics.notify(control, C.STATE);
  }

  function start(setup: Setup): void {
    control = new Int32Array(setup.control, 0, C.INTS);
    title = setup.title;
    const token = setup.token ?? randomBytes(16).toString("hex");
    const secret = hash(token);
    try {
      server = Bun.serve({
        hostname: setup.host,
        port: setup.port,
        maxRequestBodySize: 1024,
        development: false,
        reusePort: false, // true by default with the option above
        fetch: (incoming) => serve(incoming, setup.host, secret),
      });
    } catch (error) {
      const { code = "", message } = error as Error & { code?: string };
      setState(C.FAILED, `${code} ${message}`);
      return;
    }
    control[C.PORT] = server.port ?? 0;
    setState(C.LISTENING, token);
  }

  function close(): void {
    clearInterval(sampleTimer);
    clearTimeout(requestTimer);
    isWaiting = true; // asks nothing from now on
    void server?.stop(true);
    setState(C.CLOSED);
  }

  function attach({ runtime, memory }: { runtime: number; memory: SharedArrayBuffer }): void {
    tables.set(runtime, {
      id: runtime,
      reader: pollReader(memory, layout),
      poll: 0,
      sinceMs: Date.now(),
      metrics: null,
      rows: new Map(),
      resources: new Map(),
      sockets: [],
      nextResources: new Map(),
      nextSockets: [],
      groups: new Map(),
      warnings: [],
      passStartMs: Date.now(),
      passMs: 0,
      busyMs: 0,
      observedMs: 0,
      lists: new Map(),
    });
  }

  scope.onmessage = ({ data }) => {
    if ("answer" in data) onAnswer(JSON.parse(data.answer), data.tookMs);
    else if ("setup" in data) start(data.setup);
    else if ("attach" in data) attach(data.attach);
    else if ("detach" in data) tables.delete(data.detach);
    else if ("eventFd" in data) {
      eventFds.push(data.eventFd);
      if (isWaiting) wake(data.eventFd); // a request from before this runtime existed: in `blockOn`, nothing else wakes it
    } else close();
  };
}
