// Observer: what a runtime tells about its tasks while something looks: the trace, the statistics, and the watchdog.
// Nobody looking costs nothing: the executor then has no observer, and the hot path tests that.
//
// Invariant: the observer changes nothing that it observes. It throws no error into the run loop: subscribers of
// node:diagnostics_channel that throw end up in `uncaughtException`.

import { describeSome, visible, visibleName } from "../base/describe.ts";
import type { Runnable } from "../core/context.ts";
import { currentContextOrNull } from "../core/current.ts";
import type { Outcome } from "../core/poll.ts";
import type { Clock } from "../sys/clock.ts";
import { PollWatch } from "../sys/poll-watch.ts";
import { Await } from "./promises/await.ts";
import { drain } from "./promises/microtasks.ts";
import { Statistics } from "./statistics.ts";
import { Task, type TaskObserver } from "./task.ts";
import type { TaskInfo } from "./task-info.ts";
import { isTraced, type TracePhase, trace, traceAround } from "./trace.ts";

/** How many runtimes this thread has created. */
let runtimes = 0;

export class Observer implements TaskObserver {
  /** The number of the runtime in its thread. */
  readonly runtime: number = ++runtimes;
  /** null while nobody wants them. */
  statistics: Statistics | null = null;
  private readonly clock: Clock;
  /** Shows other threads the poll in progress: the watchdog and the console. null while there is neither. */
  private pollWatch: PollWatch | null = null;
  /** How many consoles read it. */
  private pollReaders = 0;
  /** The tasks whose awaits have ended since the latest drain: the next one continues them. Only for `pollWatch`. */
  private readonly settled: Map<number, string> = new Map();
  /** How long the latest poll of a task held the thread, if the watchdog has reported it. */
  private heldMs = 0;
  /** How many polls there were before this turn. */
  private pollsBefore = 0;
  /** How many observations need the statistics. */
  private watchers = 0;
  private isTraced = false;

  constructor(clock: Clock) {
    this.clock = clock;
  }

  /** Returns this observer if something looks, else null. Called once per turn, and where there is no turn. */
  ifAny(): this | null {
    this.isTraced = isTraced();
    return this.isTraced || this.statistics !== null || this.pollWatch !== null ? this : null;
  }

  /** Starts the watchdog: it reports polls that last longer than `limitMs`. */
  guard(limitMs: number): void {
    const { threadId, isMainThread } = process.getBuiltinModule("node:worker_threads");
    this.pollWatch ??= new PollWatch();
    this.pollWatch.guard(
      limitMs,
      `runtime ${this.runtime}${isMainThread ? "" : ` of Worker ${threadId}`}`,
    );
  }

  /**
   * Returns memory that shows which poll is in progress, from now on until `unsharePolls`. `pollReader` reads it in
   * another thread. `tasks` are the live ones.
   */
  sharePolls(tasks: Iterable<Task<unknown>>): SharedArrayBuffer {
    this.pollReaders++;
    if (this.pollWatch === null) {
      this.pollWatch = new PollWatch();
      for (const task of tasks) this.addName(task);
    }
    return this.pollWatch.memory;
  }

  unsharePolls(): void {
    if (--this.pollReaders === 0 && this.pollWatch?.isGuarding === false) this.close();
  }

  close(): void {
    this.pollWatch?.close();
    this.pollWatch = null;
  }

  private addName(task: Task<unknown>): void {
    if (task.name !== `#${task.id}`) this.pollWatch?.addName(task.id, task.name);
  }

  /** Keeps statistics from now on, until the returned function is called. */
  watch(): () => void {
    this.watchers++;
    this.statistics ??= new Statistics(this.clock);
    let isOver = false;
    return () => {
      if (isOver) return;
      isOver = true;
      if (--this.watchers === 0) this.statistics = null;
    };
  }

  /** Describes a task, with its statistics if there are any. */
  infoOf(task: Task<unknown>): TaskInfo {
    const { statistics } = this;
    const known = statistics?.tasks.get(task);
    if (statistics === null || known === undefined) return task.info;
    const { polls, busyMs, longestPollMs, spawnedMs } = known;
    const info = { ...task.info, polls, busyMs, longestPollMs };
    return Number.isNaN(spawnedMs) ? info : { ...info, ageMs: statistics.nowMs - spawnedMs };
  }

  onSpawn(task: Task<unknown>): void {
    this.statistics?.onSpawn(task);
    this.addName(task);
    if (this.isTraced) this.traceTask("start", task);
  }

  onEnd(task: Task<unknown>, outcome: "value" | "error" | "aborted"): void {
    this.statistics?.onEnd(task);
    this.pollWatch?.removeName(task.id);
    this.settled.delete(task.id);
    if (this.isTraced) this.traceTask("end", task, { outcome });
  }

  onWake(task: Task<unknown>): void {
    if (this.statistics === null && !this.isTraced) return; // the watchdog alone
    const waker = currentContextOrNull();
    this.statistics?.onWake(task, waker?.task === task);
    if (!this.isTraced) return;
    const { runtime } = this;
    const by = waker?.runtime === task.runtime ? waker.task.id : 0;
    trace("wake", { runtime, id: task.id, name: task.name, by: by === 0 ? null : by });
  }

  /** Polls a task. Never throws. */
  poll<T>(task: Task<T>): Outcome<T> | null {
    this.statistics?.onPollStart(task as Task<unknown>);
    this.pollWatch?.begin(task.id);
    let outcome: Outcome<T> | null;
    try {
      outcome = task.storage.runInAsyncScope(this.step<T>, this, task);
    } catch (error) {
      outcome = { error };
    }
    this.heldMs = this.pollWatch?.end() ?? 0;
    this.statistics?.onPollEnd();
    if (this.isTraced) {
      trace("poll", { ...this.pollOf("end", task), isPending: outcome === null });
    }
    return outcome;
  }

  /** Polls the task in the stores that are bound to the trace: inside its own storage, which they change. */
  private step<T>(task: Task<T>): Outcome<T> | null {
    if (!this.isTraced) return task.step();
    return traceAround("poll", this.pollOf("start", task), () => task.step());
  }

  /** Runs what was in the ready queue. A task calls `poll`. */
  run(ready: Runnable): void {
    if (ready instanceof Await) {
      this.runAwait(ready);
      return;
    }
    if (!(ready instanceof Task)) {
      ready.run();
      return;
    }
    this.heldMs = 0;
    ready.run(this);
    if (this.heldMs > 0) this.reportHeld(ready);
  }

  /** An await is polled for its owner's task. It throws nothing. */
  private runAwait(ready: Await): void {
    const { task } = ready;
    this.statistics?.onPollStart(task instanceof Task ? task : null);
    if (this.isTraced) trace("poll", { ...this.pollOf("start", task), isAwait: true });
    this.pollWatch?.begin(task.id);
    ready.run();
    const heldMs = this.pollWatch?.end() ?? 0;
    this.statistics?.onPollEnd();
    if (heldMs > 0)
      this.print(`an await of ${visibleName(task.name)} held the thread for ${heldMs} ms`);
    if (this.pollWatch !== null && ready.isEnded && task.id !== 0)
      this.settled.set(task.id, task.name);
    if (this.isTraced) trace("poll", { ...this.pollOf("end", task), isAwait: true });
  }

  /** Runs the microtasks that are due. */
  drain(): void {
    if (this.isTraced) trace("drain", { phase: "start", runtime: this.runtime });
    this.statistics?.onPollStart(null);
    this.beginMicrotasks();
    drain();
    this.endMicrotasks();
    this.statistics?.onPollEnd();
    if (this.isTraced) trace("drain", { phase: "end", runtime: this.runtime });
  }

  /** A turn begins, after `polls` polls. */
  onTurnStart(polls: number): void {
    this.pollsBefore = polls;
    this.statistics?.onTurnStart();
  }

  onTurnEnd(polls: number): void {
    this.statistics?.onTurnEnd(polls !== this.pollsBefore);
  }

  /**
   * Bun's loop has called a guest, which returns now: Bun runs the microtasks next, and then its own callbacks, which are
   * code of no task. A tick that a microtask requests runs between the two.
   */
  onGuestReturn(): void {
    if (this.settled.size === 0) return;
    this.beginMicrotasks();
    queueMicrotask(() => {
      process.nextTick(() => {
        if (this.settled.size > 0) this.endMicrotasks();
        else this.pollWatch?.end(); // a `blockOn` in a microtask has forgotten them
      });
    });
  }

  /** A `blockOn` returns: what it has not drained runs later, with code of others. */
  onDriveEnd(): void {
    this.settled.clear();
  }

  private beginMicrotasks(): void {
    this.pollWatch?.beginAny(this.settled.keys(), this.settled.size);
  }

  private endMicrotasks(): void {
    const heldMs = this.pollWatch?.end() ?? 0;
    if (heldMs > 0) {
      const names = describeSome([...this.settled.values()], (name) => visibleName(name));
      this.print(`code after an await held the thread for ${heldMs} ms, in ${names}`);
    }
    this.settled.clear();
  }

  onBlock(phase: TracePhase, name: string): void {
    if (this.isTraced) trace("block", { phase, runtime: this.runtime, name });
  }

  onPark(phase: TracePhase): void {
    if (this.isTraced) trace("park", { phase, runtime: this.runtime });
  }

  onRound(ready: number, alive: number, timers: number): void {
    if (this.isTraced) trace("round", { runtime: this.runtime, ready, alive, timers });
  }

  /** Says where a task is that has held the thread. Its stack tells what it did just before. */
  private reportHeld(task: Task<unknown>): void {
    const now = task.isEnded ? "has ended" : `now waits on ${task.info.waitsOn}`;
    const frames = task.logicalStack().map((frame) => `\n    at ${frame}`);
    this.print(
      `task ${visibleName(task.name)} held the thread for ${this.heldMs} ms, and ${visible(now)}${frames.join("")}`,
    );
  }

  private print(message: string): void {
    this.pollWatch?.print(`guillotine: runtime ${this.runtime}: ${message}`);
  }

  private traceTask(
    phase: TracePhase,
    task: Task<unknown>,
    end?: { readonly outcome: "value" | "error" | "aborted" },
  ): void {
    trace("task", { ...this.pollOf(phase, task), ...end });
  }

  /** What the events about a task have in common. */
  private pollOf(phase: TracePhase, task: { readonly id: number; readonly name: string }) {
    const parent = task instanceof Task && task.spawner !== 0 ? task.spawner : null;
    return { phase, runtime: this.runtime, id: task.id, name: task.name, parent };
  }
}
