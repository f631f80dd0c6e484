// What the page shows of one runtime: its tasks as a list or a tree, the names of its tasks, what they wait for, or one
// task.
//
// It filters and sorts what the tables hold, and returns a page of it. It owns the lists of the latest pass.
// `consoleContent` reaches the Worker as source text: see worker.ts.

import type { ResourceRow, Row } from "./protocol.ts";
import type { Known, Table, Tables } from "./tables.ts";
import type {
  GroupsView,
  GroupView,
  LockView,
  Named,
  ResourcesView,
  TaskPageView,
  TasksView,
  TaskView,
  View,
} from "./views.ts";

export interface Content {
  /** Returns what the page asks for, and of which runtime it is. */
  contentFor(params: URLSearchParams, nowMs: number): Pick<View, "runtime" | "content">;
  /** Drops the lists of the pass before. */
  forget(table: Table): void;
}

export function consoleContent(tables: Tables): Content {
  const PAGE_ROWS = 100;
  const MAX_QUEUE = 20;
  /** How many queries of one pass are kept. */
  const MAX_LISTS = 8;
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

  /** What the page asks for. */
  interface Query {
    readonly filter: string;
    readonly group: string | null;
    readonly sort: string;
    readonly isDescending: boolean;
    readonly isTree: boolean;
    readonly offset: number;
  }

  /** A line of a list or a tree. */
  interface Listed {
    readonly known: Known;
    readonly depth: number;
  }

  const { groupName, labelOf, named } = tables;
  /** The lists of the latest pass, by query. While a pass is under way, rows would move under the reader. */
  const kept = new WeakMap<Table, Map<string, Listed[]>>();

  function contentFor(params: URLSearchParams, nowMs: number): ReturnType<Content["contentFor"]> {
    const number = (name: string): number => Math.max(0, Math.trunc(Number(params.get(name))) || 0);
    const all = [...tables.all.values()];
    // A program may have the ambient runtime, which does nothing, and one of its own.
    const busy = all.find(({ metrics }) => (metrics?.tasksAlive ?? 0) > 0);
    const table = tables.all.get(number("runtime")) ?? busy ?? all[0];
    if (table === undefined) return { runtime: null, content: null };
    const query: Query = {
      filter: (params.get("filter") ?? "").toLowerCase().slice(0, 200),
      group: params.get("group"),
      sort: params.get("sort") ?? "id",
      isDescending: params.get("order") === "desc",
      isTree: params.has("tree"),
      offset: number("offset"),
    };
    const view = params.get("view");
    let content: View["content"];
    if (view === "groups") content = groupsView(table, query);
    else if (view === "resources") content = resourcesView(table, query, nowMs);
    else if (view === "task") content = taskView(table, number("task"), nowMs);
    else content = tasksView(table, query, nowMs);
    return { runtime: table.id, content };
  }

  function viewOf({ row, rowMs }: Known, depth: number, nowMs: number): TaskView {
    const [id, , , state, , polls, busyMs, longestPollMs] = row;
    const sinceMs = nowMs - rowMs;
    const ageMs = row[8] === null ? null : row[8] + sinceMs;
    // The row of a task that sleeps came when it began to.
    const leftMs = row[13] ?? 0;
    const waitsOn = row[4].replace(`${leftMs} ms left`, `${Math.max(0, leftMs - sinceMs)} ms left`);
    return { id, name: labelOf(row), state, waitsOn, polls, busyMs, longestPollMs, ageMs, depth };
  }

  function compare(a: unknown, b: unknown): number {
    if (typeof a === "string" && typeof b === "string") return a < b ? -1 : a > b ? 1 : 0;
    return Number(a ?? -1) - Number(b ?? -1);
  }

  function matches(row: Row, { filter, group }: Query): boolean {
    if (group !== null && groupName(row) !== group) return false;
    if (filter === "") return true;
    const text = `${labelOf(row)}\n${row[3]}\n${row[4]}`.toLowerCase();
    return text.includes(filter);
  }

  function tasksView(table: Table, query: Query, nowMs: number): TasksView {
    const key = JSON.stringify({ ...query, offset: 0 });
    const lists = kept.get(table) ?? new Map<string, Listed[]>();
    let listed = lists.get(key);
    if (listed === undefined) {
      if (lists.size >= MAX_LISTS) lists.clear();
      listed = query.isTree ? treeOf(table, query) : listOf(table, query);
      if (table.passMs > 0) kept.set(table, lists.set(key, listed)); // the first pass adds rows all the time
    }
    const offset = Math.max(0, Math.min(query.offset, listed.length - 1));
    const shown = listed.slice(offset, offset + PAGE_ROWS);
    return {
      view: "tasks",
      total: table.passMs > 0 ? table.rows.size : (table.metrics?.tasksAlive ?? 0),
      matching: listed.length,
      offset,
      rows: shown.map(({ known, depth }) => viewOf(known, depth, nowMs)),
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
    const children = Map.groupBy(
      [...table.rows.values()].filter(({ row }) => shown.has(row[0])),
      ({ row }) => (table.rows.has(row[2]) ? row[2] : 0),
    );
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
        const sums = { waiting: 0, polls: 0, busyMs: 0, longestPollMs: 0 };
        group = { name, count: 0, growth: -base, outlived, ...sums };
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
    const rows = all.slice(offset, offset + PAGE_ROWS);
    return { view: "groups", total: all.length, offset, rows };
  }

  function resourcesView(table: Table, { filter, offset }: Query, nowMs: number): ResourcesView {
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
        const left = Math.max(0, leftMs - (nowMs - known.rowMs));
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

  function lockView(table: Table, resource: ResourceRow, waiting: Known[]): LockView {
    const { kind, text, holders } = resource;
    return {
      kind,
      text,
      holders: holders.map((id) => named(table, id)),
      waiting: waiting.length,
      queue: waiting
        .slice(0, MAX_QUEUE)
        .map(({ row }) => ({ ...named(table, row[0]), waitsOn: row[4] })),
    };
  }

  function taskView(table: Table, id: number, nowMs: number): TaskPageView {
    const { detail, last } = tables.open(table, id, nowMs);
    const known = table.rows.get(id) ?? last;
    if (known === null) return { view: "task", id, isKnown: false };
    const { row, history } = known;
    const all = [...table.rows.values()];
    const children = all.filter((other) => other.row[2] === id);
    return {
      view: "task",
      id,
      isKnown: true,
      isEnded: detail?.isEnded ?? !table.rows.has(id),
      task: viewOf(known, 0, nowMs),
      spawner: row[2] === 0 ? null : named(table, row[2]),
      spawnedAt: detail?.spawnedAt ?? null,
      stack: detail?.stack ?? [],
      fds: detail?.fds ?? [],
      waitsFor: row[10].map((other) => named(table, other)),
      resources: row[12].flatMap((key) => {
        const resource = table.resources.get(key);
        if (resource === undefined) return [];
        const queue = all.filter((other) => other.row[12].includes(key));
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

  return { contentFor, forget: (table) => kept.delete(table) };
}
