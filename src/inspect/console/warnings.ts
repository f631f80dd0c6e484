// What the console's Worker finds wrong: a poll that does not return, and, after each pass over the tasks of a runtime,
// tasks that nobody can wake, deadlocks, leaks, busy loops and long polls.
//
// It reads the tables, and owns the warnings of their latest pass. `consoleWarnings` reaches the Worker as source text:
// see worker.ts.

import type { cyclesOf } from "../../runtime/cycles.ts";
import type { FLAGS } from "./protocol.ts";
import type { Known, Table, Tables } from "./tables.ts";
import type { Warning } from "./views.ts";

export interface Warnings {
  /** Looks for what is wrong after a pass. */
  update(table: Table, nowMs: number): void;
  /** The warnings of all runtimes, the worst first. */
  all(): readonly Warning[];
  /** Says what holds the thread, which has not answered for `waitMs`; null if this thread can see nothing. */
  stuck(nowMs: number, waitMs: number): Warning | null;
}

export function consoleWarnings(
  tables: Tables,
  findCycles: typeof cyclesOf,
  flagBits: typeof FLAGS,
): Warnings {
  /** A poll that lasts longer is reported. */
  const STUCK_MS = 500;
  /** A poll that took longer is worth a warning. */
  const LONG_POLL_MS = 10;
  /** A task that wakes itself more often is in a busy loop. */
  const SELF_WAKES_PER_SECOND = 5000;
  /** A name leaks if it has grown by this many tasks, in this many passes, while none of its tasks ended. */
  const LEAK_TASKS = 10;
  const LEAK_PASSES = 3;
  const MAX_PER_WARNING = 10;
  /** The kinds of warnings, the worst first. */
  const KINDS = [
    "never yields",
    "nobody can wake it",
    "deadlock",
    "leak",
    "wakes itself",
    "long poll",
  ];

  const { labelOf, named } = tables;
  const found = new WeakMap<Table, Warning[]>();

  function all(): readonly Warning[] {
    return [...tables.all.values()]
      .flatMap((table) => found.get(table) ?? [])
      .sort((a, b) => KINDS.indexOf(a.kind) - KINDS.indexOf(b.kind));
  }

  function stuck(nowMs: number, waitMs: number): Warning | null {
    const kind = "never yields";
    for (const { id, reader, poll, sinceMs } of tables.all.values()) {
      const ms = nowMs - sinceMs;
      if (poll === 0 || ms < STUCK_MS || reader.poll() !== poll) continue;
      const text = `${reader.who()} has held the thread for ${seconds(ms)}: its poll does not return, and no other task runs`;
      return { kind, runtime: id, task: reader.ids()[0] ?? 0, text };
    }
    if (waitMs < 2 * STUCK_MS) return null;
    const text = `the thread has not answered for ${seconds(waitMs)}, and no task is being polled: other code holds it`;
    return { kind, runtime: 0, task: 0, text };
  }

  function seconds(ms: number): string {
    return `${(ms / 1000).toFixed(1)} s`;
  }

  function update(table: Table, nowMs: number): void {
    const runtime = table.id;
    const warnings: Warning[] = [];
    const counts = new Map<string, number>();
    const warn = (kind: string, task: number, text: string): void => {
      const count = (counts.get(kind) ?? 0) + 1;
      counts.set(kind, count);
      if (count <= MAX_PER_WARNING) warnings.push({ kind, runtime, task, text });
    };
    const waits = new Map<number, readonly number[]>();
    for (const known of table.rows.values()) {
      const [id, , , , , , , longestPollMs, , , waitsFor] = known.row;
      if (waitsFor.length > 0) waits.set(id, waitsFor);
      const lost = whyNobodyWakes(known);
      if (lost !== null) {
        warn("nobody can wake it", id, `nobody can wake ${labelOf(known.row)}: ${lost}`);
      }
      if (longestPollMs !== null && longestPollMs > LONG_POLL_MS) {
        const took = `took ${longestPollMs.toFixed(0)} ms: the other tasks waited`;
        warn("long poll", id, `a poll of ${labelOf(known.row)} ${took}`);
      }
      const rate = selfWakesPerSecond(known);
      if (rate !== null) {
        const text = `${labelOf(known.row)} wakes itself in a loop: ${Math.round(rate)} polls per second`;
        warn("wakes itself", id, text);
      }
    }
    for (const cycle of findCycles(waits.keys(), (id) => waits.get(id) ?? [])) {
      const names = [...cycle, cycle[0]!].map((id) => named(table, id).name);
      warn("deadlock", cycle[0]!, `nobody can wake ${names.join(", which waits for ")}`);
    }
    for (const [group, { count, base, growths, sinceMs, outlived }] of table.groups) {
      if (growths < LEAK_PASSES || count - base < LEAK_TASKS) continue;
      const left = outlived > 0 ? `; ${outlived} outlive the task that spawned them` : "";
      const more = `${count - base} more within ${seconds(nowMs - sinceMs)}, and none has ended${left}`;
      const text = `${count} tasks named ${group}: ${more}`;
      warnings.push({ kind: "leak", runtime, task: 0, group, text });
    }
    for (const [kind, count] of counts) {
      if (count <= MAX_PER_WARNING) continue;
      warnings.push({ kind, runtime, task: 0, text: `${count - MAX_PER_WARNING} more: ${kind}` });
    }
    found.set(table, warnings);
  }

  function whyNobodyWakes({ row }: Known): string | null {
    const flags = row[14];
    if (row[3] === "waiting" && (flags & flagBits.HOLDERS_ENDED) !== 0) {
      return `it waits on ${row[4]}`;
    }
    if ((flags & flagBits.NO_WAKER) === 0) return null;
    return "its future returned Pending, and nothing has its waker";
  }

  /** Of a task that is polled again and again because it wakes itself, not because something happened; else null. */
  function selfWakesPerSecond({ row, history }: Known): number | null {
    const selfWakes = row[9] ?? 0;
    const polls = row[5] ?? 0;
    const last = history.at(-1);
    const before = history.at(-3) ?? history[0];
    if (last === undefined || before === undefined || before === last) return null;
    const rate = (1000 * (last[1] - before[1])) / (last[0] - before[0]);
    return rate < SELF_WAKES_PER_SECOND || selfWakes < 0.9 * polls ? null : rate;
  }

  return { update, all, stuck };
}
