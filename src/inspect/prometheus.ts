// toPrometheus: the metrics of a runtime in the text format of Prometheus, for an endpoint of the user's server. See
// prometheus.io/docs/instrumenting/exposition_formats.

import { checkObject, invalidType } from "../base/check.ts";
import { describe } from "../base/describe.ts";
import type { HistogramCounts } from "../base/histogram.ts";
import type { Metrics, ObservedMetrics } from "../runtime/options.ts";

/** What `toPrometheus` reads. A Runtime has it. */
export interface MetricsSource {
  metrics(): Metrics;
  tasksByName(): ReadonlyMap<string, number>;
}

/** More names would make as many time series: those of rare names are counted together. */
const MAX_NAMES = 50;
/** Longer names are cut. */
const MAX_NAME = 200;
/** The labels that the samples have of their own. */
const RESERVED = new Set(["name", "le"]);

type Family = readonly [name: string, kind: "counter" | "gauge", help: string, key: keyof Metrics];

const FAMILIES: readonly Family[] = [
  ["tasks_alive", "gauge", "Tasks that have not ended.", "tasksAlive"],
  ["tasks_ended_total", "counter", "Tasks that have ended.", "tasksEnded"],
  ["polls_total", "counter", "Polls of tasks and awaits.", "polls"],
  ["wakes_total", "counter", "Wakes that queued a task.", "wakes"],
  ["rounds_total", "counter", "Calls of epoll_wait.", "rounds"],
  ["events_total", "counter", "Events that epoll_wait returned.", "events"],
  ["parks_total", "counter", "Waits for events.", "parks"],
  ["timers", "gauge", "Pending deadlines.", "timers"],
  ["sources", "gauge", "Fds registered with epoll.", "sources"],
  ["jobs", "gauge", "Blocking jobs that have not ended.", "jobs"],
];

type TimeFamily = readonly [
  name: string,
  help: string,
  key: "pollMs" | "latencyMs" | "turnMs" | "lagMs",
];

const HISTOGRAMS: readonly TimeFamily[] = [
  ["poll_seconds", "Duration of polls and drains.", "pollMs"],
  ["wake_latency_seconds", "Time between a wake and the poll that followed.", "latencyMs"],
  ["turn_seconds", "Duration of turns.", "turnMs"],
  ["loop_lag_seconds", "Delay of turns on Bun's loop.", "lagMs"],
];

/**
 * Returns the metrics of a runtime in the text format of Prometheus. `labels` are added to each sample. The histograms
 * exist while the runtime is observed: see `runtime.observe()`. Tasks are counted by name, so give many tasks one name.
 * Names are cut at 200 characters.
 *
 * Throws TypeError if `runtime` is no Runtime, or a label is bad: `name` and `le` are taken.
 *
 * @example
 * using _ = runtime.observe();
 * const text = toPrometheus(runtime, { service: "chat" });
 * console.log(text.includes('guillotine_tasks_alive{service="chat"} ')); // true
 */
export function toPrometheus(
  runtime: MetricsSource,
  labels: Readonly<Record<string, string>> = {},
): string {
  if (typeof runtime?.metrics !== "function" || typeof runtime.tasksByName !== "function") {
    throw invalidType(`toPrometheus: runtime must be a Runtime; got ${describe(runtime)}`);
  }
  checkObject(labels, "toPrometheus: labels");
  for (const [name, value] of Object.entries(labels)) {
    if (!/^(?!__)[a-z_]\w*$/i.test(name) || RESERVED.has(name) || typeof value !== "string") {
      throw invalidType(
        `toPrometheus: labels must have names such as service, other than name and le, and strings; got ${describe(name)}: ${describe(value)}`,
      );
    }
  }
  const metrics = runtime.metrics();
  const lines: string[] = [];
  for (const [name, kind, help, key] of FAMILIES) {
    lines.push(...head(name, kind, help), sample(name, labels, metrics[key] as number));
  }
  lines.push(...head("tasks", "gauge", "Tasks that have not ended, by name."));
  for (const [task, count] of namesOf(runtime)) {
    lines.push(sample("tasks", { ...labels, name: task }, count));
  }
  if (metrics.observed !== undefined) lines.push(...observedLines(metrics.observed, labels));
  return `${lines.join("\n")}\n`;
}

/** Returns the most frequent names, each once; the others share one entry. */
function namesOf(runtime: MetricsSource): ReadonlyMap<string, number> {
  const names = new Map<string, number>();
  const add = (name: string, count: number): void =>
    void names.set(name, (names.get(name) ?? 0) + count);
  const sorted = [...runtime.tasksByName()].sort(([, a], [, b]) => b - a);
  for (const [index, [name, count]] of sorted.entries()) {
    // UTF-8 has no lone surrogates: names that differ only in these, or in what is cut, are one series.
    if (index < MAX_NAMES) add(name.slice(0, MAX_NAME).toWellFormed(), count);
    else add("(other names)", count);
  }
  return names;
}

function observedLines(observed: ObservedMetrics, labels: Readonly<Record<string, string>>) {
  const lines = [
    ...head("busy_ratio", "gauge", "Part of the time spent in polls."),
    sample("busy_ratio", labels, observed.busyRatio),
  ];
  for (const [name, help, key] of HISTOGRAMS) {
    lines.push(...head(name, "histogram", help), ...histogramLines(name, labels, observed[key]));
  }
  return lines;
}

function histogramLines(
  name: string,
  labels: Readonly<Record<string, string>>,
  { boundsMs, counts, count, sumMs }: HistogramCounts,
): string[] {
  let below = 0;
  const lines = boundsMs.map((bound, index) => {
    below += counts[index] ?? 0;
    return sample(`${name}_bucket`, { ...labels, le: String(bound / 1000) }, below);
  });
  lines.push(sample(`${name}_bucket`, { ...labels, le: "+Inf" }, count));
  lines.push(sample(`${name}_sum`, labels, sumMs / 1000), sample(`${name}_count`, labels, count));
  return lines;
}

function head(name: string, kind: string, help: string): string[] {
  return [`# HELP guillotine_${name} ${help}`, `# TYPE guillotine_${name} ${kind}`];
}

function sample(name: string, labels: Readonly<Record<string, string>>, value: number): string {
  const pairs = Object.entries(labels).map(([key, text]) => `${key}="${escapeLabel(text)}"`);
  return `guillotine_${name}${pairs.length === 0 ? "" : `{${pairs.join(",")}}`} ${value}`;
}

/** Per the format: only these three are escaped. */
function escapeLabel(text: string): string {
  return text.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n");
}
