// Limit: how many tasks of a group may run at once. A task takes its place when it is spawned, first come, first
// served, and starts its work once it has a permit.
//
// Invariant: a task holds one permit from the start of its work to the end of its work, cleanup included. A task that
// ends while it waits leaves the queue.

import { checkLimit } from "../base/check.ts";
import { cancelStep } from "../combine/children.ts";
import type { Context } from "../core/context.ts";
import { Future } from "../core/future.ts";
import { type IntoFuture, takeWork } from "../core/into-future.ts";
import { Pending, type Poll } from "../core/poll.ts";
import type { SpawnOptions } from "../runtime/options.ts";
import type { Runtime } from "../runtime/runtime.ts";
import type { Task } from "../runtime/task.ts";
import { Acquire, Permits } from "../sync/permits.ts";

/** The permit of one task, requested at once. */
class Place extends Acquire<void> {
  private readonly group: string;

  constructor(permits: Permits, group: string) {
    super(permits, 1);
    this.group = group;
    permits.request(this);
  }

  protected override hold(): void {}

  override describe(): string {
    return `room in ${this.group}`;
  }
}

/** Waits until a permit is free, and leaves it to the task that is spawned next. */
class Ready extends Acquire<void> {
  private readonly group: string;

  constructor(permits: Permits, group: string) {
    super(permits, 1);
    this.group = group;
  }

  protected override hold(): void {
    this.permits.release(1);
  }

  override describe(): string {
    return `room in ${this.group}`;
  }
}

class Limited<T> extends Future<T> {
  private readonly permits: Permits;
  private readonly work: Future<T>;
  /** null once the work has its permit. */
  private place: Place | null;
  private isEnded = false;

  constructor(permits: Permits, group: string, work: Future<T>) {
    super();
    this.permits = permits;
    this.work = work;
    this.place = new Place(permits, group);
  }

  override get runsUserCode(): boolean {
    return true;
  }

  override poll(cx: Context): Poll<T> {
    if (this.place !== null) {
      if (this.place.poll(cx) === Pending) return Pending;
      this.place = null;
    }
    let value: Poll<T> | null = null;
    try {
      value = this.work.poll(cx);
      return value;
    } finally {
      if (value !== Pending) this.end();
    }
  }

  override pollCancel(cx: Context): Poll<void> {
    if (cancelStep(this.work, cx) === Pending) return Pending;
    this.end();
  }

  override drop(): void {
    try {
      this.work.drop();
    } finally {
      this.end();
    }
  }

  override reclaim(value: T): void {
    this.work.reclaim(value);
  }

  private end(): void {
    if (this.isEnded) return;
    this.isEnded = true;
    if (this.place === null) this.permits.release(1);
    else this.place.drop();
  }
}

export class Limit {
  private readonly permits: Permits;
  private readonly group: string;
  private readonly isUnlimited: boolean;

  /** `what` names the option, and `group` what the tasks belong to. Throws RangeError for a bad `limit`. */
  constructor(limit: number, what: string, group: string) {
    this.isUnlimited = limit === Number.POSITIVE_INFINITY;
    checkLimit(limit, what);
    this.permits = new Permits(limit);
    this.group = group;
  }

  /** Starts a task that waits for its place, which it takes now, and then runs `work`. */
  start<T>(runtime: Runtime, work: IntoFuture<T>, options?: SpawnOptions): Task<T> {
    if (this.isUnlimited) return runtime.startTask(work, options);
    const limited = new Limited(this.permits, this.group, takeWork(work, "spawn: work"));
    try {
      return runtime.startTask(limited, options);
    } catch (error) {
      limited.drop();
      throw error;
    }
  }

  /** Waits until a task that is spawned now would start at once. Waiters and tasks share one queue. */
  ready(): Future<void> {
    return new Ready(this.permits, this.group);
  }
}
