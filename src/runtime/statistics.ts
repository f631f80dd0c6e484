// Statistics: how often and how long each task was polled, and the distributions of those times. The observer keeps
// them only while something looks.
//
// The time of a poll is the time between two readings of the runtime's clock. A poll inside a poll (a `blockOn` of
// another runtime) counts for both runtimes.

import { Histogram } from "../base/histogram.ts";
import type { Clock } from "../sys/clock.ts";
import type { ObservedMetrics } from "./options.ts";
import type { Task } from "./task.ts";

/** What is known of a task since somebody looks. */
export interface TaskStatistics {
  /** When it was spawned; NaN if that was before. */
  readonly spawnedMs: number;
  polls: number;
  busyMs: number;
  longestPollMs: number;
  /** How often the task woke itself. */
  selfWakes: number;
  /** When it was woken, until it is polled; else NaN. */
  wokenMs: number;
}

export class Statistics {
  /** The live tasks that were spawned, woken or polled since somebody looks. */
  readonly tasks: Map<Task<unknown>, TaskStatistics> = new Map();
  readonly pollMs: Histogram = new Histogram();
  readonly latencyMs: Histogram = new Histogram();
  readonly turnMs: Histogram = new Histogram();
  readonly lagMs: Histogram = new Histogram();
  /** The time in polls and microtasks, since `startMs`. */
  busyMs = 0;
  private readonly startMs: number;
  private readonly clock: Clock;
  private polled: TaskStatistics | null = null;
  private pollStartMs = 0;
  private turnStartMs = 0;

  constructor(clock: Clock) {
    this.clock = clock;
    this.startMs = clock.now();
  }

  /** Returns what `runtime.metrics()` shows of it. */
  read(): ObservedMetrics {
    const observedMs = this.clock.now() - this.startMs;
    return {
      observedMs,
      busyRatio: observedMs > 0 ? Math.min(this.busyMs / observedMs, 1) : 0,
      pollMs: this.pollMs.read(),
      latencyMs: this.latencyMs.read(),
      turnMs: this.turnMs.read(),
      lagMs: this.lagMs.read(),
    };
  }

  /** The time on the clock that all these times are read from. */
  get nowMs(): number {
    return this.clock.now();
  }

  onTurnStart(): void {
    this.turnStartMs = this.clock.now();
  }

  /** Turns in which nothing was ready do not count. */
  onTurnEnd(hasPolled: boolean): void {
    if (hasPolled) this.turnMs.add(this.clock.now() - this.turnStartMs);
  }

  onSpawn(task: Task<unknown>): void {
    this.add(task, this.clock.now());
  }

  onEnd(task: Task<unknown>): void {
    this.tasks.delete(task);
  }

  /** `isSelf`: the task is being polled, and wakes itself. */
  onWake(task: Task<unknown>, isSelf: boolean): void {
    const known = this.of(task);
    if (isSelf) known.selfWakes++;
    if (Number.isNaN(known.wokenMs)) known.wokenMs = this.clock.now();
  }

  /** `task` is null for microtasks, which belong to many. */
  onPollStart(task: Task<unknown> | null): void {
    const nowMs = this.clock.now();
    this.pollStartMs = nowMs;
    this.polled = task === null || task.isEnded ? null : this.of(task);
    if (this.polled === null) return;
    const { wokenMs } = this.polled;
    if (!Number.isNaN(wokenMs)) this.latencyMs.add(nowMs - wokenMs);
    this.polled.wokenMs = Number.NaN;
  }

  onPollEnd(): void {
    const ms = this.clock.now() - this.pollStartMs;
    this.busyMs += ms;
    this.pollMs.add(ms);
    const polled = this.polled;
    this.polled = null;
    if (polled === null) return;
    polled.polls++;
    polled.busyMs += ms;
    if (ms > polled.longestPollMs) polled.longestPollMs = ms;
  }

  private of(task: Task<unknown>): TaskStatistics {
    return this.tasks.get(task) ?? this.add(task, Number.NaN);
  }

  private add(task: Task<unknown>, spawnedMs: number): TaskStatistics {
    const added = {
      spawnedMs,
      polls: 0,
      busyMs: 0,
      longestPollMs: 0,
      selfWakes: 0,
      wokenMs: Number.NaN,
    };
    this.tasks.set(task, added);
    return added;
  }
}
