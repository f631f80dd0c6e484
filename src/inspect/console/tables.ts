// What the console's Worker knows of the tasks: a table for each runtime, and the tasks with an open page.
//
// A table learns from the slices of the answers, and from the memory that shows the poll in progress. It does not know
// what is a problem or how tasks are listed. `consoleTables` reaches the Worker as source text: see worker.ts.
//
// Invariants:
// - A pass visits all tasks. So a task that a whole pass has not mentioned has ended, and its row goes.
// - Resources and sockets are those of the latest whole pass. Rows change during a pass.

import type { isUnnamed } from "../../runtime/task-info.ts";
import type { PollReader } from "../../sys/poll-watch.ts";
import type { Detail, ResourceRow, Row, Slice, SocketRow } from "./protocol.ts";
import type { Named } from "./views.ts";

export interface Known {
  row: Row;
  /** When the row came. */
  rowMs: number;
  pass: number;
  readonly history: [ms: number, polls: number, busyMs: number, state: string][];
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

/** What is known of a runtime. Only this file changes it. */
export interface Table {
  readonly id: number;
  readonly reader: PollReader;
  /** The poll in progress at the latest look, and when it was first seen. */
  poll: number;
  sinceMs: number;
  metrics: Slice["metrics"] | null;
  readonly rows: Map<number, Known>;
  resources: Map<number, ResourceRow>;
  sockets: SocketRow[];
  nextResources: Map<number, ResourceRow>;
  nextSockets: SocketRow[];
  groups: Map<string, Group>;
  passStartMs: number;
  /** How long the latest pass took; 0 before its end. */
  passMs: number;
  busyMs: number;
  observedMs: number;
}

/** A task with an open page. */
export interface Opened {
  readonly runtime: number;
  readonly task: number;
  /** When somebody last looked. */
  seenMs: number;
  detail: Detail | null;
  last: Known | null;
}

export interface Tables {
  readonly all: ReadonlyMap<number, Table>;
  attach(runtime: number, reader: PollReader, nowMs: number): void;
  detach(runtime: number): void;
  /** Sees which polls are in progress. `isFirst`: nobody has looked for a while, so each counts from now. */
  look(nowMs: number, isFirst?: boolean): void;
  learn(table: Table, slice: Slice, nowMs: number): void;
  learnDetail(detail: Detail): void;
  /** Returns the part of the time spent in polls since the previous call. */
  takeBusyRatio(): number;
  /** Opens the page of a task, or keeps it open. */
  open(table: Table, id: number, nowMs: number): Opened;
  /** Returns the tasks with an open page. Closes the pages at which nobody has looked since `sinceMs`. */
  openedSince(sinceMs: number): readonly Opened[];
  /** Tasks without a name share one. */
  groupName(row: Row): string;
  labelOf(row: Row): string;
  /** `id` is negative for a holder that has ended. */
  named(table: Table, id: number): Named;
}

export function consoleTables(
  hasNoName: typeof isUnnamed,
  onPassEnd: (table: Table, nowMs: number) => void,
): Tables {
  const MAX_HISTORY = 60;
  /** With more tasks, only those with an open page have a history. */
  const MAX_WITH_HISTORY = 5000;
  const EMPTY: Group = { count: 0, base: 0, growths: 0, sinceMs: 0, ended: 0, outlived: 0 };

  const all = new Map<number, Table>();
  /** By `runtime.task`. */
  const opened = new Map<string, Opened>();
  let busyDeltaMs = 0;
  let timeDeltaMs = 0;

  function attach(id: number, reader: PollReader, nowMs: number): void {
    all.set(id, {
      ...{ id, reader, poll: 0, sinceMs: nowMs, metrics: null, rows: new Map() },
      ...{ resources: new Map(), sockets: [], nextResources: new Map(), nextSockets: [] },
      ...{ groups: new Map(), passStartMs: nowMs, passMs: 0, busyMs: 0, observedMs: 0 },
    });
  }

  function look(nowMs: number, isFirst = false): void {
    for (const table of all.values()) {
      const poll = table.reader.poll();
      if (!isFirst && poll !== 0 && poll === table.poll) continue;
      table.poll = poll;
      table.sinceMs = nowMs;
    }
  }

  function learn(table: Table, slice: Slice, nowMs: number): void {
    table.metrics = slice.metrics;
    const { observedMs = 0, busyRatio = 0 } = slice.metrics.observed ?? {};
    const busyMs = observedMs * busyRatio;
    if (observedMs >= table.observedMs) {
      busyDeltaMs += busyMs - table.busyMs;
      timeDeltaMs += (observedMs - table.observedMs) / all.size; // they share one thread
    }
    table.busyMs = busyMs;
    table.observedMs = observedMs;
    for (const sent of slice.rows) learnRow(table, sent, slice.pass, nowMs);
    for (const resource of slice.resources) table.nextResources.set(resource.key, resource);
    table.nextSockets.push(...slice.sockets);
    if (slice.isPassEnd) finishPass(table, slice.pass, nowMs);
  }

  function learnRow(table: Table, sent: Row | number, pass: number, nowMs: number): void {
    const isRow = typeof sent !== "number";
    const id = isRow ? sent[0] : sent;
    let known = table.rows.get(id);
    if (known === undefined) {
      if (!isRow) return;
      known = { row: sent, rowMs: nowMs, pass, history: [] };
      table.rows.set(id, known);
    }
    if (isRow) {
      known.row = sent;
      known.rowMs = nowMs;
    }
    known.pass = pass;
    const [, , , state, , polls, busy] = known.row;
    const open = opened.get(`${table.id}.${id}`);
    if (open !== undefined) open.last = known;
    if (table.rows.size > MAX_WITH_HISTORY && open === undefined) return;
    known.history.push([nowMs, polls ?? 0, busy ?? 0, state]);
    if (known.history.length > MAX_HISTORY) known.history.shift();
  }

  function finishPass(table: Table, pass: number, nowMs: number): void {
    table.resources = table.nextResources;
    table.sockets = table.nextSockets;
    table.nextResources = new Map();
    table.nextSockets = [];
    table.passMs = nowMs - table.passStartMs;
    table.passStartMs = nowMs;
    const groups = new Map<string, Group>();
    const groupOf = (row: Row): Group => {
      const name = groupName(row);
      const group = groups.get(name) ?? { ...EMPTY, sinceMs: nowMs };
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
    onPassEnd(table, nowMs);
  }

  function learnDetail(detail: Detail): void {
    const entry = opened.get(`${detail.runtime}.${detail.task}`);
    if (entry !== undefined) entry.detail = detail;
  }

  function takeBusyRatio(): number {
    const ratio = timeDeltaMs > 0 ? Math.min(busyDeltaMs / timeDeltaMs, 1) : 0;
    busyDeltaMs = timeDeltaMs = 0;
    return ratio;
  }

  function open(table: Table, task: number, seenMs: number): Opened {
    const key = `${table.id}.${task}`;
    const last = table.rows.get(task) ?? null;
    const entry = opened.get(key) ?? { runtime: table.id, task, seenMs, detail: null, last };
    entry.seenMs = seenMs;
    opened.set(key, entry);
    return entry;
  }

  function openedSince(sinceMs: number): readonly Opened[] {
    for (const [key, { seenMs }] of opened) if (seenMs < sinceMs) opened.delete(key);
    return [...opened.values()];
  }

  function groupName([id, name]: Row): string {
    return hasNoName(id, name) ? "(no name)" : name;
  }

  function labelOf([id, name]: Row): string {
    return hasNoName(id, name) ? name : `#${id} ${name}`;
  }

  function named(table: Table, id: number): Named {
    const known = table.rows.get(Math.abs(id));
    const name = known === undefined ? `#${Math.abs(id)}` : labelOf(known.row);
    return { id: Math.abs(id), name, isEnded: id < 0 || known === undefined };
  }

  return {
    ...{ all, attach, detach: (runtime) => all.delete(runtime), look, learn, learnDetail },
    ...{ takeBusyRatio, open, openedSince, groupName, labelOf, named },
  };
}
